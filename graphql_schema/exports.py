"""Arguments of an export, parsed from a query string: those of the Query field with the same list.

Each is JSON as in the variables of an operation; the schema coerces it in the same way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError
from graphql.utilities import coerce_input_value, validate_input_value

from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.fields import to_store
from graphql_schema.fields.connections import sort_keys
from stores.errors import BadInputError, NotFoundError, StoreError
from stores.exports import RowSelection
from stores.ids import check_project_id
from stores.json import codec

Input = Any
"""Coerced value of an argument: an input object, a list of them, or None."""

PROJECT_ID: Final = "projectId"

_MAX_DEPTH: Final = 100
"""Maximum nesting of an argument's JSON: above the limit of queries, and below the recursion limit of Python."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A list that can be exported: its name, its Query field, and the arguments that an export accepts."""

    name: str
    field: str
    arguments: tuple[str, ...]


_CONCEPTS: Final = {
    concept.name: concept
    for concept in (
        Concept("calls", "calls", ("filter", "query", "sortBy")),
        Concept("objects", "objs", ("filter", "query", "sortBy")),
        Concept("feedback", "feedback", ("query", "sortBy")),
        Concept("threads", "threads", ("filter", "sortBy")),
    )
}


def concept_of(name: str) -> Concept:
    """Return the concept with a name.

    Raises:
        NotFoundError: if there is no such export.
    """
    if name not in _CONCEPTS:
        raise NotFoundError(f"there is no export of {name[:64]!r}; use one of {', '.join(_CONCEPTS)}")
    return _CONCEPTS[name]


def unique_parameters(parameters: Iterable[tuple[str, str]], known: Iterable[str]) -> dict[str, str]:
    """Return the parameters of a query string by name.

    Raises:
        BadInputError: if a parameter is unknown or repeated.
    """
    known = list(known)
    found: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            raise BadInputError(f"is not a parameter of this export; use {', '.join(known)}", name[:64])
        if name in found:
            raise BadInputError("is repeated; send it once", name)
        found[name] = value
    return found


def parse_arguments(schema: LimitedSchema, concept: Concept, parameters: Mapping[str, str]) -> RowSelection:
    """Convert parameters to the arguments of an export.

    Raises:
        BadInputError: if one is not JSON, or invalid for the field; the error names it and the location in it.
    """
    project_id = parameters.get(PROJECT_ID)
    if project_id is None:
        raise BadInputError("is required, as entity/project", PROJECT_ID)
    check_project_id(project_id, PROJECT_ID)
    values = {name: _argument(schema, concept, name, parameters.get(name)) for name in concept.arguments}
    return RowSelection(
        project_id,
        to_store(values.get("filter")),
        to_store(values.get("query")),
        sort_keys(values.get("sortBy")),
    )


def _argument(schema: LimitedSchema, concept: Concept, name: str, text: str | None) -> Input:
    if text is None:
        return None
    try:
        value = codec.loads(text.encode())
    except StoreError as error:
        raise error.prefixed(name) from None
    _check_depth(value, name)
    kind = schema.argument_type(concept.field, name)

    def refuse(error: GraphQLError, path: list[str | int]) -> None:
        cause = error.original_error
        message = cause.message if isinstance(cause, StoreError) else error.message
        raise BadInputError(message, ".".join(map(str, [name, *path])))

    validate_input_value(value, kind, refuse)
    return coerce_input_value(value, kind)


def _check_depth(value: object, name: str) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return
    raise BadInputError(f"nests deeper than {_MAX_DEPTH} levels; flatten the conditions", name)


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
