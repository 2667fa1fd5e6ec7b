"""Validation by untrusted JSON Schemas, without network access and within limits of time and memory.

An untrusted schema can reference remote schemas, recurse endlessly, or contain patterns that take Python's `re` years.
References therefore stay inside the schema, patterns use RE2, which is linear in the text, and each step into a value
or schema checks the time limit.
"""

from stores.json_schema.limits import MAX_PATTERNS, MAX_SECONDS, MAX_STATES, SchemaFaultError, bounded_time
from stores.json_schema.schemas import JsonSchema, check_schema

__all__ = [
    "MAX_PATTERNS",
    "MAX_SECONDS",
    "MAX_STATES",
    "JsonSchema",
    "SchemaFaultError",
    "bounded_time",
    "check_schema",
]
