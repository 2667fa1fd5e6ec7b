"""Random GraphQL operations that are valid by the schema, with random arguments."""

import json
import re
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_composite_type,
    is_required_argument,
)

from tests.fuzz.pool import Pool
from tests.fuzz.values import Enum, Values

_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PAGING: Final = ("first", "last")
_WILDNESS: Final = (0.0, 0.0, 0.0, 0.02, 0.1, 0.3)
_INTROSPECTION: Final = (
    "__schema { queryType { name } types { name kind fields { name type { name ofType { name }}}}}",
    '__type(name: "CallSchema") { name fields { name args { name defaultValue } } }',
    "__typename",
)


@dataclass
class Operation:
    """An operation: its document, and the values of its variables."""

    document: str
    variables: dict[str, Any] = field(default_factory=dict)


def literal(value: object) -> str:
    """Write a value as a GraphQL literal."""
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {literal(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def is_spelled(value: object) -> bool:
    """Return whether GraphQL can write a value as a literal: all keys of its objects must be names."""
    if isinstance(value, list):
        return all(map(is_spelled, value))
    if isinstance(value, dict):
        return all(_NAME.fullmatch(key) and is_spelled(item) for key, item in value.items())
    return True


class Documents:
    """Generates operations for a schema."""

    def __init__(self, schema: GraphQLSchema, pool: Pool) -> None:
        self.schema = schema
        self.pool = pool

    def make(self, random: Random, kind: str | None = None) -> Operation:
        """Return one operation; seven of ten are queries, the others mutations."""
        kind = kind or random.choices(("query", "mutation"), weights=(7, 3))[0]
        return _Writer(self.schema, self.pool, random, kind).write()


class _Writer:
    def __init__(self, schema: GraphQLSchema, pool: Pool, random: Random, kind: str) -> None:
        self.schema = schema
        self.random = random
        self.kind = kind
        self.values = Values(random, pool, random.choice(_WILDNESS), writes=kind == "mutation")
        self.variables: dict[str, Any] = {}
        self.declared: list[str] = []
        self.fragments: list[str] = []
        self.budget = random.choice((5, 15, 40))

    def write(self) -> Operation:
        roots = {"query": self.schema.query_type, "mutation": self.schema.mutation_type}
        root = roots.get(self.kind, self.schema.subscription_type)
        assert root is not None
        count = self.random.choice((1, 1, 1, 2, 3)) if self.kind != "subscription" else 1
        names = [self.random.choice(list(root.fields)) for _ in range(count)]
        body = " ".join(self._field(name, root.fields[name], 4, alias=f"r{i}_") for i, name in enumerate(names))
        if self.kind == "query" and self.random.random() < 0.05:
            body += " " + self.random.choice(_INTROSPECTION)
        declared = f"({', '.join(self.declared)})" if self.declared else ""
        name = " Asked" if self.random.random() < 0.3 else ""
        return Operation(f"{self.kind}{name}{declared} {{ {body} }} {' '.join(self.fragments)}", self.variables)

    def _field(self, name: str, kind: GraphQLField, depth: int, alias: str = "") -> str:
        written = f"{alias}{name}: {name}" if alias and self.random.random() < 0.9 else name
        written += self._arguments(kind) + self._directives()
        named = get_named_type(kind.type)
        return f"{written} {self._selection(named, depth)}" if is_composite_type(named) else written

    def _arguments(self, kind: GraphQLField) -> str:
        written: list[str] = []
        for name, argument in kind.args.items():
            likely = 0.9 if name == "first" else 0.3
            if is_required_argument(argument) or self.random.random() < likely:
                if name in {"last", "before"} and any(part.startswith("first") for part in written):
                    continue
                written.append(f"{name}: {self._argument(argument.type, name)}")
        return f"({', '.join(written)})" if written else ""

    def _argument(self, kind: Any, name: str) -> str:
        value = self.values.of(kind, name)
        if is_spelled(value) and self.random.random() < 0.5:
            return literal(value)
        variable = f"v{len(self.variables)}"
        self.variables[variable] = value
        self.declared.append(f"${variable}: {kind}")
        return f"${variable}"

    def _directives(self) -> str:
        if self.random.random() > 0.03:
            return ""
        which = self.random.choice(("skip", "include"))
        return f" @{which}(if: {self.random.choice(('true', 'false'))})"

    def _selection(self, kind: GraphQLNamedType, depth: int) -> str:
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            possible = self.random.sample(list(self.schema.get_possible_types(kind)), 2)
            parts = [f"... on {member.name} {self._selection(member, depth - 1)}" for member in possible]
            return "{ __typename " + " ".join(parts) + " }"
        assert isinstance(kind, GraphQLObjectType)
        selected = self._fields(kind, depth)
        if self.random.random() < 0.03:
            name = f"F{len(self.fragments)}"
            self.fragments.append(f"fragment {name} on {kind.name} {{ {selected} }}")
            return f"{{ ...{name} }}"
        return f"{{ {selected} }}"

    def _fields(self, kind: GraphQLObjectType, depth: int) -> str:
        names = self.random.sample(list(kind.fields), min(len(kind.fields), self.random.randint(1, 6)))
        parts = []
        for number, name in enumerate(names):
            inner = kind.fields[name]
            if is_composite_type(get_named_type(inner.type)) and (depth <= 0 or self.budget <= 0):
                continue
            self.budget -= 1
            # A field with arguments could conflict with the same field and other arguments, so it gets a unique alias.
            alias = f"a{self.budget + 50}{number}_" if inner.args else ""
            parts.append(self._field(name, inner, depth - 1, alias))
        return " ".join(parts) or "__typename"
