"""Edges of the graph, each in a line: from a row to one other by its key, or to pages of others.

All rows of a page ask together, by `info.context.loaders`, so that an edge costs a constant number of commands.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from graphql_schema.context import Info, Stores
from graphql_schema.execution import BATCH_RESOLVER
from graphql_schema.fields import connections, resolved_field
from graphql_schema.fields.argument_groups import grouped_arguments, optional
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.selection import selected_fields
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

Relation = Any
"""What has `pages` and `count` for keys, as `stores.relations.Edge` does; of what keys, each edge knows by itself."""

File = Annotated["FileContentReadRes", strawberry.lazy("graphql_schema.files")]
Run = Annotated["EvaluationRun", strawberry.lazy("graphql_schema.evaluations.runs")]

KeyOf = Callable[[Row], Any]
"""The key of what a row leads to; None where it leads nowhere."""


def key_of(*names: str) -> KeyOf:
    """The key that some fields of a row make together; None where one is missing."""

    def key(row: Row) -> tuple[Any, ...] | None:
        try:
            found = taken(row)
        except KeyError:  # rows leave out what is null
            return None
        return None if None in found else found

    taken: Callable[[Row], tuple[Any, ...]] = itemgetter(*names)
    return key


def to_one(description: str, to: object, find: Callable[[Stores], Find], key: KeyOf) -> Any:  # noqa: ANN401 -- a field
    """A field that leads to one other row of the type `to`, or to null."""

    async def of_all(info: Info, parents: Sequence[Row]) -> list[Row | None]:
        keys = [key(parent) for parent in parents]
        asked = [each for each in keys if each is not None]
        if not asked:
            return [None] * len(keys)
        wanted = frozenset(selected_fields(info))
        found = await info.context.loaders.load_all(find(info.context.stores), asked, wanted)
        return [None if each is None else found[each] for each in keys]

    async def resolve(info: Info, parent: strawberry.Parent[Any]) -> Row | None:
        return (await of_all(info, [parent]))[0]

    setattr(resolve, BATCH_RESOLVER, of_all)
    return resolved_field(description, returns=to)(resolve)


def to_many(
    description: str,
    of: object,
    by_way_of: Callable[[Stores], Relation],
    key: KeyOf,
    narrowed: Mapping[str, object] | None = None,
    given: Callable[..., tuple[Hashable, ...]] = tuple,
    deeper: Callable[[Info], tuple[Hashable, ...]] = lambda _: (),
) -> Any:  # noqa: ANN401 -- a field
    """A field that leads to a page of rows of the type `of`.

    It may be `narrowed` by further arguments, of which is made what the way is `given`. What it needs to know of the
    selection `deeper` than a row's own fields, its pages are given last.
    """

    async def of_all(
        info: Info, parents: Sequence[Row], request: PageRequest, given: tuple[Hashable, ...]
    ) -> list[Listing]:
        way, load_all = by_way_of(info.context.stores), info.context.loaders.load_all
        keys = [key(parent) for parent in parents]
        asked = (connections.frozen_of_nodes(info), request, *given, *deeper(info))
        pages = await load_all(way.pages, keys, *asked)
        count = partial(info.context.loaders.load, way.count)
        return [Listing(pages[each], partial(count, each, *given)) for each in keys]

    async def resolve(
        info: Info, parent: strawberry.Parent[Any], *, given: tuple[Hashable, ...], request: PageRequest
    ) -> Listing:
        return (await of_all(info, [parent], request, given))[0]

    setattr(resolve, BATCH_RESOLVER, of_all)
    make = grouped_arguments("given", optional(narrowed or {}), lambda _, taken: given(**taken))
    return connection_field(description, of=of)(make(resolve))
