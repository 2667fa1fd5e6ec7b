"""Validation by untrusted JSON Schemas, without network access and within limits of time and memory.

An untrusted schema can reference remote schemas, recurse endlessly, or contain patterns that take Python's `re` years.
References therefore stay inside the schema, patterns use RE2, which is linear in the text, and each step into a value
or schema checks the time limit. A cache keeps compiled patterns within a memory limit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final, TypeAlias

import attrs
import re2
from jsonschema import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft3Validator, Draft202012Validator, extend, validator_for
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from stores.errors import BadInputError
from stores.json import AnyJson, paths

MAX_SECONDS: Final = 2.0
"""CPU seconds for all checks of one operation."""

MAX_PATTERNS: Final = 100
"""Maximum different patterns in a schema."""

MAX_STATES: Final = 50_000
"""Maximum total size of a schema's patterns, as RE2 program sizes."""

_MAX_STEPS: Final = 50_000_000
"""Maximum program size times bytes of text: about half a second if RE2 tries all states."""

_MAX_MEMORY: Final = 512 * 1024
"""Bytes that RE2 may use for a pattern, including its cache of text states."""

_MAX_CACHED: Final = 200
"""Maximum compiled patterns of all schemas that are kept, in 100 MB at most: small patterns use `_MAX_MEMORY`, too."""

_MAX_SHOWN: Final = 300
_MAX_REF_SHOWN: Final = 200
_MAX_VALUE_SHOWN: Final = 100

AnyPattern: TypeAlias = Any
"""A pattern compiled by RE2, which has no types."""

_deadline: ContextVar[float] = ContextVar("thread time of the deadline")


class SchemaFaultError(BadInputError):
    """A schema is invalid, unsupported or too slow, whatever the value.

    The message is a predicate: callers put the schema's name in front.
    """


@contextmanager
def bounded_time(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Context manager: limit the CPU time of this thread's checks in the block. Not for the event loop's thread."""
    token = _deadline.set(time.thread_time() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time_limit() -> None:
    """Check that time is left.

    Raises:
        SchemaFaultError: if the time limit expired.
    """
    if time.thread_time() > _deadline.get():
        raise SchemaFaultError(
            f"takes more than {MAX_SECONDS:g} seconds to check; simplify the schema, or send less per request"
        )


class Patterns:
    """The patterns of one schema, each checked against the limits on first use."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def compile(self, pattern: str) -> AnyPattern:
        """Compile a pattern of the schema.

        Raises:
            SchemaFaultError: if RE2 does not support it, the schema's patterns exceed a limit, or the time limit
                expires.
        """
        if pattern not in self._sizes and len(self._sizes) >= MAX_PATTERNS:
            raise SchemaFaultError(f"has more than {MAX_PATTERNS} patterns; use fewer")
        compiled = compiled_pattern(pattern)
        if pattern not in self._sizes:
            states = sum(self._sizes.values()) + compiled.programsize
            if states > MAX_STATES:
                raise SchemaFaultError(
                    f"has patterns of more than {MAX_STATES:,} states in total, up to "
                    f"{pattern[:_MAX_VALUE_SHOWN]!r}; use fewer repetitions"
                )
            self._sizes[pattern] = compiled.programsize
        return compiled


current_patterns: ContextVar[Patterns] = ContextVar("patterns of the current schema")


def matches(pattern: str, text: str) -> bool:
    """True if a text contains a match of a pattern of the current schema.

    Raises:
        SchemaFaultError: as `Patterns.compile`.
        BadInputError: if the text is too long for the pattern.
    """
    check_time_limit()
    compiled = current_patterns.get().compile(pattern)
    if compiled.programsize * len(text.encode()) > _MAX_STEPS:
        message = f"cannot be checked: a text of {len(text):,} characters is too long for the pattern"
        raise BadInputError(f"{message} {pattern[:_MAX_VALUE_SHOWN]!r}")
    return compiled.search(text) is not None


@lru_cache(_MAX_CACHED)
def compiled_pattern(pattern: str) -> AnyPattern:
    """Compile a pattern.

    Raises:
        SchemaFaultError: if RE2 does not support it, or the time limit expires.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        message = error.args[0] if error.args else error
        reason = message.decode(errors="replace") if isinstance(message, bytes) else str(error)
        raise SchemaFaultError(
            f"has the pattern {pattern[:_MAX_VALUE_SHOWN]!r}, which RE2 does not support; avoid lookaround and "
            f"backreferences ({reason})"
        ) from None
    check_time_limit()
    return compiled


AnyValidator: TypeAlias = Any
"""A validator of jsonschema's, or its class; the protocol lacks attributes that are used here."""

AnyResolver: TypeAlias = Any
"""A resolver or a resource of referencing's."""

Errors = Iterator[ValidationError]
Keyword = Callable[[AnyValidator, AnyJson, AnyJson, AnyJson], Errors | None]


def _pattern(validator: AnyValidator, pattern: str, text: AnyJson, _schema: AnyJson) -> Errors:
    if validator.is_type(text, "string") and not matches(pattern, text):
        yield ValidationError(f"{_shortened(text)} does not match {pattern!r}")


def _pattern_properties(validator: AnyValidator, schemas: AnyJson, value: AnyJson, _schema: AnyJson) -> Errors:
    if not validator.is_type(value, "object"):
        return
    for pattern, inner in schemas.items():
        for name in value:
            if matches(pattern, name):
                yield from validator.descend(value[name], inner, path=name, schema_path=pattern)


def _additional_properties(validator: AnyValidator, allowed: AnyJson, value: AnyJson, schema: AnyJson) -> Errors:
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


def _any_of(validator: AnyValidator, schemas: AnyJson, value: AnyJson, _schema: AnyJson) -> Errors:
    if not any(_passes(validator, schema, value) for schema in schemas):
        yield ValidationError(f"{_shortened(value)} matches no schema of anyOf")


def _one_of(validator: AnyValidator, schemas: AnyJson, value: AnyJson, _schema: AnyJson) -> Errors:
    passed = (schema for schema in schemas if _passes(validator, schema, value))
    if next(passed, None) is None:
        yield ValidationError(f"{_shortened(value)} matches no schema of oneOf")
    elif next(passed, None) is not None:
        yield ValidationError(f"{_shortened(value)} matches more than one schema of oneOf")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_SHOWN else f"{text[:_MAX_VALUE_SHOWN]}…"


def _passes(validator: AnyValidator, schema: AnyJson, value: AnyJson) -> bool:
    return next(validator.descend(value, schema), None) is None


def _multiple_of(validator: AnyValidator, unit: AnyJson, value: AnyJson, _schema: AnyJson) -> Errors:
    if validator.is_type(value, "number") and (_exact(value) / _exact(unit)).denominator != 1:
        yield ValidationError(f"{value!r} is not a multiple of {unit!r}")


def _exact(number: float) -> Fraction:
    """Return the number as written: 0.3 is exactly three tenths, unlike its double."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _unique_items(validator: AnyValidator, unique: AnyJson, value: AnyJson, _schema: AnyJson) -> Errors:
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


_KEYWORDS: Final[dict[str, Keyword]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
}


class JsonSchema:
    """A checked schema, to be used within `bounded_time`."""

    def __init__(self, schema: object) -> None:
        """Compile a schema of the draft that its `$schema` names, by default 2020-12.

        Raises:
            SchemaFaultError: if it is no JSON Schema, uses an unsupported feature, or takes too long.
        """
        draft, schema = check_schema(schema)
        if _keys(schema) >= {"patternProperties", "unevaluatedProperties"}:
            raise SchemaFaultError("combines unevaluatedProperties with patternProperties, which is not supported")
        self._patterns = Patterns()
        _check_references(draft, schema, self._patterns)
        self._validator = draft(schema, registry=Registry())
        try:
            self._first_error(None)
        except RecursionError:
            raise SchemaFaultError("has a circular $ref") from None

    def check(self, value: object) -> None:
        """Validate a value.

        Raises:
            SchemaFaultError: if the schema is at fault, or takes too long.
            BadInputError: if the value is invalid or cannot be checked; the error names the path inside the value.
        """
        try:
            error = self._first_error(value)
        except RecursionError:
            raise BadInputError("nests too deeply to be checked by its schema; flatten it") from None
        if error:
            path = paths.join(map(str, error.absolute_path))
            raise BadInputError(f"does not match its schema: {error.message[:_MAX_SHOWN]}", path or None)

    def _first_error(self, value: AnyJson) -> ValidationError | None:
        with _using(self._patterns):
            try:
                return next(self._validator.iter_errors(value), None)
            except Unresolvable as error:
                # Where the draft and `referencing` disagree on subschema locations, a bad $ref appears only now.
                message = f"has a $ref that does not resolve inside the schema ({str(error.ref)[:_MAX_SHOWN]!r})"
                raise SchemaFaultError(message) from None


def check_schema(schema: object) -> tuple[type[Validator], dict[str, Any]]:
    """Validate a schema against its draft, without its patterns and references; return the draft and the schema.

    Raises:
        SchemaFaultError: if it is no JSON Schema.
    """
    if not isinstance(schema, dict):
        raise SchemaFaultError("is not a JSON Schema: it must be an object")
    draft = _draft_of(schema)
    _check_valid(draft, schema, "is not a JSON Schema")
    return draft, schema


def _check_valid(draft: type[Validator], schema: AnyJson, problem: str) -> None:
    """Check that a schema is valid in its draft.

    Raises:
        SchemaFaultError: if it is not; the message has the problem and the first error with its path.
    """
    with _using(Patterns()):
        try:
            error = next(draft(draft.META_SCHEMA, registry=Registry()).iter_errors(schema), None)
        except RecursionError:
            raise SchemaFaultError(f"{problem}: it nests too deeply") from None
    if error:
        path = paths.join(map(str, error.absolute_path))
        raise SchemaFaultError(f"{problem}{f' at {path[:_MAX_SHOWN]}' if path else ''}: {error.message[:_MAX_SHOWN]}")


@contextmanager
def _using(patterns: Patterns) -> Iterator[None]:
    token = current_patterns.set(patterns)
    try:
        yield
    finally:
        current_patterns.reset(token)


def _keys(schema: object) -> set[str]:
    """Return the keys of all objects in a schema."""
    names: set[str] = set()
    level = [schema]
    while level:
        names.update(*(node for node in level if isinstance(node, dict)))
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = list(chain.from_iterable(inner))
    return names


def _draft_of(schema: dict[str, Any]) -> type[Validator]:
    """Return the validator class for a schema's `$schema`, by default for draft 2020-12.

    Raises:
        SchemaFaultError: if `$schema` is no URI, or names draft 3.
    """
    try:
        draft = validator_for(schema, default=Draft202012Validator) if "$schema" in schema else Draft202012Validator
    except (ValueError, AttributeError, TypeError):
        raise SchemaFaultError("is not a JSON Schema: its $schema is not the URI of a draft") from None
    if draft is Draft3Validator:
        raise SchemaFaultError("uses draft 3, which is not supported; use a later draft")
    return _bounded(draft)


@cache
def _bounded(draft: type[Validator]) -> type[Validator]:
    own = {name: _KEYWORDS[name] for name in _KEYWORDS if name in draft.VALIDATORS}
    bounded: Any = extend(draft, own)  # type: ignore[no-untyped-call]
    descend = bounded.descend

    def evolve(validator: Validator, **changes: Any) -> Validator:
        # Replaces jsonschema's method, which uses the unlimited validator for an inner schema with its own $schema.
        check_time_limit()
        return attrs.evolve(validator, **changes)  # type: ignore[misc] # it is one of attrs, which the protocol hides

    def descend_limited(
        validator: Validator, instance: AnyJson, schema: AnyJson, path: str | int | None = None, **locations: Any
    ) -> Errors:
        if schema is not False:
            return descend(validator, instance, schema, path, **locations)  # type: ignore[no-any-return]
        # For a false schema jsonschema puts the whole value into each error, but no path.
        check_time_limit()
        return iter([ValidationError("no value is allowed here", path=[] if path is None else [path])])

    def is_valid(validator: Validator, instance: AnyJson) -> bool:
        return validator.schema is not False and next(validator.iter_errors(instance), None) is None

    bounded.evolve, bounded.descend, bounded.is_valid = evolve, descend_limited, is_valid
    kind: type[Validator] = bounded
    return kind


def _check_references(draft: AnyValidator, schema: dict[str, Any], patterns: Patterns) -> None:
    """Check that all references resolve inside the schema, and check its patterns against the limits.

    Raises:
        SchemaFaultError: if a reference or an `$id` does not resolve to a schema, or a pattern exceeds a limit.
    """
    for part in _reachable(draft, schema):
        names = part.get("patternProperties", ())
        for pattern in (*names, part.get("pattern")):
            if isinstance(pattern, str):
                patterns.compile(pattern)


def _reachable(draft: AnyValidator, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a schema, with reference targets that lie outside of the places for subschemas."""
    specification = specification_with(draft.ID_OF(draft.META_SCHEMA))
    seen: set[int] = set()
    parts = [(schema, REGISTRY.resolver_with_root(specification.create_resource(schema)))]
    refs: list[tuple[Any, str]] = []
    while parts or refs:
        check_time_limit()
        if not parts:
            target = _resolved(*refs.pop())
            if id(target.contents) not in seen:
                _check_valid(draft, target.contents, "has a $ref to a value that is not a JSON Schema")
                parts.append((target.contents, target.resolver))
            continue
        part, resolver = parts.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        refs += [(resolver, part[name]) for name in ("$ref", "$dynamicRef") if isinstance(part.get(name), str)]
        inner = (each for each in specification.subresources_of(part) if isinstance(each, dict))
        parts.extend((each, _in_subresource(resolver, specification.create_resource(each))) for each in inner)


def _in_subresource(resolver: AnyResolver, resource: AnyResolver) -> AnyResolver:
    try:
        return resolver.in_subresource(resource)
    except ValueError:
        raise SchemaFaultError(f"has the $id {resource.id()[:_MAX_REF_SHOWN]!r}, which is not a URI") from None


def _resolved(resolver: AnyResolver, ref: str) -> AnyResolver:
    try:
        return resolver.lookup(ref)
    except (Unresolvable, ValueError, LookupError, TypeError, AttributeError):
        # The last four come from malformed URIs, and from paths into values without members.
        raise SchemaFaultError(
            f"has the $ref {ref[:_MAX_REF_SHOWN]!r}, which does not resolve inside the schema"
        ) from None
