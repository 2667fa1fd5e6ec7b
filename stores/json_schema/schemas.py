"""A JSON Schema that values are checked against."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final

from jsonschema import ValidationError
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from stores.errors import BadInputError
from stores.json import paths
from stores.json_schema.drafts import draft_of
from stores.json_schema.patterns import Patterns, current_patterns
from stores.json_schema.reference_check import check_references
from stores.json_schema.time_limit import SchemaFaultError

_MAX_SHOWN: Final = 300


class JsonSchema:
    """A checked schema, to be used within `bounded_time`."""

    def __init__(self, schema: object) -> None:
        """Compile a schema of the draft that its `$schema` names, by default 2020-12.

        Raises:
            SchemaFaultError: if it is no JSON Schema, uses an unsupported feature, or takes too long.
        """
        draft, schema = _check_draft(schema)
        if _keys(schema) >= {"patternProperties", "unevaluatedProperties"}:
            raise SchemaFaultError("combines unevaluatedProperties with patternProperties, which is not supported")
        self._patterns = Patterns()
        check_references(draft, schema, self._patterns, lambda target: _check_target(draft, target))
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

    def _first_error(self, value: Any) -> ValidationError | None:  # noqa: ANN401 -- any JSON
        with _using(self._patterns):
            try:
                return next(self._validator.iter_errors(value), None)
            except Unresolvable as error:
                # Where the draft and `referencing` disagree on subschema locations, a bad $ref appears only now.
                message = f"has a $ref that does not resolve inside the schema ({str(error.ref)[:_MAX_SHOWN]!r})"
                raise SchemaFaultError(message) from None


def check_schema(schema: object) -> None:
    """Validate a schema against its draft, without its patterns and references.

    Raises:
        SchemaFaultError: if it is no JSON Schema.
    """
    _check_draft(schema)


def _check_draft(schema: object) -> tuple[type[Validator], dict[str, Any]]:
    """Return the draft of a schema, and the schema if it is valid in that draft."""
    if not isinstance(schema, dict):
        raise SchemaFaultError("is not a JSON Schema: it must be an object")
    draft = draft_of(schema)
    fault = _draft_error(draft, schema)
    if fault:
        raise SchemaFaultError(f"is not a JSON Schema{fault}")
    return draft, schema


def _check_target(draft: type[Validator], target: object) -> None:
    fault = _draft_error(draft, target)
    if fault:
        raise SchemaFaultError(f"has a $ref to a value that is not a JSON Schema{fault}")


def _draft_error(draft: type[Validator], schema: Any) -> str | None:  # noqa: ANN401 -- any JSON
    """Return the first error of a schema in its draft, with its path; None if it is valid."""
    with _using(Patterns()):
        try:
            error = next(draft(draft.META_SCHEMA, registry=Registry()).iter_errors(schema), None)
        except RecursionError:
            return ": it nests too deeply"
    if error is None:
        return None
    path = paths.join(map(str, error.absolute_path))
    return f"{f' at {path[:_MAX_SHOWN]}' if path else ''}: {error.message[:_MAX_SHOWN]}"


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
