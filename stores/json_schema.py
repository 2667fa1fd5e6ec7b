"""JSON Schemas that strangers wrote, applied to values without fetching anything and within bounds of time.

A schema from outside can name schemas elsewhere, repeat itself without end, and hold patterns over which Python's `re`
sits for years. So references stay inside it, patterns are RE2's, which reads a text once whatever the pattern, and
every keyword looks at the clock.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final

import attrs
import re2
from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry

from stores import json_path
from stores.errors import BadInputError

MAX_SECONDS: Final = 2.0
"""Of a processor's time, for all that is checked at once."""

_MAX_PATTERN_STEPS: Final = 50_000_000
"""The states of a pattern times the characters of a text: half a second or so where all have to be tried."""

_SHOWN: Final = 300
_REMEMBERED: Final = 1_000

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

_deadline: ContextVar[float] = ContextVar("the thread's time at which checking ends")


class _Refused(Exception):  # noqa: N818 -- it says why a check stops, and becomes an error outside
    """Why a value cannot be checked by a schema."""


@contextmanager
def bounded_time(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Let all that this thread checks inside take at most so long of a processor's time; not for an event loop's."""
    token = _deadline.set(time.thread_time() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


class JsonSchema:
    """A schema, ready to be applied within `bounded_time`."""

    def __init__(self, schema: object) -> None:
        """Read a schema, of the draft that its `$schema` names or else of 2020-12.

        Raises:
            BadInputError: it is no JSON Schema, or holds what cannot be checked here.
        """
        if not isinstance(schema, dict):
            raise BadInputError("is no JSON Schema, which is an object")
        if _names(schema) >= {"patternProperties", "unevaluatedProperties"}:
            raise BadInputError("has unevaluatedProperties beside patternProperties, which cannot be checked here")
        try:
            draft = validator_for(schema, default=Draft202012Validator) if "$schema" in schema else Draft202012Validator
        except (ValueError, AttributeError):
            raise BadInputError("is no JSON Schema at $schema, which is the address of a draft") from None
        kind = _bounded(draft)
        error = _first_error(kind(draft.META_SCHEMA, registry=Registry()), schema)
        if error:
            place = json_path.join(map(str, error.absolute_path))
            raise BadInputError(f"is no JSON Schema{f' at {place}' if place else ''}: {error.message[:_SHOWN]}")
        self._validator = kind(schema, registry=Registry())

    def check(self, value: object) -> None:
        """Hold a value to the schema.

        Raises:
            BadInputError: it breaks it; the error names the path inside the value. Or it cannot be checked.
        """
        error = _first_error(self._validator, value)
        if error:
            place = json_path.join(map(str, error.absolute_path))
            raise BadInputError(f"breaks its schema: {error.message[:_SHOWN]}", place or None)


def _first_error(validator: Validator, value: Any) -> ValidationError | None:  # noqa: ANN401 -- any JSON
    try:
        return next(validator.iter_errors(value), None)
    except _Refused as refused:
        raise BadInputError(f"cannot be checked: {refused}") from None
    except RecursionError:
        raise BadInputError(
            "cannot be checked: value and schema nest too deeply, or a $ref leads in a circle"
        ) from None
    except Exception as error:
        # What a $ref leads to may be no schema at all, and that raises anything.
        message = f"cannot be checked: a $ref leads out of its schema, or to what is none ({str(error)[:_SHOWN]})"
        raise BadInputError(message) from error


def _names(schema: object) -> set[str]:
    """The keys of all objects in a schema."""
    names: set[str] = set()
    level = [schema]
    while level:
        names.update(*(node for node in level if isinstance(node, dict)))
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = list(chain.from_iterable(inner))
    return names


@cache
def _bounded(draft: type[Validator]) -> type[Validator]:
    """A draft's validator whose keywords look at the clock, none of them Python's `re`."""
    own: Mapping[str, Any] = dict(draft.VALIDATORS) | {name: _OWN[name] for name in _OWN if name in draft.VALIDATORS}
    keywords = {name: _timed(keyword) for name, keyword in own.items()}
    bounded: Any = extend(draft, keywords)  # type: ignore[no-untyped-call]
    # Else a schema inside that names its own $schema would get that draft's own validator.
    bounded.evolve = attrs.evolve
    kind: type[Validator] = bounded
    return kind


def _timed(keyword: Keyword) -> Keyword:
    def check(validator: Any, given: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:  # noqa: ANN401 -- as jsonschema calls it
        if time.thread_time() > _deadline.get():
            raise _Refused(f"it takes more than {MAX_SECONDS:g} seconds; simplify the schema, or send less at once")
        return keyword(validator, given, value, schema)

    return check


def _pattern(validator: Any, pattern: str, text: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if validator.is_type(text, "string") and not _matches(pattern, text):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, schemas: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if not validator.is_type(value, "object"):
        return
    for pattern, inner in schemas.items():
        for name in value:
            if _matches(pattern, name):
                yield from validator.descend(value[name], inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if not validator.is_type(value, "object"):
        return
    patterns = schema.get("patternProperties", {})
    for name in value.keys() - schema.get("properties", {}).keys():
        if any(_matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"there is no property {name!r}", path=[name])
        else:
            yield from validator.descend(value[name], allowed, path=name)


def _unique_items(validator: Any, unique: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401 -- as above
    if unique and validator.is_type(value, "array") and len(set(map(_identity, value))) < len(value):
        yield ValidationError("has items that are equal")


def _identity(value: object) -> object:
    """What is equal for equal JSON values only: 1 and 1.0 are, 1 and true are not."""
    match value:
        case bool():
            return "boolean", value
        case list():
            return "array", tuple(map(_identity, value))
        case dict():
            return "object", frozenset((name, _identity(inner)) for name, inner in value.items())
        case _:
            return value


_OWN: Final[dict[str, Keyword]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}


def _matches(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    if compiled.programsize * len(text) > _MAX_PATTERN_STEPS:
        raise _Refused(f"a text of {len(text):,} characters is too long for the pattern {pattern[:100]!r}")
    return compiled.search(text) is not None


@lru_cache(_REMEMBERED)
def _compiled(pattern: str) -> Any:  # noqa: ANN401 -- RE2 has no types
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise _Refused(
            f"the pattern {pattern[:100]!r} is none of RE2's, which has no lookaround and no backreferences ({reason})"
        ) from None
