"""Replacements for jsonschema's keywords that use Python's `re`, take quadratic time or collect all errors."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from jsonschema import ValidationError

from stores.json_schema.limits import matches

_MAX_SHOWN: Final = 100

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


def _pattern(validator: Any, pattern: str, text: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as jsonschema calls it
    if validator.is_type(text, "string") and not matches(pattern, text):
        yield ValidationError(f"{_shortened(text)} does not match {pattern!r}")


def _pattern_properties(validator: Any, schemas: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if not validator.is_type(value, "object"):
        return
    for pattern, inner in schemas.items():
        for name in value:
            if matches(pattern, name):
                yield from validator.descend(value[name], inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if allowed is True or not validator.is_type(value, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in value:
        if name in named or any(matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"the property {name!r} is not allowed", path=[name])
        else:
            yield from validator.descend(value[name], allowed, path=name)


def _any_of(validator: Any, schemas: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if not any(_passes(validator, schema, value) for schema in schemas):
        yield ValidationError(f"{_shortened(value)} matches no schema of anyOf")


def _one_of(validator: Any, schemas: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    passed = (schema for schema in schemas if _passes(validator, schema, value))
    if next(passed, None) is None:
        yield ValidationError(f"{_shortened(value)} matches no schema of oneOf")
    elif next(passed, None) is not None:
        yield ValidationError(f"{_shortened(value)} matches more than one schema of oneOf")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _passes(validator: Any, schema: Any, value: Any) -> bool:  # noqa: ANN401 -- as above
    return next(validator.descend(value, schema), None) is None


def _multiple_of(validator: Any, unit: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if validator.is_type(value, "number") and (_exact(value) / _exact(unit)).denominator != 1:
        yield ValidationError(f"{value!r} is not a multiple of {unit!r}")


def _exact(number: float) -> Fraction:
    """Return the number as written: 0.3 is exactly three tenths, unlike its double."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _unique_items(validator: Any, unique: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if unique and validator.is_type(value, "array") and len(set(map(_identity, value))) < len(value):
        yield ValidationError("has equal items")


def _identity(value: object) -> object:
    """Return a hashable value that is equal for equal JSON values only: 1 and 1.0 are equal, 1 and true are not.

    Numbers become texts: Python randomizes the hashes of texts, so an attacker cannot make them collide.
    """
    match value:
        case bool():
            return "boolean", value
        case int():
            return "number", str(value)
        case float():
            return "number", str(int(value)) if value.is_integer() else repr(value)
        case list():
            return "array", tuple(map(_identity, value))
        case dict():
            return "object", frozenset((name, _identity(inner)) for name, inner in value.items())
        case _:
            return value


OWN: Final[dict[str, Keyword]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
}
