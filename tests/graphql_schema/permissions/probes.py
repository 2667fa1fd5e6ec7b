"""Probes: queries of our project in which one argument or input field names an entity of another project."""

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
from tests.graphql_schema.permissions.questions import Question, Subject, document, questions
from tests.graphql_schema.permissions.steps import selection

_TEXTS = frozenset({"String", "ID"})


class Probe(NamedTuple):
    """A question, and the name of the probed argument as in `arguments`."""

    argument: str
    question: Question


class Prober(NamedTuple):
    """Generates probes of a project and one of its calls, with the names of another project's entities."""

    subject: Subject
    names: list[str]

    def probes(self, schema: LimitedSchema) -> Iterator[Probe]:
        """Yield a probe for each name and each argument or input field that takes a text, required or optional."""
        known: set[tuple[str, str]] = set()
        for question in questions(schema, *self.subject):
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
        """Yield copies of an object in which one member is added or replaced."""
        for name, kind in members.items():
            for argument, value in self._values(f"{of}.{name}", kind, given.get(name)):
                yield argument, given | {name: value}

    def _values(self, argument: str, kind: GraphQLInputType, given: Any) -> Iterator[tuple[str, Any]]:
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

    def _inputs(self, argument: str, kind: GraphQLInputObjectType, given: Any) -> Iterator[tuple[str, Any]]:
        if kind.name == "QueryInput":
            yield from ((argument, condition) for condition in self._conditions())
            return
        value = self.subject.inputs(kind)[0] if given is None else given
        members = {name: field.type for name, field in kind.fields.items() if not kind.is_one_of or name in value}
        yield from self._objects(kind.name, members, value)

    def _conditions(self) -> Iterator[dict[str, Any]]:
        """Yield conditions that a field is one of the names; a list without such a field returns an error."""
        values = [{"$literal": name} for name in self.names]
        for field in ("id", "project_id", "weave_ref", "object_id", "digest", "llm_id"):
            yield {"json": {"$expr": {"$in": [{"$getField": field}, values]}}}
