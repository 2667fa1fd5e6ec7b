"""Questions for every root field, generated from the schema: only required arguments, all about one project."""

from collections.abc import Iterator, Mapping
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
)

from graphql_schema.engine.operations import LimitedSchema
from stores.digests import object_digest
from tests.stores.calls.builders import call_id

DIGEST = object_digest({"x": 1})
"""Digest of the object that tests store if a question needs an existing one."""

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
    """A document that selects one root field, and its variables."""

    root: str
    field: str
    document: str
    variables: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.root}.{self.field}"


def questions(schema: LimitedSchema, project_id: str, number: int = 1) -> Iterator[Question]:
    """Yield at least one question for each root field, with one for each member of a @oneOf input.

    The questions are about the call with the given number.
    """
    core = schema._schema
    for kind in (core.query_type, core.mutation_type, core.subscription_type):
        assert kind
        for name, field in kind.fields.items():
            required = {argument: given.type for argument, given in field.args.items() if is_required(given.type)}
            for variables in Subject(project_id, number).objects(required):
                if name == "node":
                    variables["id"] = f"weave:///{project_id}/call/{call_id(number)}"
                yield Question(kind.name, name, document(kind.name, name, field, variables), variables)


def is_required(kind: GraphQLInputType) -> bool:
    """Return whether an argument or input field is required."""
    return isinstance(kind, GraphQLNonNull)


def document(root: str, name: str, field: GraphQLField, variables: dict[str, Any], selected: str = "__typename") -> str:
    """Return a document that selects a root field, with variables named after its arguments."""
    declared = ", ".join(f"${argument}: {field.args[argument].type}" for argument in variables)
    passed = ", ".join(f"{argument}: ${argument}" for argument in variables)
    braced = "" if is_leaf_type(get_named_type(field.type)) else f"{{ {selected} }}"
    head = f"{root.lower()}{f'({declared})' if declared else ''}"
    return f"{head} {{ {name}{f'({passed})' if passed else ''} {braced} }}"


class Subject(NamedTuple):
    """The project and the call that the questions are about."""

    project_id: str
    number: int

    def values(self, name: str, kind: GraphQLInputType) -> list[Any]:
        """Return the values to test an argument with; permissions must treat all of them alike."""
        if isinstance(kind, GraphQLNonNull):
            return self.values(name, kind.of_type)
        if isinstance(kind, GraphQLList):
            members = self.values(name, kind.of_type)
            return [[member] for member in members] + ([members, members[::-1]] if len(members) > 1 else [])
        if name == "query":
            return self._queries()
        if isinstance(kind, GraphQLInputObjectType):
            return self.inputs(kind)
        if isinstance(kind, GraphQLEnumType):
            return [next(iter(kind.values))]
        return [self._named(name, kind.name)]

    def objects(self, members: Mapping[str, GraphQLInputType]) -> Iterator[dict[str, Any]]:
        """Yield objects with the given members, so that each value of each member occurs once."""
        values = {name: self.values(name, kind) for name, kind in members.items()}
        usual = {name: first for name, (first, *_) in values.items()}
        yield usual
        yield from (usual | {name: other} for name, (_, *others) in values.items() for other in others)

    def inputs(self, kind: GraphQLInputObjectType) -> list[dict[str, Any]]:
        """Return the values of an input type."""
        if kind.is_one_of:
            return [{name: value} for name, field in kind.fields.items() for value in self.values(name, field.type)]
        return list(self.objects({name: field.type for name, field in kind.fields.items() if is_required(field.type)}))

    def _queries(self) -> list[dict[str, Any]]:
        call = call_id(self.number)
        return [
            {"json": {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": call}]}}},
            {"expr": {"eq": [{"getField": "id"}, {"literal": call}]}},
        ]

    def _named(self, name: str, kind: str) -> Any:
        """Return the value of an argument of a scalar type, chosen by its name."""
        entity, _, project = self.project_id.partition("/")
        ref = f"weave:///{self.project_id}/object/thing:{DIGEST}"
        call = call_id(self.number)
        known = {
            "projectId": self.project_id,
            "confirm": "not it",
            "entity": entity,
            "project": project,
            "ids": f"weave:///{self.project_id}/call/{call}",
            "refs": ref,
            "actionRef": ref,
            "evaluationRef": ref,
            "modelRef": ref,
            "weaveRef": f"weave:///{self.project_id}/call/{call}",
            "digest": DIGEST,
            "objectId": "thing",
            "name": "thing",
        }
        if name == "id" and kind == "ID":
            return call
        return known.get(name, call if kind == "ID" else _SCALARS[kind])
