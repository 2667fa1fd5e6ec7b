"""Relay connections over the pages of the stores."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, cast

import strawberry
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryObjectDefinition, StrawberryType

from graphql_schema.context import Info, Stores
from graphql_schema.fields import ProjectId, plain_field, resolved_field, to_store
from graphql_schema.fields.argument_groups import grouped_arguments, optional
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.limits.cost_weights import COUNT, NESTED_PAGE, PAGE
from graphql_schema.scalars import BigInt
from stores.concurrency.time_slices import BATCH_SIZE, ReleasedItems
from stores.paging import Page, PageRequest, Row
from stores.query.index_use import IndexedFields
from stores.row_fields import drop_parsed

Node = TypeVar("Node")

First = Annotated[
    int | None,
    strawberry.argument(
        description="Number of entries from the start; 100 if omitted, 20 inside another list; 10,000 at most."
    ),
]
After = Annotated[
    str | None, strawberry.argument(description="Cursor after which the page starts, from the same query.")
]
Last = Annotated[int | None, strawberry.argument(description="Number of entries from the end; used with `before`.")]
Before = Annotated[
    str | None, strawberry.argument(description="Cursor before which the page ends, from the same query.")
]
Offset = Annotated[
    int | None,
    strawberry.argument(
        description="Number of entries to skip. A cursor is faster for late pages, and misses no entry."
    ),
]

_PAGING: Final = {"first": First, "after": After, "last": Last, "before": Before, "offset": Offset}
_OF_PROJECT: Final = {"project_id": ProjectId}

FEW_CHARACTERS: Final = 4_096
"""Limit of JSON characters in a page that is serialized without yielding to the event loop."""


@dataclass(eq=False, slots=True)
class Listing:
    """A page and a function that counts all entries; it runs only if totalCount is selected.

    Not frozen: a page of rows creates one of these per row, and a frozen dataclass takes three times as long to create.
    """

    IS_ROW: ClassVar = True

    page: Page
    count: Callable[[], Awaitable[int]]


@strawberry.type(description="Position of a page in its list.")
class PageInfo:
    """Page info of a Relay connection."""

    has_next_page: bool = plain_field("True if there are entries after this page.")
    has_previous_page: bool = plain_field("True if there are entries before this page.")
    start_cursor: str | None = plain_field(
        "Cursor of the first entry of this page, to pass as `before`; null for an empty page."
    )
    end_cursor: str | None = plain_field(
        "Cursor of the last entry of this page, to pass as `after`; null for an empty page."
    )


def _cursor(parent: strawberry.Parent[Any]) -> str:
    page: Page = parent["page"]
    return page.cursor(parent["node"])


@strawberry.type(description="Entry of a list, with its cursor.")
class Edge(Generic[Node]):
    """Edge of a Relay connection; the source is a dict of the node and its page."""

    cursor: str = strawberry.field(resolver=_cursor, description="Cursor of this entry, valid for the same query only.")
    node: Node = plain_field("Entry of the list.")


@strawberry.type(description="Page of a list.")
class Connection(Generic[Node]):
    """A Relay connection; the source is a `Listing`."""

    @resolved_field("Entries of the page, each with its cursor.", returns=list[Edge[Node]])
    def edges(self, parent: strawberry.Parent[Listing]) -> AsyncIterable[Row]:
        """Return each row together with its page, from which the cursor is computed."""
        page = parent.page
        return _in_time_slices([{"page": page, "node": row} for row in page.rows], _drop_parsed_node)

    @resolved_field("Entries of the page without cursors.", returns=list[Node])
    def nodes(self, parent: strawberry.Parent[Listing]) -> AsyncIterable[Row]:
        """Return the rows of the page."""
        return _in_time_slices(parent.page.rows, drop_parsed)

    @resolved_field("Position of the page in the list.")
    def page_info(self, parent: strawberry.Parent[Listing]) -> PageInfo:
        """Return whether there are more entries, and the first and last cursor."""
        page = parent.page
        return PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=page.start_cursor,
            end_cursor=page.end_cursor,
        )

    @resolved_field("Number of entries on all pages; computed only if selected.", work=COUNT)
    async def total_count(self, parent: strawberry.Parent[Listing]) -> BigInt:
        """Count all entries with a query of its own."""
        return BigInt(await parent.count())


def connection_field(
    description: str,
    of: object,
    *,
    work: int | None = None,
    indexed: IndexedFields | None = None,
    ids: str | None = None,
) -> Callable[[Callable[..., Awaitable[Listing | None]]], Any]:
    """Decorate an async method that returns a `Listing`: a field whose type is a connection of nodes `of` a type.

    A method that takes `request` gives the field the five paging arguments, from which the request is built.

    Args:
        description: text in the SDL.
        of: GraphQL type of the nodes.
        work: cost of the field in the database, if it is more than one lookup.
        indexed: fields that `query` and `sort_by` may use without a scan.
        ids: name of the argument whose ids bound the size.
    """
    make = resolved_field(description, cast("Any", Connection)[of], work=work, indexed=indexed, ids=ids)
    paged = grouped_arguments("request", optional(_PAGING), page_request)
    return lambda resolver: make(paged(resolver))


def list_field(
    description: str,
    of: object,
    store: Callable[[Stores], Any],
    *,
    sort: str,
    filter: object = None,  # noqa: A002 -- the argument's name
    query: str | None = None,
    scope: Mapping[str, object] = _OF_PROJECT,
    to_filter: Callable[[Info, Any], object] = lambda _, given: to_store(given),
    indexed: IndexedFields | None = None,
    scans: bool = False,
) -> Any:  # noqa: ANN401 -- a field
    """Field with a page of a store's entities: a connection of nodes `of` a type.

    Its arguments are those in `scope`, `filter`, `query`, `sortBy` and the five paging arguments.

    Args:
        description: text in the SDL.
        of: GraphQL type of the nodes.
        store: picks the store, whose `page` takes the values of `scope`, a page request, the selected fields, a filter,
            the sort keys and, with `query`, a query. Its `count` takes the values of `scope`, a filter and a query.
        sort: description of the argument `sortBy`.
        filter: annotated type of the argument `filter`; None if the list has no filter.
        query: description of the argument `query`; None if the list has no query.
        scope: required arguments that name the list, by name: their annotated types.
        to_filter: converts the argument `filter` to the store's filter.
        indexed: fields that `query` and `sortBy` may use without a scan.
        scans: True if the field always scans.
    """
    narrowing = {
        "filter": filter,
        "query": query and Annotated[QueryInput | None, strawberry.argument(description=query)],
        "sort_by": Annotated[list[SortBy] | None, strawberry.argument(description=sort)],
    }

    async def resolve(info: Info, **arguments: Any) -> Listing:
        entities, key = store(info.context.stores), [arguments[name] for name in scope]
        request, order = page_request(info, arguments), sort_keys(arguments.get("sort_by"))
        which = to_filter(info, arguments.get("filter"))
        where = [to_store(arguments.get("query"))] if query else []
        page = await entities.page(*key, request, selected_node_fields(info), which, order, *where)
        return Listing(page, partial(entities.count, *key, which, *where))

    required = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in scope.items()]
    further = optional({name: kind for name, kind in narrowing.items() if kind} | _PAGING)
    _declare(resolve, [*required, *further])
    return resolved_field(description, cast("Any", Connection)[of], indexed=indexed, scans=scans)(resolve)


def _declare(resolver: Callable[..., Any], arguments: Iterable[Parameter]) -> None:
    """Replace the keyword arguments in a resolver's signature, from which Strawberry reads the field's arguments."""
    own = [each for each in signature(resolver).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    declared = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in arguments]
    resolver.__signature__ = Signature([*own, *declared])  # type: ignore[attr-defined] # of functions in general


def field_of_project(queries: type, name: str, of: object) -> Any:  # noqa: ANN401 -- a field
    """Field of a project with one of its lists of nodes `of` a type: the field `name` of `queries`, of this project."""
    root = cast("Any", queries).__strawberry_definition__.get_field(name)
    list_of = root.base_resolver.wrapped_func
    list_of = partial(list_of, None) if root.base_resolver.self_parameter else list_of

    async def resolve(info: Info, parent: strawberry.Parent[Row], **arguments: Any) -> Listing:
        found: Listing = await list_of(info=info, project_id=parent["id"], **arguments)
        return found

    parameters = signature(list_of).parameters.values()
    _declare(resolve, [each for each in parameters if each.name not in {"info", "project_id"}])
    kind = cast("Any", Connection)[of]
    return strawberry.field(resolver=resolve, description=root.description, graphql_type=kind, metadata=root.metadata)


def _in_time_slices(rows: list[Row], release: Callable[[Row], None]) -> AsyncIterable[Row]:
    """Return rows that are serialized in time slices; a page of few and small rows is returned as a list."""
    few = not rows or (len(rows) <= BATCH_SIZE and sum(map(_json_characters, rows)) <= FEW_CHARACTERS)
    return cast("AsyncIterable[Row]", rows) if few else ReleasedItems(rows, release)


def _json_characters(row: Row) -> int:
    """Count characters of JSON text in a row or an edge's row; a value that is no text fails in its own field."""
    texts = row.get("node", row).get("json")
    return sum([len(text) for text in texts.values() if type(text) is str]) if texts else 0


def _drop_parsed_node(edge: Row) -> None:
    drop_parsed(edge["node"])


def page_request(info: Info, arguments: dict[str, Any]) -> PageRequest:
    """Build the page request from a list's arguments, bounded by the server's limit; of no rows if none are selected.

    Raises:
        BadInputError: if a number is out of range, or forward and backward arguments are mixed.
    """
    size = NESTED_PAGE if _is_in_list(info) else PAGE
    paging = {name: arguments.get(name) for name in _PAGING}
    request = PageRequest.from_arguments(**paging, default_size=size, max_size=info.context.max_page_size)
    return request if _reads_rows(info) else replace(request, size=0)


def _is_in_list(info: Info) -> bool:
    """Return True for a field of a list's item, or of a field below such an item."""
    path = info.path.prev
    while path:
        if isinstance(path.key, int):
            return True
        path = path.prev
    return False


def _reads_rows(info: Info) -> bool:
    return not selected_fields(info).isdisjoint({"nodes", "edges", "page_info"})


def selected_node_fields(info: Info) -> set[str]:
    """Return the fields selected of a connection's nodes, through `nodes` and through `edges`."""
    return selected_fields(info, "nodes", "edges.node")


def frozen_node_fields(info: Info) -> frozenset[str]:
    """Like `selected_node_fields`, hashable for the key of a loader."""
    return frozenset(selected_node_fields(info))


class ConnectionNames(NameConverter):
    """Names connections of `CallSchema` `CallConnection` and their edges `CallEdge`; drops `QueryOutput` likewise."""

    def from_generic(self, generic_type: StrawberryObjectDefinition, types: list[StrawberryType | type]) -> str:
        """Return the name of a generic type for one node type."""
        name = super().from_generic(generic_type, types)
        return name.replace("Schema", "", 1).replace("QueryOutput", "", 1)
