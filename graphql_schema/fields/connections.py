"""Lists: Relay connections over the pages of the stores, and relations from a row to other entities."""

from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from inspect import signature
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, Unpack, cast

import strawberry
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import StrawberryObjectDefinition, StrawberryType

from graphql_schema.context import Info, Stores
from graphql_schema.execution import BATCH_RESOLVER
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import (
    FieldDefinition,
    ProjectId,
    argument,
    computed_field,
    declare_arguments,
    description_of,
    docstrings_of_attributes,
    grouped_arguments,
    parameters,
    resolved_field,
    selected_fields,
    to_store,
)
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.limits.cost_weights import COUNT, NESTED_PAGE, PAGE, Cost
from stores.concurrency.time_slices import BATCH_SIZE, ReleasedItems
from stores.errors import BadInputError
from stores.paging import Page, PageRequest, Row, drop_parsed
from stores.query.sort import SortBy as StoreSortBy

Node = TypeVar("Node")


def _lazy(name: str, module: str) -> FieldDefinition:
    """Type of a module that imports this one, directly or not."""
    return cast("Any", Annotated)[name, strawberry.lazy(f"graphql_schema.{module}")]


TableOf = _lazy("Table", "tables")
Call = _lazy("CallSchema", "calls.types")
Version = _lazy("ObjSchema", "objects")
ThreadOf = _lazy("ThreadSchema", "traces")
TraceOf = _lazy("Trace", "traces")
File = _lazy("FileContentReadRes", "files")
Run = _lazy("EvaluationRun", "evaluations")

First = Annotated[
    int | None, argument("Number of entries from the start; 100 if omitted, 20 inside another list; 10,000 at most.")
]
After = Annotated[str | None, argument("Cursor after which the page starts, from the same query.")]
Last = Annotated[int | None, argument("Number of entries from the end; used with `before`.")]
Before = Annotated[str | None, argument("Cursor before which the page ends, from the same query.")]
Offset = Annotated[
    int | None, argument("Number of entries to skip. A cursor is faster for late pages, and misses no entry.")
]

_NODES: Final = "nodes", "edges.node"
"""Paths of a connection's nodes."""

_PAGING: Final = {"first": First, "after": After, "last": Last, "before": Before, "offset": Offset}

FEW_CHARACTERS: Final = 4_096
"""Limit of JSON characters in a page that is serialized without yielding to the event loop."""


@strawberry.enum
class SortDirection(Enum):
    """Direction of a sort; null and missing values are last in both directions."""

    ASC = "asc"
    """Ascending: smallest, earliest or alphabetically first entries first."""
    DESC = "desc"
    """Descending: largest, latest or alphabetically last entries first."""


@strawberry.input
class SortBy:
    """Key of a sort; entries with equal keys are ordered by id, in the direction of the last key."""

    field: str
    """Field name, such as started_at, latency_ms or op_name. A field of the feedback on calls, such as
    feedback.[wandb.reaction.1].created_at, is read from the newest feedback of the type.
    """
    direction: SortDirection
    """Direction of the sort."""


def sort_keys(sort_by: list[SortBy] | None) -> list[StoreSortBy]:
    """Convert to the sort keys of the stores; empty if omitted."""
    return [StoreSortBy(key.field, key.direction is SortDirection.DESC) for key in sort_by or ()]


def batched_resolver(
    of_all: Callable[..., Awaitable[Sequence[object]]], optional: Mapping[str, object] | None = None
) -> Callable[..., Awaitable[object]]:
    """Return the resolver of a field from its batch resolver, whose optional arguments have these annotated types.

    `of_all` takes an info, the source rows, and the arguments by name. Its lookups use `info.context.loaders`, which
    batch those of all rows of a page; so a relation costs a constant number of commands.
    """

    async def resolve(info: Info, parent: strawberry.Parent[Any], **arguments: Any) -> object:
        return (await of_all(info, [parent], **arguments))[0]

    declare_arguments(resolve, "arguments", parameters(optional or {}))
    setattr(resolve, BATCH_RESOLVER, of_all)
    return resolve


@dataclass(eq=False, slots=True)
class Listing:
    """A page and a function that counts all entries, up to its argument `limit`, if totalCount is selected.

    With a `key`, the function takes keys and counts the entries of each: one lookup counts for all listings of a page.

    Not frozen: a page of rows creates one of these per row, and a frozen dataclass takes three times as long to create.
    """

    IS_ROW: ClassVar = True

    page: Page
    count: Callable[..., Awaitable[Any]]
    key: Hashable = None


@strawberry.type
class PageInfo:
    """Position of a page in its list."""

    # The source is a `Page`.

    has_next_page: bool = computed_field(attrgetter("has_next"))
    """True if there are entries after this page."""
    has_previous_page: bool = computed_field(attrgetter("has_previous"))
    """True if there are entries before this page."""
    start_cursor: str | None
    """Cursor of the first entry of this page, to pass as `before`; null for an empty page."""
    end_cursor: str | None
    """Cursor of the last entry of this page, to pass as `after`; null for an empty page."""


@strawberry.type
class Edge(Generic[Node]):
    """Entry of a list, with its cursor."""

    # The source is a dict of the node and its page.

    cursor: str = computed_field(lambda edge: edge["page"].cursor(edge["node"]))
    """Cursor of this entry, valid for the same query only."""
    node: Node
    """Entry of the list."""


_Limit = Annotated[
    int | None,
    argument(
        "Limit of the count, 0 or more; counting stops there, so a result equal to it means at least so many. Exact if "
        "omitted or null."
    ),
]


async def _total_counts(_info: Info, listings: Sequence[Listing], limit: int | None = None) -> list[BigInt]:
    if limit is not None and limit < 0:
        raise BadInputError(f"{limit} is negative; send 0 or more", "limit")
    if limit == 0:
        return [BigInt(0)] * len(listings)
    if listings[0].key is None:
        # A field that sets no key resolves each listing by itself, so there is only one here.
        return [BigInt(await each.count(limit=limit)) for each in listings]
    keys: dict[Callable[..., Awaitable[Any]], list[Hashable]] = {}
    for each in listings:
        keys.setdefault(each.count, []).append(each.key)
    found = {count: await count(of, limit=limit) for count, of in keys.items()}
    return [BigInt(found[each.count][each.key]) for each in listings]


@strawberry.type
class Connection(Generic[Node]):
    """Page of a list."""

    # The source is a `Listing`.

    @resolved_field(returns=list[Edge[Node]])
    def edges(self, parent: strawberry.Parent[Listing]) -> AsyncIterable[Row]:
        """Entries of the page, each with its cursor."""
        page = parent.page
        return _in_time_slices(
            [{"page": page, "node": row} for row in page.rows], lambda edge: drop_parsed(edge["node"])
        )

    @resolved_field(returns=list[Node])
    def nodes(self, parent: strawberry.Parent[Listing]) -> AsyncIterable[Row]:
        """Entries of the page without cursors."""
        return _in_time_slices(parent.page.rows, drop_parsed)

    page_info = computed_field(attrgetter("page"), PageInfo)
    """Position of the page in the list."""

    total_count = resolved_field(returns=BigInt, work=COUNT)(batched_resolver(_total_counts, {"limit": _Limit}))
    """Number of entries on all pages; computed only if selected."""


def _in_time_slices(rows: list[Row], release: Callable[[Row], None]) -> AsyncIterable[Row]:
    """Return rows that are serialized in time slices; a page of few and small rows is returned as a list."""
    few = not rows or (len(rows) <= BATCH_SIZE and sum(map(_json_characters, rows)) <= FEW_CHARACTERS)
    return cast("AsyncIterable[Row]", rows) if few else ReleasedItems(rows, release)


def _json_characters(row: Row) -> int:
    """Count characters of JSON text in a row or an edge's row; a value that is no text fails in its own field."""
    texts = row.get("node", row).get("json")
    return sum([len(text) for text in texts.values() if type(text) is str]) if texts else 0


def page_request(info: Info, arguments: Mapping[str, Any]) -> PageRequest:
    """Build the page request from a list's arguments, bounded by the server's limit; of no rows if none are selected.

    Raises:
        BadInputError: if a number is out of range, or forward and backward arguments are mixed.
    """
    size = NESTED_PAGE if _is_in_list(info) else PAGE
    paging = {name: arguments.get(name) for name in _PAGING}
    request = PageRequest.from_arguments(**paging, default_size=size, max_size=info.context.max_page_size)
    reads_rows = not selected_fields(info).isdisjoint({"nodes", "edges", "page_info"})
    return request if reads_rows else replace(request, size=0)


def _is_in_list(info: Info) -> bool:
    """Return True for a field of a list's item, or of a field below such an item."""
    path = info.path.prev
    while path:
        if isinstance(path.key, int):
            return True
        path = path.prev
    return False


def selected_node_fields(info: Info, *path: str) -> set[str]:
    """Return the fields selected of a connection's nodes or at a path below, through `nodes` and through `edges`."""
    return selected_fields(info, *(".".join((nodes, *path)) for nodes in _NODES))


def connection_of(of: object) -> object:
    """Return the type of a connection of nodes `of` a type."""
    return cast("Any", Connection)[of]


def connection_field(
    *, of: object, **cost: Unpack[Cost]
) -> Callable[[Callable[..., Awaitable[Listing | None]]], FieldDefinition]:
    """Decorate an async method that returns a `Listing`: a field whose type is a connection of nodes `of` a type.

    The method's argument `request` gives the field the five paging arguments, from which the request is built.
    `cost` is declared if it is more than one lookup.
    """
    make = resolved_field(returns=connection_of(of), **cost)
    paged = grouped_arguments("request", parameters(_PAGING), page_request)
    return lambda resolver: make(paged(resolver))


def list_field(
    of: object,
    store: Callable[[Stores], Any],
    *,
    filter: type | None = None,
    has_query: bool = False,
    key: Mapping[str, object] = MappingProxyType({"project_id": ProjectId}),
    to_filter: Callable[[Info, Any], object] = lambda _, given: to_store(given),
    **cost: Unpack[Cost],
) -> FieldDefinition:
    """Field with a page of a store's entities: a connection of nodes `of` a type.

    Its arguments are those of `key`, `filter`, `query`, `sortBy` and the five paging arguments. The docstring below the
    field describes `filter`, `query` and `sort_by`.

    Args:
        of: GraphQL type of the nodes.
        store: picks the store, whose `page` takes the values of `key`, a page request, the selected fields, a filter,
            the sort keys and, with `has_query`, a query. Its `count` takes the values of `key`, a filter and a query.
        filter: input type of the argument `filter`; None if the list has no filter.
        has_query: True if the list has the argument `query`.
        key: annotated types of the required arguments that name the list.
        to_filter: converts the argument `filter` to the store's filter.
        cost: cost of the field, as far as it differs from that of a page.
    """
    kinds = {"filter": filter, "query": QueryInput if has_query else None, "sort_by": list[SortBy]}
    narrowing = {name: kind | None for name, kind in kinds.items() if kind}

    async def resolve(info: Info, **arguments: Any) -> Listing:
        entities, values = store(info.context.stores), [arguments[name] for name in key]
        request, keys = page_request(info, arguments), sort_keys(arguments.get("sort_by"))
        store_filter = to_filter(info, arguments.get("filter"))
        further = [to_store(arguments.get("query"))] if has_query else []
        page = await entities.page(*values, request, selected_node_fields(info), store_filter, keys, *further)
        return Listing(page, partial(entities.count, *values, store_filter, *further))

    declare_arguments(resolve, "arguments", parameters({**narrowing, **_PAGING}, required=key))
    return resolved_field(returns=connection_of(of), **cost)(resolve)


def field_of_project(queries: type, name: str, of: object) -> FieldDefinition:
    """Field of a project with one of its lists of nodes `of` a type: the field `name` of `queries`, of this project."""
    root = cast("Any", queries).__strawberry_definition__.get_field(name)
    list_of = root.base_resolver.wrapped_func
    list_of = partial(list_of, None) if root.base_resolver.self_parameter else list_of

    async def resolve(info: Info, parent: strawberry.Parent[Row], **arguments: Any) -> Listing:
        found: Listing = await list_of(info=info, project_id=parent["id"], **arguments)
        return found

    # The docstring describes the field and its arguments.
    resolve.__doc__ = docstrings_of_attributes(queries).get(name, root.base_resolver.wrapped_func.__doc__)
    own = [each for each in signature(list_of).parameters.values() if each.name not in {"info", "project_id"}]
    declare_arguments(resolve, "arguments", [each.replace(kind=each.KEYWORD_ONLY) for each in own])
    description = description_of(resolve)
    return strawberry.field(
        resolver=resolve, description=description, graphql_type=connection_of(of), metadata=root.metadata
    )


Find = Callable[..., Awaitable[Mapping[Any, Any]]]
"""Lookup of rows by keys, mostly with the selected fields; None for a missing row."""

Relation = Any
"""An object with `pages` and `count` for keys, such as `stores.relations.OneToMany`; the key type varies."""

KeyOf = Callable[[Any], Any]
"""Returns the key of the related row; None if there is none."""


def key_of(*names: str) -> KeyOf:
    """Return a function that reads a key from fields of a row; None if one is missing."""
    read: Callable[[Row], tuple[Any, ...]] = itemgetter(*names)

    def key(row: Row) -> tuple[Any, ...] | None:
        try:
            found = read(row)
        except KeyError:  # rows leave out what is null
            return None
        return None if None in found else found

    return key


def to_one(
    to: object,
    find: Callable[[Stores], Find],
    key: KeyOf,
    select: Callable[[Info], tuple[Hashable, ...]] = lambda info: (frozenset(selected_fields(info)),),
    value: Callable[[Any], object] = lambda found: found,
    **cost: Unpack[Cost],
) -> FieldDefinition:
    """Field with one related value of the type `to`, mostly a row; null if there is none.

    `select` returns the arguments of the lookup besides the keys, by default the selected fields. `value` converts the
    result of the lookup.
    """

    async def of_all(info: Info, parents: Sequence[Row]) -> list[object]:
        keys = [key(parent) for parent in parents]
        present = [each for each in keys if each is not None]
        if not present:
            return [None] * len(keys)
        found = await info.context.loaders.load_all(find(info.context.stores), present, *select(info))
        return [None if each is None else value(found[each]) for each in keys]

    return resolved_field(returns=to, **cost)(batched_resolver(of_all))


def to_many(
    of: object,
    relation_in: Callable[[Stores], Relation],
    key: KeyOf,
    arguments: Mapping[str, object] | None = None,
    to_key: Callable[..., tuple[Hashable, ...]] = tuple,
    select_deeper: Callable[[Info], tuple[Hashable, ...]] = lambda _: (),
    nodes: tuple[str, str] = _NODES,
    **cost: Unpack[Cost],
) -> FieldDefinition:
    """Field with a page of related rows of the type `of`.

    Args:
        of: GraphQL type of the rows.
        relation_in: picks the relation from the stores.
        key: returns the key of the related rows.
        arguments: optional further arguments of the field, by name.
        to_key: converts these arguments to the last arguments of the relation's `pages` and `count`.
        select_deeper: derives further arguments of `pages` from the selection below the rows.
        nodes: paths of the rows whose selected fields `pages` takes.
        cost: cost of the field, as far as it differs from that of a page.
    """
    own = arguments or {}

    async def of_all(info: Info, parents: Sequence[Row], **values: Any) -> list[Listing]:
        relation, loaders = relation_in(info.context.stores), info.context.loaders
        narrowing = to_key(**{name: values[name] for name in own if name in values})
        keys = [key(parent) for parent in parents]
        wanted = frozenset(selected_fields(info, *nodes))
        details = (wanted, page_request(info, values), *narrowing, *select_deeper(info))
        pages = await loaders.load_all(relation.pages, keys, *details)

        async def count(of: Sequence[Hashable], limit: int | None) -> Mapping[Hashable, int]:
            return await loaders.load_all(relation.count, of, limit, *narrowing)

        return [Listing(pages[each], count, each) for each in keys]

    return resolved_field(returns=connection_of(of), **cost)(batched_resolver(of_all, {**own, **_PAGING}))


class ConnectionNames(NameConverter):
    """Names connections of `CallSchema` `CallConnection` and their edges `CallEdge`; drops `QueryOutput` likewise."""

    def from_generic(self, generic_type: StrawberryObjectDefinition, types: list[StrawberryType | type]) -> str:
        """Return the name of a generic type for one node type."""
        name = super().from_generic(generic_type, types)
        return name.replace("Schema", "", 1).replace("QueryOutput", "", 1)
