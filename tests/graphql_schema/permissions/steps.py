"""Steps through the graph: documents that reach each type from the root and follow each of its edges."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_required_argument,
)

Ask = Callable[[str], Awaitable[Any]]
"""A function that runs a document and returns the data of its answer."""

Arguments = Callable[[str, GraphQLField], str]
"""A function that returns the arguments of a root field as text."""

_HERE = "here"


class Steps:
    """Follows every edge that queries can reach, from every row of the first list that leads to its type.

    Each selected field has an alias of its type and name, so that the answer alone shows which fields were reached.
    """

    def __init__(self, schema: GraphQLSchema, ask: Ask, arguments: Arguments) -> None:
        self.schema, self.ask, self.arguments = schema, ask, arguments
        self.answers: dict[str, Any] = {}
        """Data of the answer to each document."""
        self._known: set[str] = set()
        self._waiting: list[tuple[GraphQLObjectType, tuple[str, ...]]] = []

    async def go(self) -> None:
        """Follow all edges."""
        assert self.schema.query_type
        self._waiting.append((self.schema.query_type, ()))
        while self._waiting:
            await self._go_from(*self._waiting.pop(0))

    async def _go_from(self, kind: GraphQLObjectType, path: tuple[str, ...]) -> None:
        for step, to in self._steps(kind):
            answer = await self._take((*path, step), to)
            if to is None or to.name in self._known or not any(_HERE in each for each in objects(answer)):
                continue
            self._known.add(to.name)
            if to.name.endswith("Connection"):
                # The steps continue at once, so that later ones start from this list and not from a list at the root.
                await self._go_from(to, (*path, step))
            else:
                self._waiting.append((to, (*path, step)))

    def _steps(self, kind: GraphQLObjectType) -> Iterator[tuple[str, GraphQLObjectType | None]]:
        """Yield the edges of a type, lists first, each with its target type, or None for a scalar of a root."""
        is_root = kind is self.schema.query_type
        for name, field in sorted(kind.fields.items(), key=lambda each: not _is_connection(each[1])):
            to = get_named_type(field.type)
            step = f"{kind.name}_{name}: {name}{self.arguments(name, field) if is_root else ''}"
            if isinstance(to, GraphQLObjectType):
                yield step, to
            elif is_abstract_type(to):
                yield from ((f"{step} {{ ... on {each.name}", each) for each in self.schema.get_possible_types(to))
            elif is_root:
                yield step, None

    async def _take(self, path: tuple[str, ...], to: GraphQLObjectType | None) -> Any:
        document = " { ".join(("query", *path))
        if to is not None:
            document += f" {{ {_HERE}: __typename {selection(self.schema, to)}"
        document += " }" * (document.count("{") - document.count("}"))
        self.answers[document] = await self.ask(document)
        return self.answers[document]


def _is_connection(field: GraphQLField) -> bool:
    return get_named_type(field.type).name.endswith("Connection")


def selection(schema: GraphQLSchema, kind: GraphQLNamedType, depth: int = 0) -> str:
    """Return a selection of all fields of a type, and of objects up to `depth` edges away; connections do not count."""
    if isinstance(kind, GraphQLObjectType):
        return " ".join(("__typename", *_selected(schema, kind, depth)))
    assert is_abstract_type(kind)
    return " ".join(
        f"... on {each.name} {{ {selection(schema, each, depth)} }}" for each in schema.get_possible_types(kind)
    )


def _selected(schema: GraphQLSchema, kind: GraphQLObjectType, depth: int) -> Iterator[str]:
    left = depth if kind.name.endswith(("Connection", "Edge")) else depth - 1
    for name, field in kind.fields.items():
        to = get_named_type(field.type)
        assert not any(map(is_required_argument, field.args.values())), f"nobody gives {kind}.{name} its argument here"
        if not is_composite_type(to):
            yield f"{kind.name}_{name}: {name}"
        elif left >= 0:
            yield f"{kind.name}_{name}: {name} {{ {selection(schema, to, left)} }}"


def objects(answer: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in an answer."""
    if isinstance(answer, list):
        for each in answer:
            yield from objects(each)
    elif isinstance(answer, dict):
        yield answer
        for each in answer.values():
            yield from objects(each)


def reached(answer: Any) -> set[str]:
    """Return the fields that are non-null and non-empty somewhere in an answer, each as `Type.field`."""
    return {
        name.replace("_", ".", 1) for each in objects(answer) for name, value in each.items() if value not in (None, [])
    }
