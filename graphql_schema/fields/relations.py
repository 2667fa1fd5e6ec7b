"""Relations between types: fields that lead from a row to one other row by its key, or to a page of rows.

`info.context.loaders` batches the lookups of all rows of a page, so a relation costs a constant number of commands.
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
    from graphql_schema.evaluations import EvaluationRun
    from graphql_schema.files import FileContentReadRes
    from graphql_schema.objects import ObjSchema
    from graphql_schema.tables import Table
    from graphql_schema.threads import ThreadSchema
    from graphql_schema.traces import Trace

TableOf = Annotated["Table", strawberry.lazy("graphql_schema.tables")]
Call = Annotated["CallSchema", strawberry.lazy("graphql_schema.calls.types")]
Version = Annotated["ObjSchema", strawberry.lazy("graphql_schema.objects")]
ThreadOf = Annotated["ThreadSchema", strawberry.lazy("graphql_schema.threads")]
TraceOf = Annotated["Trace", strawberry.lazy("graphql_schema.traces")]

Find = Callable[[Sequence[Any], frozenset[str]], Awaitable[Mapping[Any, Row | None]]]
"""Lookup of rows by key, with the selected fields; None for a missing row."""

Relation = Any
"""An object with `pages` and `count` for keys, such as `stores.relations.OneToMany`; the key type varies."""

File = Annotated["FileContentReadRes", strawberry.lazy("graphql_schema.files")]
Run = Annotated["EvaluationRun", strawberry.lazy("graphql_schema.evaluations")]

KeyOf = Callable[[Any], Any]
"""Returns the key of the related row; None if there is none."""


def key_of(*names: str) -> KeyOf:
    """Return a function that reads a key from fields of a row; None if one is missing."""

    def key(row: Row) -> tuple[Any, ...] | None:
        try:
            found = read(row)
        except KeyError:  # rows leave out what is null
            return None
        return None if None in found else found

    read: Callable[[Row], tuple[Any, ...]] = itemgetter(*names)
    return key


def to_one(description: str, to: object, find: Callable[[Stores], Find], key: KeyOf) -> Any:  # noqa: ANN401 -- a field
    """Field with one related row of the type `to`; null if there is none."""

    async def of_all(info: Info, parents: Sequence[Row]) -> list[Row | None]:
        keys = [key(parent) for parent in parents]
        present = [each for each in keys if each is not None]
        if not present:
            return [None] * len(keys)
        wanted = frozenset(selected_fields(info))
        found = await info.context.loaders.load_all(find(info.context.stores), present, wanted)
        return [None if each is None else found[each] for each in keys]

    async def resolve(info: Info, parent: strawberry.Parent[Any]) -> Row | None:
        return (await of_all(info, [parent]))[0]

    setattr(resolve, BATCH_RESOLVER, of_all)
    return resolved_field(description, returns=to)(resolve)


def to_many(
    description: str,
    of: object,
    relation_in: Callable[[Stores], Relation],
    key: KeyOf,
    arguments: Mapping[str, object] | None = None,
    to_key: Callable[..., tuple[Hashable, ...]] = tuple,
    select_deeper: Callable[[Info], tuple[Hashable, ...]] = lambda _: (),
) -> Any:  # noqa: ANN401 -- a field
    """Field with a page of related rows of the type `of`.

    Args:
        description: text in the SDL.
        of: GraphQL type of the rows.
        relation_in: picks the relation from the stores.
        key: returns the key of the related rows.
        arguments: optional further arguments of the field, by name.
        to_key: converts these arguments to the last arguments of the relation's `pages` and `count`.
        select_deeper: derives further arguments of `pages` from the selection below the rows.
    """

    async def of_all(
        info: Info, parents: Sequence[Row], request: PageRequest, narrowing: tuple[Hashable, ...]
    ) -> list[Listing]:
        relation, load_all = relation_in(info.context.stores), info.context.loaders.load_all
        keys = [key(parent) for parent in parents]
        details = (connections.frozen_node_fields(info), request, *narrowing, *select_deeper(info))
        pages = await load_all(relation.pages, keys, *details)
        count = partial(info.context.loaders.load, relation.count)
        return [Listing(pages[each], partial(count, each, *narrowing)) for each in keys]

    async def resolve(
        info: Info, parent: strawberry.Parent[Any], *, narrowing: tuple[Hashable, ...], request: PageRequest
    ) -> Listing:
        return (await of_all(info, [parent], request, narrowing))[0]

    setattr(resolve, BATCH_RESOLVER, of_all)
    make = grouped_arguments("narrowing", optional(arguments or {}), lambda _, values: to_key(**values))
    return connection_field(description, of=of)(make(resolve))
