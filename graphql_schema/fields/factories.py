"""Small makers of fields: described ones, and JSON ones that take a path."""

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

ProjectId = Annotated[strawberry.ID, strawberry.argument(description="The project, as entity/project.")]

JsonPath = Annotated[
    str | None,
    strawberry.argument(
        description=r"Only what lies at this dotted path, such as messages.0.content; null where it leads nowhere. "
        r"Digits are a list index or a key, whichever is there; write a dot inside a key as \."
    ),
]


def plain_field(description: str, *, size: int | None = None) -> Any:  # noqa: ANN401 -- a dataclass field is whatever its annotation says
    """A plain field with a description; `size` is how many its list has, for the cost of queries."""
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
    """A field that a method resolves; `returns` is its GraphQL type where the method gives a store's row instead.

    For the cost of queries `size` is how many its list has, or the lists right below it, in numbers or by the argument
    that tells; `work` is what it makes the database do. Both have defaults: see `limits.weights`. `indexed` are the
    fields that its `query` and `sortBy` may name without a scan, `ids` names the argument whose ids bound its size;
    `scans` says that it always needs a scan.
    """
    metadata = declared(size, work, indexed, ids, scans=scans)
    field = strawberry.field(description=description, graphql_type=returns, metadata=metadata)
    return cast("Callable[[_Resolver], _Resolver]", field)


def subscription_field(description: str, of: object) -> Callable[[_Resolver], _Resolver]:
    """A subscription that a method feeds with what the stores give, each of the GraphQL type `of`."""
    kind = GenericAlias(AsyncGenerator, (of, None))
    return cast("Callable[[_Resolver], _Resolver]", strawberry.subscription(description=description, graphql_type=kind))


def computed_field(description: str, of: Callable[[Any], object]) -> Any:  # noqa: ANN401 -- as above
    """A plain field that a function makes of the source."""

    def resolve(parent: strawberry.Parent[Any]) -> Any:  # noqa: ANN401 -- whatever the field's annotation says
        return of(parent)

    resolve.bare = of  # type: ignore[attr-defined] # what compiled rows call
    return strawberry.field(resolver=resolve, description=description)


def optional_input(description: str) -> Any:  # noqa: ANN401 -- a dataclass field is whatever its annotation says
    """A field of an input that may be left out."""
    return strawberry.field(description=description, default=None)


async def found_or_null(search: Awaitable[_Found]) -> _Found | None:
    """The result of a search; None where it fails because an entity is missing or deleted."""
    try:
        return await search
    except (NotFoundError, ObjectDeletedError):
        return None


class _Input(Protocol[_Stored_co]):
    """An input that the stores have their own form of."""

    def to_store(self) -> _Stored_co: ...


def to_store(given: _Input[_Stored] | None) -> _Stored | None:
    """An input as the stores take it; None where it was left out."""
    return None if given is None else given.to_store()


def json_field(source: JsonField | ValueField, description: str) -> Any:  # noqa: ANN401 -- as above
    """A JSON field of rows, with the argument `path`."""

    def resolve(parent: strawberry.Parent[Any], path: JsonPath = None) -> JSON | None:
        try:
            text = source.text_at(parent, path)
        except StoreError as error:
            raise error.prefixed("path") from None
        return None if text is None else JSON(text)

    resolve.bare = source.text  # type: ignore[attr-defined] # what compiled rows call where no path is given
    return strawberry.field(resolver=resolve, description=description)
