"""Probes: questions about our project in which one argument, or one field of an input, names what is another's."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
)

from graphql_schema.engine.operations import LimitedSchema
from tests.graphql_schema.permissions.questions import Asked, Question, document, questions
from tests.graphql_schema.permissions.steps import selection

_TEXTS = frozenset({"String", "ID"})


class Probe(NamedTuple):
    """A question, and the argument that names what is another's, as `arguments` calls it."""

    argument: str
    question: Question


class Prober(NamedTuple):
    """Makes probes about a project and a call in it of the names of what is in another."""

    asked: Asked
    names: list[str]

    def probes(self, schema: LimitedSchema) -> Iterator[Probe]:
        """One for each name and each text of each argument, whether it has to be given or not."""
        known: set[tuple[str, str]] = set()
        for question in questions(schema, *self.asked):
            made = [each for each in self._about(schema, question) if (question.field, each.argument) not in known]
            known |= {(question.field, each.argument) for each in made}
            yield from made

    def _about(self, schema: LimitedSchema, question: Question) -> Iterator[Probe]:
        root = schema._schema.type_map[question.root]
        assert isinstance(root, GraphQLObjectType)
        field = root.fields[question.field]
        to = get_named_type(field.type)
        tells = question.root == "Query" and not is_leaf_type(to)
        selected = selection(schema._schema, to, 1) if tells else "__typename"
        members = {name: argument.type for name, argument in field.args.items()}
        for argument, variables in self._objects(str(question), members, question.variables):
            asking = document(question.root, question.field, field, variables, selected)
            yield Probe(argument, question._replace(document=asking, variables=variables))

    def _objects(
        self, of: str, members: Mapping[str, GraphQLInputType], given: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """An object with one of its members put in, or put in another's place."""
        for name, kind in members.items():
            for argument, value in self._values(f"{of}.{name}", kind, given.get(name)):
                yield argument, given | {name: value}

    def _values(self, argument: str, kind: GraphQLInputType, given: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 -- any JSON
        if isinstance(kind, GraphQLNonNull):
            yield from self._values(argument, kind.of_type, given)
        elif isinstance(kind, GraphQLList):
            first = given[0] if given else None
            yield from ((who, [each]) for who, each in self._values(argument, kind.of_type, first))
        elif isinstance(kind, GraphQLInputObjectType):
            yield from self._inputs(argument, kind, given)
        elif kind.name in _TEXTS:
            yield from ((argument, name) for name in self.names)
        elif kind.name == "JSON":
            yield argument, {"names": self.names}

    def _inputs(self, argument: str, kind: GraphQLInputObjectType, given: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 -- any JSON
        if kind.name == "QueryInput":
            yield from ((argument, condition) for condition in self._conditions())
            return
        value = self.asked.inputs(kind)[0] if given is None else given
        members = {name: field.type for name, field in kind.fields.items() if not kind.is_one_of or name in value}
        yield from self._objects(kind.name, members, value)

    def _conditions(self) -> Iterator[dict[str, Any]]:
        """That a field is one of the names; a list that has no such field says so."""
        values = [{"$literal": name} for name in self.names]
        for field in ("id", "project_id", "weave_ref", "object_id", "digest", "llm_id"):
            yield {"json": {"$expr": {"$in": [{"$getField": field}, values]}}}
