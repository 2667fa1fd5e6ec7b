"""Random sources for the example schema, with faults of every kind put among them."""

import asyncio
import string
from collections import UserList, deque
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
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

from graphql_schema.connections import Listing
from stores.paging import Page
from stores.query.sort import Key, Order
from stores.times import FIRST, LAST
from tests.graphql_schema.execution import example_schema
from tests.graphql_schema.execution.example_schema import Color, Level, Raising, Thing

MAX_DEPTH: Final = 3
MAX_SOURCES: Final = 120
"""How many sources one root holds at the most, or a few more."""


class Row(dict[str, Any]):
    """A dict that is more than one: its fields are attributes, and it has none."""


class Text(str):
    """A string that is more than one."""

    __slots__ = ()


class Number(int):
    """An integer that is more than one."""


class _Named:
    """A value whose text is the same each time, as an address in memory is not."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Later(_Named):
    """An awaitable that may be left alone, unlike a coroutine."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Raising):
            raise self.value.error
        return self.value


class Breaking(_Named):
    """An iterable that fails in the middle."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        yield from self.rows
        raise ValueError("broken off")


class Flowing(_Named):
    """An asynchronous iterable, which may fail at the end."""

    def __init__(self, rows: list[Any], *, breaks: bool) -> None:
        self.rows, self.breaks = rows, breaks

    async def __aiter__(self) -> AsyncIterator[Any]:
        for row in self.rows:
            await asyncio.sleep(0)
            yield row
        if self.breaks:
            raise ValueError("run dry")


class Mute(_Named):
    """A value of no known kind that has no text."""

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
"""What is nearly right for a scalar or an enum, or right in an unusual way."""

_DOCUMENTS: Final = ('{"a": {"b": [1, "x"]}}', '{"a": 1, "a": 2}', "[]", "5", '"text"', "{ }", "null")
_CLASSES: Final = ("Dog", "Cat", "Fish")
PAGES: Final = Order({}, (Key("id"),))


class Sources:
    """Makes sources of the fields that a document names; the same ones again for the same seed."""

    def __init__(self, schema: GraphQLSchema, wanted: Collection[str], seed: str) -> None:
        self.schema = schema
        self.wanted = wanted
        self.random = Random(seed)  # noqa: S311 -- tests that repeat
        self.faults = self.random.choice([0.0, 0.01, 0.02, 0.05, 0.2])
        self.objects = self.random.choice([0.0, 0.1, 0.5])
        self.longest = self.random.choice([1, 2, 4, 12])
        self.made = 0
        self.fields: dict[str, list[tuple[str, GraphQLOutputType]]] = {}

    def root(self, name: str) -> object:
        """The source of a root type."""
        return self._values(self._object(name), 0)

    def _object(self, name: str) -> GraphQLObjectType:
        kind = self.schema.type_map[name]
        assert isinstance(kind, GraphQLObjectType)
        return kind

    def _value(self, kind: GraphQLOutputType, depth: int) -> Any:  # noqa: ANN401 -- any value
        if self.random.random() < self.faults:
            nearly = _NEARLY.get(get_named_type(kind).name)
            if nearly and is_leaf_type(get_nullable_type(kind)) and self.random.random() < 0.6:
                return self.random.choice(nearly)
            return self.random.choice(_WRONG)()
        match kind:
            case GraphQLNonNull():
                return self._right(kind.of_type, depth)
            case _ if is_composite_type(kind) and self._is_enough(depth):
                return None
            case _:
                return None if self.random.random() < 0.1 else self._right(kind, depth)

    def _right(self, kind: Any, depth: int) -> Any:  # noqa: ANN401 -- as above
        match kind:
            case GraphQLList():
                return self._list(kind, depth)
            case GraphQLScalarType():
                return self._scalar(kind.name)
            case GraphQLEnumType():
                member = self.random.choice([*(Color if kind.name == "Color" else Level)])
                return member if self.random.random() < 0.3 else member.value
            case GraphQLInterfaceType() | GraphQLUnionType():
                return self._source(self.random.choice(self.schema.get_possible_types(kind)), depth)
            case _:
                return self._source(kind, depth)

    def _list(self, kind: GraphQLList[Any], depth: int) -> Any:  # noqa: ANN401 -- as above
        length = 0 if self._is_enough(depth) else self.random.randrange(self.longest + 1)
        rows = [self._value(kind.of_type, depth) for _ in range(length)]
        if self.random.random() > self.faults:
            return rows
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
            lambda: [row if self.random.random() < 0.5 else Later(row) for row in rows],
            lambda: Later(rows),
        ]
        return self.random.choice(others)()

    def _scalar(self, name: str) -> object:
        pick = self.random
        match name:
            case "Int":
                return pick.randrange(-(2**31), 2**31)
            case "BigInt":
                return pick.randrange(-(2**63), 2**63)
            case "Float":
                return pick.choice([0.0, -1.5, 1e17, pick.random(), 3])
            case "Boolean":
                return pick.random() < 0.5
            case "DateTime":
                return pick.choice([FIRST, LAST, 0, pick.randrange(2**51)])
            case "JSON":
                return pick.choice(_DOCUMENTS)
            case _:
                return "".join(pick.choices(string.ascii_letters + 'é"\\\n\u2028', k=pick.randrange(6)))

    def _source(self, kind: GraphQLObjectType, depth: int) -> object:
        if kind.name == "NodeConnection":
            return self._listing(depth)
        values = self._values(kind, depth + 1)
        if kind.name in _CLASSES and self.random.random() >= self.faults:
            made = object.__new__(getattr(example_schema, kind.name))
            vars(made).update(values)
            return made
        if self.random.random() >= self.objects:
            return values
        forms: list[Callable[[dict[str, Any]], object]] = [Thing, lambda given: SimpleNamespace(**given), Row]
        return self.random.choices(forms, [5, 5, 1])[0](values)

    def _is_enough(self, depth: int) -> bool:
        return depth > MAX_DEPTH or self.made > MAX_SOURCES

    def _fields(self, kind: GraphQLObjectType) -> list[tuple[str, GraphQLOutputType]]:
        if kind.name not in self.fields:
            self.fields[kind.name] = [
                (to_snake_case(name), field.type) for name, field in kind.fields.items() if name in self.wanted
            ]
        return self.fields[kind.name]

    def _values(self, kind: GraphQLObjectType, depth: int) -> dict[str, Any]:
        self.made += 1
        values: dict[str, Any] = {}
        for name, of in self._fields(kind):
            if self.random.random() >= self.faults / 4:
                values[name] = self._value(of, depth)
        if kind.name in ("Circle", "Square") and self.random.random() >= self.faults:
            values["kind"] = kind.name
        if "payload" in self.wanted:
            values["json"] = {"payload": self.random.choice([*_DOCUMENTS, None])}
        return values

    def _listing(self, depth: int) -> Listing:
        # Only dicts are what pages hold, each with an id; all else of them may be wrong.
        rows = [
            self._values(self._object("Node"), depth + 1) | {"id": str(position)}
            for position in range(0 if self._is_enough(depth) else self.random.randrange(self.longest + 1))
        ]

        async def count() -> int:
            await asyncio.sleep(0)
            return len(rows)

        page = Page(rows, self.random.random() < 0.5, self.random.random() < 0.5, PAGES, b"scope")
        return Listing(page, count)
