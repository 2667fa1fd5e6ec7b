"""A question for every field of the roots, made of the schema: its required arguments, all about one project."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    is_leaf_type,
    is_union_type,
)

from graphql_schema.operations import BoundedSchema
from stores.digests import object_digest
from tests.stores.calls.builders import call_id

DIGEST = object_digest({"x": 1})
"""Of an object that tests store, where there should be one."""

_SCALARS: dict[str, Any] = {
    "Int": 1,
    "Float": 1.0,
    "Boolean": True,
    "String": "text",
    "JSON": {},
    "BigInt": 1,
    "DateTime": "2026-01-31T12:00:00Z",
    "Base64": "aGVsbG8=",
}


class Question(NamedTuple):
    """A document that asks one field of a root, and its variables."""

    root: str
    field: str
    document: str
    variables: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.root}.{self.field}"


def questions(schema: BoundedSchema, project_id: str, number: int = 1) -> Iterator[Question]:
    """One for each field of each root; ids are those of a call of a number."""
    core = schema._schema
    for kind in (core.query_type, core.mutation_type, core.subscription_type):
        assert kind
        for name, field in kind.fields.items():
            variables = {
                argument: _value(argument, given.type, project_id, number)
                for argument, given in field.args.items()
                if isinstance(given.type, GraphQLNonNull)
            }
            if name == "node":
                variables["id"] = f"weave:///{project_id}/call/{call_id(number)}"
            yield Question(kind.name, name, _document(kind.name, name, field, variables), variables)


def _document(root: str, name: str, field: GraphQLField, variables: dict[str, Any]) -> str:
    declared = ", ".join(f"${argument}: {field.args[argument].type}" for argument in variables)
    passed = ", ".join(f"{argument}: ${argument}" for argument in variables)
    selected = "" if is_leaf_type(get_named_type(field.type)) else "{ __typename }"
    head = f"{root.lower()}{f'({declared})' if declared else ''}"
    assert not is_union_type(field.type) or selected
    return f"{head} {{ {name}{f'({passed})' if passed else ''} {selected} }}"


def _value(name: str, kind: GraphQLInputType, project_id: str, number: int) -> Any:  # noqa: ANN401 -- any JSON
    if isinstance(kind, GraphQLNonNull):
        return _value(name, kind.of_type, project_id, number)
    if isinstance(kind, GraphQLList):
        return [_value(name, kind.of_type, project_id, number)]
    if name == "query":
        return {"json": {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": call_id(number)}]}}}
    if isinstance(kind, GraphQLInputObjectType):
        return _members(kind, project_id, number)
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    return _named(name, project_id, number, kind.name)


def _members(kind: GraphQLInputObjectType, project_id: str, number: int) -> dict[str, Any]:
    if kind.is_one_of:
        first = next(iter(kind.fields))
        return {first: _value(first, kind.fields[first].type, project_id, number)}
    required = {name: field for name, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)}
    return {name: _value(name, field.type, project_id, number) for name, field in required.items()}


def _named(name: str, project_id: str, number: int, kind: str) -> Any:  # noqa: ANN401 -- any JSON
    """The value of an argument of a scalar type by its name."""
    entity, _, project = project_id.partition("/")
    ref = f"weave:///{project_id}/object/thing:{DIGEST}"
    known = {
        "projectId": project_id,
        "confirm": "not it",
        "entity": entity,
        "project": project,
        "ids": f"weave:///{project_id}/call/{call_id(number)}",
        "refs": ref,
        "actionRef": ref,
        "evaluationRef": ref,
        "modelRef": ref,
        "weaveRef": f"weave:///{project_id}/call/{call_id(number)}",
        "digest": DIGEST,
        "objectId": "thing",
        "name": "thing",
    }
    if name == "id" and kind == "ID":
        return call_id(number)
    return known.get(name, call_id(number) if kind == "ID" else _SCALARS[kind])
