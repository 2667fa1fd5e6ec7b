"""Fields that read calls and stream their changes, and the filter of calls."""

from collections.abc import AsyncGenerator
from enum import Enum
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, TypeVar, get_type_hints

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import CallSchema, type_of_values
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import (
    ProjectId,
    argument,
    computed_field,
    connections,
    optional_input,
    resolved_field,
    selected_fields,
    subscription_field,
    to_store,
)
from graphql_schema.fields.connections import Listing, SortBy, connection_field, sort_keys
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.limits.cost_weights import COUNT
from stores import calls as store
from stores.calls import CallEvent as StoreCallEvent
from stores.calls import CallsStats, Expansion
from stores.calls.fields import FILTER_FIELDS, INDEXED_CALL_FIELDS, Flag, Texts
from stores.ids import check_call_id
from stores.paging import PageRequest, Row
from stores.query.explain import Plan

_Class = TypeVar("_Class", bound=type)


def _with_filter_fields(cls: _Class) -> _Class:
    """Class decorator, applied below `strawberry.input`: add a field for each field of the store's filter."""
    for name, hint in get_type_hints(store.CallsFilter).items():
        row = FILTER_FIELDS[name]
        kind: Any = bool if hint == Flag else type_of_values(row.column)
        cls.__annotations__[name] = list[kind] | None if hint == Texts else kind | None
        setattr(cls, name, optional_input(row.description))
    return cls


@strawberry.input
@_with_filter_fields
class CallsFilter:
    """Filter of calls.

    A call matches if each non-empty list contains its value and all other conditions hold. An empty or omitted list
    sets no condition. Each list has at most 1,000 entries.
    """

    def to_store(self) -> store.CallsFilter:
        """Convert to the filter of `stores.calls`."""
        values: dict[str, Any] = {name: _stored(value) for name, value in vars(self).items()}
        return store.CallsFilter(**values)


def _stored(value: object) -> object:
    """Replace enum members by their values."""
    return [each.value if isinstance(each, Enum) else each for each in value] if isinstance(value, list) else value


Filter = Annotated[CallsFilter | None, argument("Filter of the calls; all calls if omitted.")]
Sort = Annotated[list[SortBy] | None, argument("Sort order; by start time, the oldest first, if omitted or empty.")]
Condition = Annotated[QueryInput | None, argument("Further condition on fields of the calls; none if omitted.")]

ExpandColumns = Annotated[
    list[str] | None,
    argument(
        "Paths into inputs, output, attributes or summary, such as inputs.model, whose values are refs to "
        "objects. `query` and `sortBy` then read a longer path, such as inputs.model.temperature, from the "
        "object; it is null if there is no such ref. At most 20 paths, none of them through a list."
    ),
]


@strawberry.type
class CallsQueryStatsRes:
    """Number and storage size of calls."""

    # The source is `stores.calls.CallsStats`.

    count: BigInt
    """Number of matching calls, at most `limit`."""
    total_storage_size_bytes: BigInt | None
    """Sum of totalStorageSizeBytes over the matching root calls, in bytes; computed only if selected."""


@strawberry.type
class ExplainRes:
    """Execution plan of a list of calls, traces or threads in MongoDB."""

    # The source is `stores.query.explain.Plan`.

    sorts_in_memory: bool
    """True if no index provides the order, so that MongoDB sorts all matching documents."""
    keys_examined: BigInt
    """Number of index keys that MongoDB examined."""
    documents_examined: BigInt
    """Number of documents that MongoDB examined."""
    returned: BigInt
    """Number of documents returned: page size plus one if there is a next page."""
    milliseconds: BigInt
    """Execution time in MongoDB, in milliseconds."""
    counts_by_rollups: bool
    """True if a count of the list adds up counts per hour and day, and reads only the calls of changed hours."""
    narrows_by_terms: bool
    """True if the list reads only calls that have the values of its query in their JSON, and those of changed hours."""

    reads_totals: bool
    """True if a list of traces or threads reads stored totals, and only the calls of those that changed."""

    indexes = computed_field(lambda plan: sorted(plan.indexes), list[str])
    """Names of the indexes that MongoDB uses."""

    stages = computed_field(lambda plan: sorted(plan.stages), list[str])
    """Names of the plan's stages, as MongoDB reports them."""

    pipeline = computed_field(attrgetter("pipeline_text"), JSON)
    """Aggregation pipeline that LoomQL sends to MongoDB."""


@strawberry.type
class CallQueries:
    """Query fields that read calls."""

    @resolved_field(returns=CallSchema | None)
    async def call(self, info: Info, project_id: ProjectId, id: strawberry.ID) -> Row | None:
        """Call with an id; null if it is missing or deleted.

        Args:
            id: Id of the call.
        """
        check_call_id(id, "id")
        return await info.context.stores.calls.one(project_id, id, selected_fields(info))

    @connection_field(of=CallSchema, indexed=INDEXED_CALL_FIELDS, ids="filter.callIds")
    async def calls(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,
        query: Condition = None,
        sort_by: Sort = None,
        *,
        request: PageRequest,
        expand_columns: ExpandColumns = None,
        return_expanded_column_values: bool | None = True,
    ) -> Listing:
        """Page of the project's calls.

        Args:
            return_expanded_column_values: True if the response contains the objects' values in place of the refs, each
                object with its ref under _ref. A ref that cannot be resolved in the project stays as it is.
        """
        calls = info.context.stores.calls
        store_filter, condition = to_store(filter), to_store(query)
        wanted = connections.selected_node_fields(info)
        expansion = Expansion(expand_columns or (), return_expanded_column_values is not False)
        page = await calls.page(project_id, request, wanted, store_filter, sort_keys(sort_by), condition, expansion)
        return Listing(page, partial(calls.count, project_id, store_filter, condition, expansion))

    @resolved_field()
    async def call_events_cursor(self, info: Info, project_id: ProjectId) -> str:
        """Current position in the event stream of the project's calls, for `callEvents(after:)`.

        Read it, list the calls, then subscribe after it: no event is missed, and changes made meanwhile are sent as
        events.
        """
        return await info.context.stores.calls.events_cursor(project_id)

    @resolved_field(returns=CallsQueryStatsRes, work=COUNT, indexed=INDEXED_CALL_FIELDS)
    async def calls_stats(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,
        query: Condition = None,
        limit: int | None = None,
        expand_columns: ExpandColumns = None,
    ) -> CallsStats:
        """Number and storage size of matching calls.

        Args:
            limit: Upper limit of the count; counting stops there.
        """
        store_filter, condition = to_store(filter), to_store(query)
        wanted, expansion = selected_fields(info), Expansion(expand_columns or ())
        return await info.context.stores.calls.stats(project_id, wanted, store_filter, limit, condition, expansion)

    @resolved_field(returns=ExplainRes, work=COUNT, indexed=INDEXED_CALL_FIELDS)
    async def explain(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,
        query: Condition = None,
        sort_by: Sort = None,
        expand_columns: ExpandColumns = None,
    ) -> Plan:
        """Execution plan of the first page of a list of calls, for operators of the server."""
        store_filter, condition = to_store(filter), to_store(query)
        expansion = Expansion(expand_columns or ())
        return await info.context.stores.calls.explain(
            project_id, store_filter, sort_keys(sort_by), condition, expansion
        )


@strawberry.enum
class CallEventType(Enum):
    """Kind of change of a call."""

    STARTED = "started"
    """Start of the call, which may have ended before the event arrives."""
    ENDED = "ended"
    """End of the call, or storage of a complete call."""
    UPDATED = "updated"
    """Change of the display name, or a replaced start or end."""
    DELETED = "deleted"
    """Deletion of the call. Removal by a purge or by retention sends no event."""


@strawberry.type
class CallEvent:
    """Change of a call."""

    # The source is `stores.calls.CallEvent`.

    type: CallEventType
    """Kind of change."""
    call: CallSchema
    """Call as stored when the event is sent, shortly after the change; for DELETED, its last state."""
    cursor: str
    """Cursor of this event; pass it as `after`, to any server, to continue after it."""


@strawberry.type
class CallSubscriptions:
    """Subscription fields about calls."""

    @subscription_field(of=CallEvent)
    def call_events(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,
        query: Condition = None,
        after: str | None = None,
    ) -> AsyncGenerator[StoreCallEvent, None]:
        """Events of changes of the project's calls: from now on, or after a past cursor without gaps.

        A deleted call is filtered by its last state. Conditions on feedback and costs use their values at the time the
        event is sent; a later change of these sends no event.

        Args:
            after: Cursor after which events are sent: of an event, of `callEventsCursor`, or of an error's
                `extensions.after`. A cursor is valid for any filter and query over the same project.
        """
        wanted, context = selected_fields(info, "call"), info.context
        return context.stores.calls.events(
            project_id, wanted, to_store(filter), to_store(query), after, quota_key=context.payer
        )
