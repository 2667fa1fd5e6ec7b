"""Queries that read calls."""

from functools import partial
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.inputs import CallsFilter
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, connections, plain_field, resolved_field, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.scalars import BigInt
from stores.calls import CallsStats, Expansion
from stores.calls.fields import INDEXED_CALL_FIELDS
from stores.ids import check_call_id
from stores.paging import PageRequest, Row
from stores.query.explain import Plan

Filter = Annotated[CallsFilter | None, strawberry.argument(description="Filter of the calls; all calls if omitted.")]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(description="Sort order; by start time, the oldest first, if omitted or empty."),
]
Where = Annotated[
    QueryInput | None, strawberry.argument(description="Further condition on fields of the calls; none if omitted.")
]
Limit = Annotated[int | None, strawberry.argument(description="Upper limit of the count; counting stops there.")]
ExpandColumns = Annotated[
    list[str] | None,
    strawberry.argument(
        description="Paths into inputs, output, attributes or summary, such as inputs.model, whose values are refs to "
        "objects. `query` and `sortBy` then read a longer path, such as inputs.model.temperature, from the "
        "object; it is null if there is no such ref. At most 20 paths, none of them through a list."
    ),
]
ReturnExpanded = Annotated[
    bool | None,
    strawberry.argument(
        description="True if the response contains the objects' values in place of the refs, each object with its ref "
        "under _ref. A ref that cannot be resolved in the project stays as it is."
    ),
]
CallId = Annotated[strawberry.ID, strawberry.argument(description="Id of the call.")]


@strawberry.type(description="Number and storage size of calls.")
class CallsQueryStatsRes:
    """Count and size of matching calls; the source is `stores.calls.CallsStats`."""

    count: BigInt = plain_field("Number of matching calls, at most `limit`.")
    total_storage_size_bytes: BigInt | None = plain_field(
        "Sum of totalStorageSizeBytes over the matching root calls, in bytes; computed only if selected."
    )


@strawberry.type(description="Execution plan of a list of calls in MongoDB.")
class ExplainRes:
    """Execution plan; the source is `stores.query.explain.Plan`."""

    sorts_in_memory: bool = plain_field(
        "True if no index provides the order, so that MongoDB sorts all matching documents."
    )
    keys_examined: BigInt = plain_field("Number of index keys that MongoDB examined.")
    documents_examined: BigInt = plain_field("Number of documents that MongoDB examined.")
    returned: BigInt = plain_field("Number of documents returned: page size plus one if there is a next page.")
    milliseconds: BigInt = plain_field("Execution time in MongoDB, in milliseconds.")

    @resolved_field("Names of the indexes that MongoDB uses.")
    def indexes(self, parent: strawberry.Parent[Plan]) -> list[str]:
        """Return the names of the used indexes, sorted."""
        return sorted(parent.indexes)

    @resolved_field("Names of the plan's stages, as MongoDB reports them.")
    def stages(self, parent: strawberry.Parent[Plan]) -> list[str]:
        """Return the names of the plan's stages, sorted."""
        return sorted(parent.stages)

    @resolved_field("Aggregation pipeline that LoomQL sends to MongoDB.")
    def pipeline(self, parent: strawberry.Parent[Plan]) -> JSON:
        """Return the pipeline as JSON text."""
        return JSON(parent.pipeline_text)


@strawberry.type
class CallQueries:
    """Query fields that read calls."""

    @resolved_field("Call with an id; null if it is missing or deleted.", returns=CallSchema | None)
    async def call(self, info: Info, project_id: ProjectId, id: CallId) -> Row | None:  # noqa: A002 -- the API's name
        """Return one call, or None if it is missing or deleted."""
        check_call_id(id, "id")
        return await info.context.stores.calls.one(project_id, id, selected_fields(info))

    @connection_field("Page of the project's calls.", of=CallSchema, indexed=INDEXED_CALL_FIELDS, ids="filter.callIds")
    async def calls(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        sort_by: Sort = None,
        *,
        request: PageRequest,
        expand_columns: ExpandColumns = None,
        return_expanded_column_values: ReturnExpanded = True,
    ) -> Listing:
        """Return a page of matching calls and a function that counts all of them."""
        calls = info.context.stores.calls
        which, where = to_store(filter), to_store(query)
        wanted = connections.selected_node_fields(info)
        expansion = Expansion(expand_columns or (), return_expanded_column_values is not False)
        page = await calls.page(project_id, request, wanted, which, sort_keys(sort_by), where, expansion)
        return Listing(page, partial(calls.count, project_id, which, where, expansion))

    @resolved_field(
        "Current position in the event stream of the project's calls, for `callEvents(after:)`. Read it, list the "
        "calls, then subscribe after it: no event is missed, and changes made meanwhile are sent as events."
    )
    async def call_events_cursor(self, info: Info, project_id: ProjectId) -> str:
        """Return the current cursor of the project's call events."""
        return await info.context.stores.calls.events_cursor(project_id)

    @resolved_field(
        "Number and storage size of matching calls.",
        returns=CallsQueryStatsRes,
        work=COUNT,
        indexed=INDEXED_CALL_FIELDS,
    )
    async def calls_stats(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        limit: Limit = None,
        expand_columns: ExpandColumns = None,
    ) -> CallsStats:
        """Count the matching calls and sum their sizes, as far as selected."""
        which, where = to_store(filter), to_store(query)
        wanted, expansion = selected_fields(info), Expansion(expand_columns or ())
        return await info.context.stores.calls.stats(project_id, wanted, which, limit, where, expansion)

    @resolved_field(
        "Execution plan of the first page of a list of calls, for operators of the server.",
        returns=ExplainRes,
        work=COUNT,
        indexed=INDEXED_CALL_FIELDS,
    )
    async def explain(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        sort_by: Sort = None,
        expand_columns: ExpandColumns = None,
    ) -> Plan:
        """Return MongoDB's execution plan of the first page."""
        which, where = to_store(filter), to_store(query)
        expansion = Expansion(expand_columns or ())
        return await info.context.stores.calls.explain(project_id, which, sort_keys(sort_by), where, expansion)
