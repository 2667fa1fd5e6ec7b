"""A helper that checks a value against the schema of an untrusted client."""

from typing import Any

from stores.errors import BadInputError
from stores.json_schema import JsonSchema, bounded_time

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DOUBLING: dict[str, Any] = {
    "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {}},
    "$ref": "#/$defs/a0",
}
"""Schema that takes 2^40 checks unless a time limit stops them."""


def verdict(schema: object, value: object, seconds: float = 2.0) -> BadInputError | None:
    """Return the error of the value or of the schema, or None if the value passes."""
    with bounded_time(seconds):
        try:
            JsonSchema(schema).check(value)
        except BadInputError as error:
            return error
    return None
