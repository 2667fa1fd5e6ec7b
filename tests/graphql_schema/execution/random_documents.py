"""Random documents for any schema, most of them valid, and values for their variables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_composite_type,
    is_input_object_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

Composite = GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType

MAX_DEPTH: Final = 4
MAX_FIELDS: Final = 40
"""Approximate maximum number of fields in a document."""

_VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "ID": ["a", "5"],
    "String": ["", "word", 'é "quoted" \\'],
    "Int": [0, 1, 2, 3, -7, 2**31 - 1],
    "Float": [0.5, -2.0, 3],
    "Boolean": [True, False],
    "BigInt": [0, 2**40, -(2**63)],
    "DateTime": ["2026-01-31T12:00:00Z", "1969-12-31T23:59:59.999999+02:00"],
    "JSON": [{"a": [1, None, {"b": "x"}]}, [], "text", 1.5],
}


class _Name(str):
    """The name of an enum value or a variable, which a document writes without quotes."""

    __slots__ = ()


@dataclass
class RandomDocument:
    """One document: an operation, the fragments that it spreads, and its variables."""

    schema: GraphQLSchema
    random: Random
    operation: str = "query"
    variables: dict[str, tuple[GraphQLInputType, str]] = field(default_factory=dict)
    fragments: dict[str, tuple[str, str]] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    made: int = 0

    def text(self) -> str:
        """Return the text of the document."""
        roots = {"query": self.schema.query_type, "mutation": self.schema.mutation_type}
        root = roots[self.operation]
        assert root is not None
        selection = self._selection(root, 0)
        definitions = ", ".join(f"${name}: {kind}{default}" for name, (kind, default) in self.variables.items())
        written = [f"{self.operation} Q{f'({definitions})' if definitions else ''} {selection}"]
        written += [f"fragment {name} on {kind} {body}" for name, (kind, body) in self.fragments.items()]
        return "\n".join(written)

    def values(self) -> dict[str, Any]:
        """Return values for the variables, as a client sends them, without some optional ones."""
        return {
            name: self._input(kind, 0, literal=False)
            for name, (kind, default) in self.variables.items()
            if self.random.random() < 0.7 or (is_non_null_type(kind) and not default)
        }

    def _selection(self, kind: Composite, depth: int) -> str:
        count = self.random.choice([1, 2, 2, 3, 4, 6])
        return "{ " + " ".join(self._selected(kind, depth) for _ in range(count)) + " }"

    def _selected(self, kind: Composite, depth: int) -> str:
        chance = self.random.random()
        if chance < 0.12:
            narrowed = self._narrowed(kind)
            condition = "" if narrowed is kind and self.random.random() < 0.5 else f"on {narrowed.name} "
            return f"... {condition}{self._directives()}{self._selection(narrowed, depth)}"
        if chance < 0.2 and depth:
            return f"...{self._fragment(kind, depth)}{self._directives()}"
        if chance < 0.26 or isinstance(kind, GraphQLUnionType):
            if isinstance(kind, GraphQLUnionType) and chance > 0.4:
                of = self.random.choice(self.schema.get_possible_types(kind))
                return f"... on {of.name} {self._selection(of, depth)}"
            return self.random.choice(["__typename", "kindOf: __typename"])
        return self._field(kind, depth)

    def _narrowed(self, kind: Composite) -> Composite:
        """Return the type itself, one of its possible types, or one of its interfaces."""
        if isinstance(kind, GraphQLObjectType):
            wider: list[Composite] = [kind, *kind.interfaces]
            return self.random.choice(wider)
        narrower: list[Composite] = [kind, *self.schema.get_possible_types(kind)]
        return self.random.choice(narrower)

    def _fragment(self, kind: Composite, depth: int) -> str:
        known = [name for name, (on, body) in self.fragments.items() if on == kind.name and body]
        if known and self.random.random() < 0.5:
            return self.random.choice(known)
        name = f"F{len(self.fragments)}"
        # The fragment has no text yet, so that nothing inside it spreads it.
        self.fragments[name] = (kind.name, "")
        self.fragments[name] = (kind.name, self._selection(kind, depth))
        return name

    def _field(self, kind: GraphQLObjectType | GraphQLInterfaceType, depth: int) -> str:
        fields = [
            (name, definition)
            for name, definition in kind.fields.items()
            if (depth < MAX_DEPTH and self.made < MAX_FIELDS) or not is_composite_type(get_named_type(definition.type))
        ]
        if not fields:
            return "__typename"
        self.made += 1
        deep = [found for found in fields if is_composite_type(get_named_type(found[1].type))]
        name, definition = self.random.choice(deep if deep and self.random.random() < 0.4 else fields)
        arguments = self._arguments(definition.args)
        below = get_named_type(definition.type)
        selection = f" {self._selection(below, depth + 1)}" if is_composite_type(below) else ""
        return f"{self._alias(name, arguments)}{name}{arguments}{self._directives()}{selection}"

    def _alias(self, name: str, arguments: str) -> str:
        """Return the same alias for the same field and arguments, or mostly none if the plain name is unambiguous."""
        first = self.names.setdefault((name, arguments), f"{name}{len(self.names)}")
        plain = not any(known != arguments for of, known in self.names if of == name)
        if plain and self.random.random() < 0.75:
            return ""
        return f"{first}: "

    def _directives(self) -> str:
        if self.random.random() > 0.12:
            return " "
        kind: GraphQLInputType = GraphQLNonNull(GraphQLBoolean)
        names = self.random.choice([["skip"], ["include"], ["skip", "include"]])
        return " " + "".join(f"@{name}(if: {self._literal(kind)}) " for name in names)

    def _arguments(self, arguments: dict[str, GraphQLArgument]) -> str:
        given = [
            f"{name}: {self._literal(argument.type)}"
            for name, argument in arguments.items()
            if is_required_argument(argument) or self.random.random() < 0.5
        ]
        return f"({', '.join(given)})" if given else ""

    def _literal(self, kind: GraphQLInputType) -> str:
        if self.random.random() < 0.4:
            return f"${self._variable(kind)}"
        return _written(self._input(kind, 0, literal=True))

    def _variable(self, kind: GraphQLInputType) -> str:
        known = [name for name, (of, _) in self.variables.items() if str(of) == str(kind)]
        if known and self.random.random() < 0.6:
            return self.random.choice(known)
        name = f"v{len(self.variables)}"
        default = _written(self._input(kind, 1, literal=True)) if self.random.random() < 0.4 else ""
        self.variables[name] = (kind, f" = {default}" if default else "")
        return name

    def _input(self, kind: Any, depth: int, *, literal: bool) -> Any:
        if is_non_null_type(kind):
            kind = kind.of_type
        elif self.random.random() < 0.1:
            return None
        match kind:
            case GraphQLList():
                count = self.random.randrange(3)
                return [self._input(kind.of_type, depth + 1, literal=literal) for _ in range(count)]
            case GraphQLEnumType():
                name = self.random.choice(list(kind.values))
                return _Name(name) if literal else name
            case GraphQLInputObjectType():
                return self._input_object(kind, depth, literal=literal)
            case _:
                return self.random.choice(_VALUES[kind.name])

    def _input_object(self, kind: GraphQLInputObjectType, depth: int, *, literal: bool) -> dict[str, Any]:
        fields: dict[str, GraphQLInputField] = kind.fields
        if kind.is_one_of:
            name = self.random.choice(list(fields))
            inner: GraphQLInputType = GraphQLNonNull[Any](fields[name].type)
            return {name: self._member(inner, depth, literal=literal)}
        return {
            name: self._member(member.type, depth, literal=literal)
            for name, member in fields.items()
            if is_required_input_field(member) or self.random.random() < 0.5
        }

    def _member(self, kind: GraphQLInputType, depth: int, *, literal: bool) -> Any:
        # A default of a variable contains no variables; its depth is never zero.
        if literal and not depth and not is_input_object_type(get_named_type(kind)) and self.random.random() < 0.3:
            return _Name(f"${self._variable(kind)}")
        return self._input(kind, depth, literal=literal)


def _written(value: object) -> str:
    match value:
        case _Name():
            return str(value)
        case dict():
            return "{" + ", ".join(f"{name}: {_written(member)}" for name, member in value.items()) + "}"
        case list():
            return "[" + ", ".join(_written(member) for member in value) + "]"
        case _:
            return json.dumps(value)
