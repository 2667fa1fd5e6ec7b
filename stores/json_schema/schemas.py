"""A schema, and what it says of a value."""

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
from stores.json_schema.patterns import Patterns, admitted
from stores.json_schema.reference_check import check_reach
from stores.json_schema.time_limit import SchemaFaultError

_SHOWN: Final = 300


class JsonSchema:
    """A schema, ready to be applied within `bounded_time`."""

    def __init__(self, schema: object) -> None:
        """Read a schema, of the draft that its `$schema` names or else of 2020-12.

        Raises:
            SchemaFaultError: it is no JSON Schema, or holds what cannot be checked here, or that takes too long.
        """
        draft, schema = _formed(schema)
        if _names(schema) >= {"patternProperties", "unevaluatedProperties"}:
            raise SchemaFaultError("has unevaluatedProperties beside patternProperties, which cannot be checked here")
        self._patterns = Patterns()
        check_reach(draft, schema, self._patterns, lambda found: _check_target(draft, found))
        self._validator = draft(schema, registry=Registry())
        try:
            self._first_error(None)
        except RecursionError:
            raise SchemaFaultError("has a $ref that leads in a circle") from None

    def check(self, value: object) -> None:
        """Hold a value to the schema.

        Raises:
            SchemaFaultError: the schema is at fault, or it takes too long.
            BadInputError: the value breaks it, or cannot be checked; the error names the path inside the value.
        """
        try:
            error = self._first_error(value)
        except RecursionError:
            raise BadInputError("cannot be checked: it nests too deeply for its schema") from None
        if error:
            place = paths.join(map(str, error.absolute_path))
            raise BadInputError(f"breaks its schema: {error.message[:_SHOWN]}", place or None)

    def _first_error(self, value: Any) -> ValidationError | None:  # noqa: ANN401 -- any JSON
        with _admitting(self._patterns):
            try:
                return next(self._validator.iter_errors(value), None)
            except Unresolvable as error:
                # Where drafts and `referencing` do not agree on the places for schemas, a $ref is met only now.
                message = f"has a $ref that leads to nothing inside it ({str(error.ref)[:_SHOWN]!r})"
                raise SchemaFaultError(message) from None


def check_form(schema: object) -> None:
    """Hold a schema to its draft, without a look at what its patterns and references are.

    Raises:
        SchemaFaultError: it is no JSON Schema.
    """
    _formed(schema)


def _formed(schema: object) -> tuple[type[Validator], dict[str, Any]]:
    """The draft of a schema that keeps to it."""
    if not isinstance(schema, dict):
        raise SchemaFaultError("is no JSON Schema, which is an object")
    draft = draft_of(schema)
    fault = _fault(draft, schema)
    if fault:
        raise SchemaFaultError(f"is no JSON Schema{fault}")
    return draft, schema


def _check_target(draft: type[Validator], found: object) -> None:
    fault = _fault(draft, found)
    if fault:
        raise SchemaFaultError(f"has a $ref that leads to what is no JSON Schema{fault}")


def _fault(draft: type[Validator], schema: Any) -> str | None:  # noqa: ANN401 -- any JSON
    """What a draft finds wrong with a schema, and where."""
    with _admitting(Patterns()):
        try:
            error = next(draft(draft.META_SCHEMA, registry=Registry()).iter_errors(schema), None)
        except RecursionError:
            return ": it nests too deeply"
    if error is None:
        return None
    place = paths.join(map(str, error.absolute_path))
    return f"{f' at {place[:_SHOWN]}' if place else ''}: {error.message[:_SHOWN]}"


@contextmanager
def _admitting(patterns: Patterns) -> Iterator[None]:
    token = admitted.set(patterns)
    try:
        yield
    finally:
        admitted.reset(token)


def _names(schema: object) -> set[str]:
    """The keys of all objects in a schema."""
    names: set[str] = set()
    level = [schema]
    while level:
        names.update(*(node for node in level if isinstance(node, dict)))
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = list(chain.from_iterable(inner))
    return names
