"""Edges of the graph, each in a line: from a row to one other by its key, or to pages of others.

All rows of a page ask together, by `info.context.loaders`, so that an edge costs a constant number of commands.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from graphql_schema import connections
from graphql_schema.connections import Listing, listed
from graphql_schema.context import Info, Stores
from graphql_schema.fields import resolved
from graphql_schema.selection import selected_fields
from stores.paging import PageRequest, Row

if TYPE_CHECKING:
    from graphql_schema.calls.types import CallSchema
    from graphql_schema.evaluations.runs import EvaluationRun
    from graphql_schema.files import FileContentReadRes
    from graphql_schema.objects.types import ObjSchema
    from graphql_schema.tables.types import Table, TableRowSchema
    from graphql_schema.threads.types import ThreadSchema
    from graphql_schema.traces.types import Trace

TableOf = Annotated["Table", strawberry.lazy("graphql_schema.tables.types")]
TableRow = Annotated["TableRowSchema", strawberry.lazy("graphql_schema.tables.types")]
Call = Annotated["CallSchema", strawberry.lazy("graphql_schema.calls.types")]
Version = Annotated["ObjSchema", strawberry.lazy("graphql_schema.objects.types")]
ThreadOf = Annotated["ThreadSchema", strawberry.lazy("graphql_schema.threads.types")]
TraceOf = Annotated["Trace", strawberry.lazy("graphql_schema.traces.types")]

Find = Callable[[Sequence[Any], frozenset[str]], Awaitable[Mapping[Any, Row | None]]]
"""For keys and wanted fields the rows that are there."""

Way = Any
"""What has `pages` and `count` for keys, as `stores.edges.Edge` does; of what keys, each edge knows by itself."""

File = Annotated["FileContentReadRes", strawberry.lazy("graphql_schema.files")]
Run = Annotated["EvaluationRun", strawberry.lazy("graphql_schema.evaluations.runs")]

KeyOf = Callable[[Row], Any]
"""The key of what a row leads to; None where it leads nowhere."""


def by(*names: str) -> KeyOf:
    """The key that some fields of a row make together; None where one is missing."""

    def key(row: Row) -> tuple[Any, ...] | None:
        found = tuple(map(row.get, names))
        return None if None in found else found

    return key


def edge(description: str, to: object, find: Callable[[Stores], Find], key: KeyOf) -> Any:  # noqa: ANN401 -- a field
    """A field that leads to one other row of the type `to`, or to null."""

    async def resolve(info: Info, parent: strawberry.Parent[Any]) -> Row | None:
        at = key(parent)
        if at is None:
            return None
        return await info.context.loaders.load(find(info.context.stores), at, frozenset(selected_fields(info)))

    return resolved(description, returns=to)(resolve)


def edges(description: str, of: object, by_way_of: Callable[[Stores], Way], key: KeyOf) -> Any:  # noqa: ANN401 -- a field
    """A field that leads to a page of rows of the type `of`."""

    async def resolve(info: Info, parent: strawberry.Parent[Any], *, request: PageRequest) -> Listing:
        return await page_at(info, by_way_of(info.context.stores), key(parent), request)

    return listed(description, of=of)(resolve)


async def page_at(info: Info, way: Way, key: tuple[Any, ...], request: PageRequest, *given: Hashable) -> Listing:
    """The page that an edge leads to from a key."""
    load = info.context.loaders.load
    page = await load(way.pages, key, connections.frozen_of_nodes(info), request, *given)
    return Listing(page, partial(load, way.count, key, *given))
