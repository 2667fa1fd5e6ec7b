"""JSON Schemas that strangers wrote, applied to values without fetching anything and within bounds of time and memory.

A schema from outside can name schemas elsewhere, repeat itself without end, and hold patterns over which Python's `re`
sits for years. So references stay inside it, patterns are RE2's, which reads a text once whatever the pattern, and
whatever goes on into a part of a value or of the schema looks at the clock.
"""

from stores.json_schema.patterns import MAX_PATTERNS, MAX_STATES
from stores.json_schema.schemas import JsonSchema, check_form
from stores.json_schema.time_limit import MAX_SECONDS, SchemaFaultError, bounded_time

__all__ = ["MAX_PATTERNS", "MAX_SECONDS", "MAX_STATES", "JsonSchema", "SchemaFaultError", "bounded_time", "check_form"]
