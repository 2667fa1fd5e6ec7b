"""A schema with every kind of type and field, whose sources determine the result of each field.

A source holds a value under the Python name of each of its fields, even of one with a resolver. A property or a
resolver raises a value that is a `Raising`. `CALLS` records every call of a resolver.
"""

# mypy: disable-error-code="no-any-return, untyped-decorator"
# A source may return any value, right or wrong; and Strawberry does not type a field that has extensions.

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final

import strawberry
from graphql.execution.executor import Executor
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from graphql_schema.execution import field_of
from graphql_schema.execution.scalars import SCALARS, BigInt, DateTime
from graphql_schema.fields import json_field, resolved_field
from graphql_schema.fields.connections import Connection, ConnectionNames, Listing
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.paging import JsonField

CALLS: Final[ContextVar[list[tuple[Any, ...]]]] = ContextVar("CALLS")
"""Calls of resolvers in this execution, each with its arguments, in order."""

Source = Any
FIVE: Final = BigInt(5)


@dataclass(frozen=True)
class Raising:
    """An error for a field to raise."""

    error: Exception


class Thing:
    """A source whose fields behave like properties: some are missing, some raise."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return "<Thing>"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name not in self.values:
            raise AttributeError(f"no field {name}")
        return given(self.values, name)


def given(source: Source, name: str) -> Any:
    """Return the value of a source for a field, or raise its error."""
    value = field_of(source, name)
    if isinstance(value, Raising):
        raise value.error
    return value


def noted(source: Source, name: str, *arguments: object) -> Any:
    """Record a resolver's call and return the value of its field."""
    CALLS.get().append((name, *arguments))
    return given(source, name)


@strawberry.enum
class Color(Enum):
    RED = "red"
    GREEN = "green"
    BLUE = strawberry.enum_value("blue", name="AZURE")


@strawberry.enum
class Level(Enum):
    LOW = 1
    HIGH = 2


@strawberry.input
class Span:
    start: int
    end: int | None = 9
    colors: list[Color] = strawberry.field(default_factory=lambda: [Color.RED])


@strawberry.input(one_of=True)
class Choice:
    by_id: strawberry.ID | None = strawberry.UNSET
    by_span: Span | None = strawberry.UNSET
    by_words: list[str] | None = strawberry.UNSET


class Shouting(FieldExtension):
    """Converts the value of a text field to upper case."""

    def resolve(self, next_: Any, source: Any, info: Any, **arguments: Any) -> Any:
        value = next_(source, info, **arguments)
        return value.upper() if isinstance(value, str) else value


class Allowed(BasePermission):
    """Permits access unless the source's value is "secret"."""

    message = "not yours to see"

    def has_permission(self, source: Any, info: Any, **_: Any) -> bool:  # noqa: ARG002 -- Strawberry's own
        return given(source, "guarded") != "secret"


@strawberry.type
class Leaves:
    """Every scalar, nullable and required, and lists of scalars."""

    id: strawberry.ID
    maybe_id: strawberry.ID | None
    text: str
    maybe_text: str | None
    count: int
    maybe_count: int | None
    ratio: float
    maybe_ratio: float | None
    flag: bool
    maybe_flag: bool | None
    big: BigInt
    maybe_big: BigInt | None
    at: DateTime
    maybe_at: DateTime | None
    json: JSON
    maybe_json: JSON | None
    color: Color
    maybe_color: Color | None
    level: Level
    maybe_level: Level | None
    words: list[str]
    maybe_words: list[str | None] | None
    grid: list[list[int]]
    maybe_grid: list[list[int | None] | None] | None
    colors: list[Color]
    times: list[DateTime | None]
    documents: list[JSON] | None


@strawberry.interface
class Named:
    """An interface whose types are distinguished by the classes of the sources."""

    name: str
    nick: str | None

    @strawberry.field
    def title(self, prefix: str = "Dr.") -> str | None:
        return noted(self, "title", prefix)


@strawberry.type
class Dog(Named):
    barks: bool
    owner: "Node | None"


@strawberry.type
class Cat(Named):
    lives: int | None
    kittens: list["Cat"]

    @strawberry.field
    async def purr(self) -> str:
        await asyncio.sleep(0)
        return noted(self, "purr")


@strawberry.type
class Fish:
    """A type in the union but without the interface."""

    name: str
    depth: float | None


@strawberry.type
class Bird:
    """Another type in the union alone, with a field that must be awaited."""

    name: str
    wings: int

    @strawberry.field
    async def song(self) -> str | None:
        await asyncio.sleep(0)
        return noted(self, "song")


Pet = Annotated[Dog | Cat | Fish | Bird, strawberry.union("Pet")]


@strawberry.interface
class Shape:
    """An interface whose types are distinguished by a value of the rows."""

    kind: str
    area: float | None

    @classmethod
    def resolve_type(cls, source: Source, *_: object) -> Any:
        return given(source, "kind")


@strawberry.type
class Circle(Shape):
    radius: float

    @classmethod
    def is_type_of(cls, source: Source, *_: object) -> bool:
        return bool(given(source, "kind") == "Circle")


@strawberry.type
class Square(Shape):
    side: int
    inner: Shape | None

    @classmethod
    def is_type_of(cls, source: Source, *_: object) -> bool:
        return bool(given(source, "kind") == "Square")


Figure = Annotated[Circle | Square, strawberry.union("Figure")]


@strawberry.type
class Node:
    """All other fields: objects and lists of them in each form, and every kind of resolver."""

    id: strawberry.ID
    name: str | None
    leaves: Leaves
    maybe_leaves: Leaves | None
    leaf_list: list[Leaves]
    nodes: list["Node"]
    maybe_nodes: list["Node | None"] | None
    optional_nodes: list["Node"] | None
    matrix: list[list["Node"]]
    maybe_matrix: list[list["Node | None"] | None] | None
    pet: Pet
    pets: list[Pet]
    maybe_pets: list[Pet | None] | None
    named: Named | None
    named_list: list[Named]
    shape: Shape | None
    shapes: list[Shape | None]
    figures: list[Figure]
    circles: list[Circle | None]
    payload: JSON | None = json_field(JsonField("payload"), "A JSON field.")

    @strawberry.field
    def by_self(self) -> str | None:
        return noted(self, "by_self")

    @strawberry.field
    def by_parent(self, parent: strawberry.Parent[Any], times: int = 2, *, loud: bool | None = None) -> int:
        return noted(parent, "by_parent", times, loud, self is parent)

    @strawberry.field
    def by_root(root: Any, color: Color | None = Color.RED) -> Color | None:  # noqa: N805 -- Strawberry's name for it
        return noted(root, "by_root", color)

    @strawberry.field
    def by_info(self, info: strawberry.Info, suffix: str | None = None) -> str:
        found = noted(self, "by_info", suffix, info.field_name, tuple(info.path.as_list()))
        return f"{found}{suffix}" if isinstance(found, str) and suffix else found

    @strawberry.field
    def by_span(self, span: Span | None = None, spans: list[Span] | None = None) -> int | None:
        return noted(self, "by_span", span, spans)

    @strawberry.field
    def by_choice(self, choice: Choice) -> float | None:
        return noted(self, "by_choice", choice)

    @strawberry.field
    def by_lists(self, colors: list[Color], words: list[str | None] | None = None) -> list[int]:
        return noted(self, "by_lists", tuple(colors), words and tuple(words))

    @strawberry.field
    def by_scalars(
        self, at: DateTime | None = None, big: BigInt = FIVE, json: JSON | None = None, level: Level = Level.LOW
    ) -> BigInt:
        return noted(self, "by_scalars", at, big, repr(json), level)

    @strawberry.field
    def changes_its_argument(self, words: list[str]) -> int:
        words.append("more")
        noted(self, "changes_its_argument", len(words))
        return len(words)

    @strawberry.field
    async def later(self, ticks: int = 1) -> str | None:
        for _ in range(min(ticks, 3)):
            await asyncio.sleep(0)
        return noted(self, "later", ticks)

    @strawberry.field
    async def must_later(self) -> int:
        noted(self, "must_later")
        await asyncio.sleep(0)
        return given(self, "must_later")

    @resolved_field("An awaitable, or the value itself.", returns=int | None)
    def sometimes(self) -> Awaitable[int] | int | None:
        found = noted(self, "sometimes")
        return _given_later(found) if isinstance(found, int) and found % 2 else found

    @strawberry.field
    async def later_nodes(self) -> list["Node"] | None:
        await asyncio.sleep(0)
        return noted(self, "later_nodes")

    @resolved_field("A generator.", returns=list["Node"])
    def generated(self, first: int = 3) -> Iterator[Source]:
        found = noted(self, "generated", first)
        return (row for row in found[: abs(first)])

    @resolved_field("A generator that notes when it is asked for more.", returns=list[Leaves | None])
    def drawn(self) -> Iterator[Source]:
        for position, row in enumerate(noted(self, "drawn")):
            CALLS.get().append(("drawn one", position))
            yield row

    @resolved_field("An asynchronous generator.", returns=list["Node | None"])
    async def streamed(self) -> AsyncIterator[Source]:
        for row in noted(self, "streamed"):
            await asyncio.sleep(0)
            yield row

    @resolved_field("A connection.", returns=Connection["Node"])
    def page(self, first: int | None = None) -> Listing:
        return noted(self, "page", first)

    @strawberry.field(extensions=[Shouting()])
    def shouted(self) -> str | None:
        return noted(self, "shouted")

    @strawberry.field(permission_classes=[Allowed])
    def guarded(self) -> str | None:
        return noted(self, "guarded")


async def _given_later(value: int) -> int:
    await asyncio.sleep(0)
    return value


@strawberry.type
class Query(Node):
    """A root with all fields of a node."""


@strawberry.type
class Mutation:
    """Fields that run one after the other."""

    node: Node | None
    nodes: list[Node]

    @strawberry.mutation
    async def rename(self, name: str) -> list[Node]:
        await asyncio.sleep(0)
        return noted(self, "rename", name)


@strawberry.type
class Subscription:
    """A subscription to the events of the root value."""

    @strawberry.subscription
    async def events(self) -> AsyncIterator[list[Node]]:
        for event in noted(self, "events"):
            await asyncio.sleep(0)
            yield event


def build_example(executor: type[Executor[Any]]) -> LoomSchema:
    """Return the example schema with an executor."""
    return LoomSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[Dog, Cat, Fish, Circle, Square],
        config=StrawberryConfig(default_resolver=field_of, name_converter=ConnectionNames(), scalar_map=dict(SCALARS)),
        limits=Limits(),
        execution_context_class=executor,
    )
