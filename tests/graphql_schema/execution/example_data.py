"""Random sources for the example schema, with faults of every kind among them."""

import asyncio
import string
from collections import UserList, deque
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from functools import cache, partial
from random import Random
from types import SimpleNamespace
from typing import Any, Final

import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_leaf_type,
)
from strawberry.utils.str_converters import to_snake_case

from graphql_schema.fields.connections import Listing
from stores.paging import Order, Page, SortKey
from stores.times import FIRST, LAST
from tests.graphql_schema.execution import example_schema
from tests.graphql_schema.execution.example_schema import Color, Level, Raising, Thing

MAX_DEPTH: Final = 3
MAX_SOURCES: Final = 120
"""Approximate maximum number of sources below one root."""


class Row(dict[str, Any]):
    """A subclass of dict. The executor reads its fields as attributes, and it has none."""


class Text(str):
    """A subclass of str."""

    __slots__ = ()


class Number(int):
    """A subclass of int."""


class _Named:
    """A value whose repr is always the same, unlike one with a memory address."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Later(_Named):
    """An awaitable that causes no warning if it is never awaited, unlike a coroutine."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Raising):
            raise self.value.error
        return self.value


class Breaking(_Named):
    """An iterable that fails after its rows."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        yield from self.rows
        raise ValueError("broken off")


class Flowing(_Named):
    """An asynchronous iterable that may fail after its rows."""

    def __init__(self, rows: list[Any], *, breaks: bool) -> None:
        self.rows, self.breaks = rows, breaks

    async def __aiter__(self) -> AsyncIterator[Any]:
        for row in self.rows:
            await asyncio.sleep(0)
            yield row
        if self.breaks:
            raise ValueError("run dry")


class Mute(_Named):
    """A value of an unknown type whose str() fails."""

    def __str__(self) -> str:
        raise TypeError("says nothing")


def _error(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "FAULT"})


_WRONG: Final[tuple[Callable[[], object], ...]] = (
    *[lambda: None] * 8,
    *[lambda: Raising(ValueError("raised"))] * 4,
    lambda: Raising(_error("raised with a code")),
    lambda: Raising(KeyError("key")),
    lambda: ValueError("given, not raised"),
    lambda: _error("given with a code"),
    lambda: Later(None),
    lambda: Later(7),
    lambda: Later("late"),
    lambda: Later(Raising(ValueError("raised late"))),
    lambda: "text",
    lambda: Text("red"),
    lambda: "RED",
    lambda: "",
    lambda: "2026-01-31T12:00:00Z",
    lambda: 7,
    lambda: Number(8),
    lambda: True,
    lambda: 2**31 - 1,
    lambda: 2**31,
    lambda: -(2**31) - 1,
    lambda: 2**70,
    lambda: FIRST - 1,
    lambda: LAST + 1,
    lambda: 3.0,
    lambda: 2.5,
    lambda: float("nan"),
    lambda: float("-inf"),
    lambda: 1e300,
    lambda: b"bytes",
    list,
    lambda: [1, None],
    dict,
    lambda: {"name": "a row"},
    lambda: Row(name="a row"),
    lambda: ("a", "tuple"),
    lambda: Color.RED,
    lambda: Level.LOW,
    Mute,
    lambda: Undefined,
    lambda: strawberry.UNSET,
)
_NEARLY: Final[dict[str, list[Any]]] = {
    "ID": [5, Number(8), 1.5, 2.0, True, Text("a"), b"a"],
    "String": [5, Number(8), 1.5, True, Text("a"), b"a"],
    "Int": [True, 2**31, -(2**31) - 1, 2.0, 2.5, "7", "", Number(8)],
    "Float": [float("nan"), float("inf"), 1, "1.5", "", True, 10**400],
    "Boolean": [0, 1, 0.5, "true", float("nan")],
    "BigInt": [2**80, True, 1.5, "7", "text", Number(8), float("inf")],
    "DateTime": [FIRST - 1, LAST + 1, 1.5, True, "2026-01-31T12:00:00Z", Number(8)],
    "JSON": [5, {"a": 1}, b"{}", []],
    "Color": ["text", "RED", "AZURE", Color.BLUE, Level.LOW, Text("red"), 1, ["red"]],
    "Level": [0, 1.0, True, 1.5, "LOW", Level.HIGH, Color.RED, Number(1), [1]],
}
"""Values that are almost right for a scalar or an enum, or right in an unusual way, by type name."""

_DOCUMENTS: Final = ('{"a": {"b": [1, "x"]}}', '{"a": 1, "a": 2}', "[]", "5", '"text"', "{ }", "null")
_LETTERS: Final = string.ascii_letters + 'é"\\\n\u2028'
_SCALARS: Final[dict[str, Callable[[Random], object]]] = {
    "Int": lambda pick: pick.randrange(-(2**31), 2**31),
    "BigInt": lambda pick: pick.randrange(-(2**63), 2**63),
    "Float": lambda pick: pick.choice([0.0, -1.5, 1e17, pick.random(), 3]),
    "Boolean": lambda pick: pick.random() < 0.5,
    "DateTime": lambda pick: pick.choice([FIRST, LAST, 0, pick.randrange(2**51)]),
    "JSON": lambda pick: pick.choice(_DOCUMENTS),
    "String": lambda pick: "".join(pick.choices(_LETTERS, k=pick.randrange(6))),
}
_ENUMS: Final[dict[str, list[Any]]] = {"Color": [*Color], "Level": [*Level]}
_CLASSES: Final = ("Dog", "Cat", "Fish", "Bird")
_FORMS: Final[list[Callable[[dict[str, Any]], object]]] = [Thing, lambda given: SimpleNamespace(**given), Row]
PAGES: Final = Order({}, (SortKey("id"),))


class Sources:
    """Generates the sources of the fields that a document names; the same seed gives the same sources."""

    def __init__(self, schema: GraphQLSchema, wanted: Collection[str], seed: str) -> None:
        self.makers = _makers(schema)
        self.wanted = wanted
        self.random = Random(seed)
        self.faults = self.random.choice([0.0, 0.01, 0.02, 0.05, 0.2])
        self.objects = self.random.choice([0.0, 0.1, 0.5])
        self.longest = self.random.choice([1, 2, 4, 12])
        self.made = 0
        self.is_read_once = False
        self.fields: dict[str, list[tuple[str, Make]]] = {}

    def root(self, name: str) -> object:
        """Return the source of a root type."""
        return self.values(name, 0)

    def is_enough(self, depth: int) -> bool:
        """Return whether the sources are so many or so deep that no more should be generated."""
        return depth > MAX_DEPTH or self.made > MAX_SOURCES

    def values(self, name: str, depth: int) -> dict[str, Any]:
        """Return the values of a source of the type."""
        self.made += 1
        fields = self.fields.get(name)
        if fields is None:
            fields = self.fields[name] = [
                (to_snake_case(field), make) for field, make in self.makers[name].items() if field in self.wanted
            ]
        chance, missing = self.random.random, self.faults / 4
        values = {field: make(self, depth) for field, make in fields if chance() >= missing}
        if name in ("Circle", "Square") and chance() >= self.faults:
            values["kind"] = name
        if "payload" in self.wanted:
            values["json"] = {"payload": self.random.choice([*_DOCUMENTS, None])}
        return values


Make = Callable[[Sources, int], Any]
"""A function that generates values of one type; it is chosen once per field, because there are millions of values."""


@cache
def _makers(schema: GraphQLSchema) -> dict[str, dict[str, Make]]:
    """Return functions that generate values, by type name and field name."""
    return {
        name: {field: _value(schema, of.type) for field, of in kind.fields.items()}
        for name, kind in schema.type_map.items()
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__")
    }


def _value(schema: GraphQLSchema, kind: GraphQLOutputType) -> Make:
    """Return a function that generates values of a type, including faults."""
    right = _right(schema, get_nullable_type(kind))
    nearly = _NEARLY.get(get_named_type(kind).name) if is_leaf_type(get_nullable_type(kind)) else None
    is_required, is_composite = isinstance(kind, GraphQLNonNull), is_composite_type(kind)

    def make(sources: Sources, depth: int) -> Any:
        chance = sources.random.random
        if chance() < sources.faults:
            if nearly and chance() < 0.6:
                return sources.random.choice(nearly)
            return sources.random.choice(_WRONG)()
        if not is_required and ((is_composite and sources.is_enough(depth)) or chance() < 0.1):
            return None
        return right(sources, depth)

    return make


def _right(schema: GraphQLSchema, kind: Any) -> Make:
    match kind:
        case GraphQLList():
            return _list(_value(schema, kind.of_type))
        case GraphQLScalarType():
            scalar = _SCALARS.get(kind.name, _SCALARS["String"])
            return lambda sources, _depth: scalar(sources.random)
        case GraphQLEnumType():
            return partial(_member, _ENUMS[kind.name])
        case GraphQLInterfaceType() | GraphQLUnionType():
            return _one_of([possible.name for possible in schema.get_possible_types(kind)])
        case _:
            return partial(_source, kind.name)


def _member(members: list[Any], sources: Sources, _depth: int) -> object:
    member = sources.random.choice(members)
    return member if sources.random.random() < 0.3 else member.value


def _one_of(names: list[str]) -> Make:
    return lambda sources, depth: _source(sources.random.choice(names), sources, depth)


def _list(make: Make) -> Make:
    def made(sources: Sources, depth: int) -> Any:
        length = 0 if sources.is_enough(depth) else sources.random.randrange(sources.longest + 1)
        rows = [make(sources, depth) for _ in range(length)]
        return rows if sources.random.random() > sources.faults else _odd(rows, sources)

    return made


def _odd(rows: list[Any], sources: Sources) -> object:
    """Return the rows in an iterable other than a list, as awaitables, or in an iterable that fails."""
    others: list[Callable[[], object]] = [
        lambda: tuple(rows),
        lambda: deque(rows),
        lambda: UserList(rows),
        lambda: iter(rows),
        lambda: Breaking(rows),
        lambda: Flowing(rows, breaks=False),
        lambda: Flowing(rows, breaks=True),
        lambda: dict.fromkeys(range(len(rows)), "value"),
        lambda: [Later(row) for row in rows],
        lambda: [row if sources.random.random() < 0.5 else Later(row) for row in rows],
        lambda: Later(rows),
    ]
    made = sources.random.choice(others)()
    sources.is_read_once |= isinstance(made, Iterator)
    return made


def _source(name: str, sources: Sources, depth: int) -> object:
    if name == "NodeConnection":
        return _listing(sources, depth)
    values = sources.values(name, depth + 1)
    if name in _CLASSES and sources.random.random() >= sources.faults:
        made = object.__new__(getattr(example_schema, name))
        vars(made).update(values)
        return made
    if sources.random.random() >= sources.objects:
        return values
    return sources.random.choices(_FORMS, [5, 5, 1])[0](values)


def _listing(sources: Sources, depth: int) -> Listing:
    # Pages contain only dicts with ids; all other values of a row may be wrong.
    rows = [
        sources.values("Node", depth + 1) | {"id": str(position)}
        for position in range(0 if sources.is_enough(depth) else sources.random.randrange(sources.longest + 1))
    ]

    async def count(limit: int | None) -> int:
        await asyncio.sleep(0)
        return len(rows) if limit is None else min(len(rows), limit)

    page = Page(rows, sources.random.random() < 0.5, sources.random.random() < 0.5, PAGES, b"scope")
    return Listing(page, count)
