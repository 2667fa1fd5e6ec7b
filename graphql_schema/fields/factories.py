"""Factories of described fields, and of JSON fields with the argument `path`."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from types import GenericAlias
from typing import Annotated, Any, Protocol, TypeVar, cast

import strawberry
from strawberry.scalars import JSON

from graphql_schema.limits.cost_weights import declared
from stores.errors import NotFoundError, ObjectDeletedError, StoreError
from stores.query.index_use import IndexedFields
from stores.row_fields import JsonField, ValueField

_Resolver = TypeVar("_Resolver", bound=Callable[..., Any])
_Found = TypeVar("_Found")
_Stored = TypeVar("_Stored")
_Stored_co = TypeVar("_Stored_co", covariant=True)

ProjectId = Annotated[strawberry.ID, strawberry.argument(description="Id of the project, as entity/project.")]

JsonPath = Annotated[
    str | None,
    strawberry.argument(
        description="Dotted path of the part to return, such as messages.0.content; null if there is no such value. A "
        "number is an index in a list and a key in an object; write a dot inside a key as \\."
    ),
]


def plain_field(description: str, *, size: int | None = None) -> Any:  # noqa: ANN401 -- a dataclass field is whatever its annotation says
    """Plain field; `size` is the usual length of its list, for the cost of queries."""
    return strawberry.field(description=description, metadata=declared(size))


def resolved_field(
    description: str,
    returns: object = None,
    *,
    size: int | str | None = None,
    work: int | None = None,
    indexed: IndexedFields | None = None,
    ids: str | None = None,
    scans: bool = False,
) -> Callable[[_Resolver], _Resolver]:
    """Decorate a method that resolves a field.

    From `size` on, the arguments declare the cost of the field; defaults are in `limits.cost_weights`.

    Args:
        description: text in the SDL.
        returns: GraphQL type if the method returns a row of a store; the method's annotation if None.
        size: usual length of its list, or of the lists one level below; or the name of the argument that states it.
        work: cost of the field in the database.
        indexed: fields that its `query` and `sortBy` may use without a scan.
        ids: name of the argument whose ids bound the size.
        scans: True if the field always scans.
    """
    metadata = declared(size, work, indexed, ids, scans=scans)
    field = strawberry.field(description=description, graphql_type=returns, metadata=metadata)
    return cast("Callable[[_Resolver], _Resolver]", field)


def subscription_field(description: str, of: object) -> Callable[[_Resolver], _Resolver]:
    """Decorate a method that yields rows of a store: a subscription with events of the GraphQL type `of`."""
    kind = GenericAlias(AsyncGenerator, (of, None))
    return cast("Callable[[_Resolver], _Resolver]", strawberry.subscription(description=description, graphql_type=kind))


def computed_field(description: str, of: Callable[[Any], object], returns: object = None) -> Any:  # noqa: ANN401 -- as above
    """Field whose value is `of(source)`, of the GraphQL type `returns`; of the annotated type if that is None."""

    def resolve(parent: strawberry.Parent[Any]) -> Any:  # noqa: ANN401 -- whatever the field's annotation says
        return of(parent)

    resolve.bare = of  # type: ignore[attr-defined] # what compiled rows call
    return strawberry.field(resolver=resolve, description=description, graphql_type=returns)


def optional_input(description: str) -> Any:  # noqa: ANN401 -- a dataclass field is whatever its annotation says
    """Optional field of an input; None if omitted."""
    return strawberry.field(description=description, default=None)


async def found_or_null(search: Awaitable[_Found]) -> _Found | None:
    """Await a lookup; return None if the entity is missing or deleted."""
    try:
        return await search
    except (NotFoundError, ObjectDeletedError):
        return None


class _Input(Protocol[_Stored_co]):
    """An input that has an equivalent in the stores."""

    def to_store(self) -> _Stored_co: ...


def to_store(value: _Input[_Stored] | None) -> _Stored | None:
    """Convert an input to its form in the stores; None if the client omitted it."""
    return None if value is None else value.to_store()


def json_field(source: JsonField | ValueField, description: str) -> Any:  # noqa: ANN401 -- as above
    """JSON field of rows, with the argument `path`."""

    def resolve(parent: strawberry.Parent[Any], path: JsonPath = None) -> JSON | None:
        try:
            text = source.text_at(parent, path)
        except StoreError as error:
            raise error.prefixed("path") from None
        return None if text is None else JSON(text)

    resolve.bare = source.text  # type: ignore[attr-defined] # what compiled rows call where no path is given
    return strawberry.field(resolver=resolve, description=description)
