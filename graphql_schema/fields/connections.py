"""Lists as Relay connections, over the pages that the stores give."""

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, cast

import strawberry
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryObjectDefinition, StrawberryType

from graphql_schema.context import Info
from graphql_schema.fields import plain_field, resolved_field
from graphql_schema.fields.argument_groups import grouped_arguments, optional
from graphql_schema.fields.selection import selected_fields
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
        description="Number of entries from the front: 100 if left out, 20 inside another list; 10,000 at most."
    ),
]
After = Annotated[str | None, strawberry.argument(description="Continue after this cursor of the same query.")]
Last = Annotated[int | None, strawberry.argument(description="How many to return from the end; with `before`.")]
Before = Annotated[str | None, strawberry.argument(description="Continue backward before this cursor.")]
Offset = Annotated[
    int | None,
    strawberry.argument(description="How many to leave out first. A cursor is faster at depth and misses nothing."),
]

_PAGING: Final = {"first": First, "after": After, "last": Last, "before": Before, "offset": Offset}
_REQUEST: Final = "request"

FEW_CHARACTERS: Final = 4_096
"""Of JSON in the rows of a page that is made at once: parsing much of it would keep all others waiting."""


@dataclass(eq=False, slots=True)
class Listing:
    """A page with what a connection says beside it: how many there are in all, counted when asked.

    It is not frozen: a page of rows has as many of these, and to make one would take three times as long.
    """

    IS_ROW: ClassVar = True

    page: Page
    count: Callable[[], Awaitable[int]]


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's page info."""

    has_next_page: bool = plain_field("Whether there are more after the last of this page.")
    has_previous_page: bool = plain_field("Whether there are more before the first of this page.")
    start_cursor: str | None = plain_field("The cursor of the first of this page; pass it as `before`.")
    end_cursor: str | None = plain_field("The cursor of the last of this page; pass it as `after`.")


def _cursor(parent: strawberry.Parent[Any]) -> str:
    page: Page = parent["page"]
    return page.cursor(parent["node"])


@strawberry.type(description="One entry of a list, with its place in it.")
class Edge(Generic[Node]):
    """Relay's edge; its source is a dict of its node and the page that it is of."""

    cursor: str = strawberry.field(resolver=_cursor, description="Marks this entry's place; good for this query only.")
    node: Node = plain_field("The entry itself.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[Node]):
    """Relay's connection; its source is a `Listing`."""

    @resolved_field("The entries with their cursors.", returns=list[Edge[Node]])
    def edges(self, parent: strawberry.Parent[Listing]) -> AsyncIterable[Row]:
        """Each row with its page."""
        page = parent.page
        return _in_turns([{"page": page, "node": row} for row in page.rows], _forget_node)

    @resolved_field("The entries, for those who need no cursor of each.", returns=list[Node])
    def nodes(self, parent: strawberry.Parent[Listing]) -> AsyncIterable[Row]:
        """The rows."""
        return _in_turns(parent.page.rows, drop_parsed)

    @resolved_field("Where this page stands.")
    def page_info(self, parent: strawberry.Parent[Listing]) -> PageInfo:
        """Where this page stands."""
        page = parent.page
        return PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=page.start_cursor,
            end_cursor=page.end_cursor,
        )

    @resolved_field("How many entries all pages have together; counted only when selected.", work=COUNT)
    async def total_count(self, parent: strawberry.Parent[Listing]) -> BigInt:
        """How many entries match."""
        return BigInt(await parent.count())


def connection_field(
    description: str,
    of: object,
    *,
    work: int | None = None,
    indexed: IndexedFields | None = None,
    ids: str | None = None,
    scans: bool = False,
) -> Callable[[Callable[..., Awaitable[Listing | None]]], Any]:
    """A connection of nodes `of` a type, which an asynchronous method resolves.

    Where the method takes `request`, by its name alone, the field takes the five arguments that ask for a page.
    `work` is what it makes the database do, for the cost of queries, where that is more than one look-up; `indexed` are
    the fields that its `query` and `sort_by` may name without a scan, `ids` names the argument whose ids bound the
    size; `scans` says that it always needs a scan.
    """
    kind = cast("Any", Connection)[of]

    paged = grouped_arguments(_REQUEST, optional(_PAGING), page_request)

    def make(resolver: Callable[..., Awaitable[Listing | None]]) -> Any:  # noqa: ANN401 -- a field, as `resolved` makes it
        return resolved_field(description, returns=kind, work=work, indexed=indexed, ids=ids, scans=scans)(
            paged(resolver)
        )

    return make


def _in_turns(rows: list[Row], release: Callable[[Row], None]) -> AsyncIterable[Row]:
    """Rows to work on in turns with all else; a few small ones are none too many at once."""
    few = not rows or (len(rows) <= BATCH_SIZE and sum(map(_json_characters, rows)) <= FEW_CHARACTERS)
    # Who completes a list takes either.
    return cast("AsyncIterable[Row]", rows) if few else ReleasedItems(rows, release)


def _json_characters(row: Row) -> int:
    """How much JSON text a row holds, or an edge's; what is no text is its field's to complain of."""
    texts = row.get("node", row).get("json")
    return sum([len(text) for text in texts.values() if type(text) is str]) if texts else 0


def _forget_node(edge: Row) -> None:
    drop_parsed(edge["node"])


def page_request(info: Info, given: dict[str, Any]) -> PageRequest:
    """The page that a list's arguments ask for, held to the server's limit; of no rows if none are selected.

    Raises:
        BadInputError: a number is out of its range, or forward and backward arguments are mixed.
    """
    size = NESTED_PAGE if _is_in_list(info) else PAGE
    asked = {name: given.get(name) for name in _PAGING}
    request = PageRequest.from_arguments(**asked, default_size=size, max_size=info.context.max_page_size)
    return request if _reads_rows(info) else replace(request, size=0)


def _is_in_list(info: Info) -> bool:
    """True for a field of a list's item, or of what an item leads to."""
    path = info.path.prev
    while path:
        if isinstance(path.key, int):
            return True
        path = path.prev
    return False


def _reads_rows(info: Info) -> bool:
    return not selected_fields(info).isdisjoint({"nodes", "edges", "page_info"})


def selected_of_nodes(info: Info) -> set[str]:
    """The fields selected of a connection's nodes, by way of `nodes` or of `edges`."""
    return selected_fields(info, "nodes", "edges.node")


def frozen_of_nodes(info: Info) -> frozenset[str]:
    """The same, as one of what rows ask a loader."""
    return frozenset(selected_of_nodes(info))


class ConnectionNames(NameConverter):
    """Names `CallConnection` and `CallEdge` what is a connection of `CallSchema`, and drops other endings as well."""

    def from_generic(self, generic_type: StrawberryObjectDefinition, types: list[StrawberryType | type]) -> str:
        """The name of a generic type for one kind of node."""
        name = super().from_generic(generic_type, types)
        return name.replace("Schema", "", 1).replace("QueryOutput", "", 1)
