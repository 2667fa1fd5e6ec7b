"""Reading calls."""

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

Filter = Annotated[CallsFilter | None, strawberry.argument(description="Which calls; all if left out.")]
Sort = Annotated[
    list[SortBy] | None, strawberry.argument(description="In which order; the oldest first if left out or empty.")
]
Where = Annotated[QueryInput | None, strawberry.argument(description="Any condition on their fields, as well.")]
Limit = Annotated[int | None, strawberry.argument(description="Stop counting here.")]
ExpandColumns = Annotated[
    list[str] | None,
    strawberry.argument(
        description="Places in inputs, output, attributes or summary, such as inputs.model, at which there are refs to "
        "objects. A path below one, such as inputs.model.temperature, is asked and sorted by in the object; it is null "
        "where there is no such ref. At most 20, none of them through a list."
    ),
]
ReturnExpanded = Annotated[
    bool | None,
    strawberry.argument(
        description="With true, the objects' values stand in the answer in place of the refs, each object with its ref "
        "under _ref; a ref that leads to nothing in the project stays."
    ),
]
CallId = Annotated[strawberry.ID, strawberry.argument(description="The call's id.")]


@strawberry.type(description="How many calls there are, and what they take.")
class CallsQueryStatsRes:
    """Numbers about calls; the source is `stores.calls.CallsStats`."""

    count: BigInt = plain_field("How many calls match, at most the limit.")
    total_storage_size_bytes: BigInt | None = plain_field(
        "The sum of totalStorageSizeBytes over the roots among them; computed only when selected."
    )


@strawberry.type(description="How a list of calls is found.")
class ExplainRes:
    """The source is `stores.query.explain.Plan`."""

    sorts_in_memory: bool = plain_field("Whether no index gives the order, so that all that matches is sorted.")
    keys_examined: BigInt = plain_field("Keys of indexes looked at.")
    documents_examined: BigInt = plain_field("Documents looked at.")
    returned: BigInt = plain_field("Documents that came of it, one more than a page where there are more.")
    milliseconds: BigInt = plain_field("What it took the database.")

    @resolved_field("The indexes that lead to the calls, by name.")
    def indexes(self, parent: strawberry.Parent[Plan]) -> list[str]:
        """The indexes by name."""
        return sorted(parent.indexes)

    @resolved_field("MongoDB's own names of what it does.")
    def stages(self, parent: strawberry.Parent[Plan]) -> list[str]:
        """The stages by name."""
        return sorted(parent.stages)

    @resolved_field("The pipeline that it is made into, in MongoDB's terms.")
    def pipeline(self, parent: strawberry.Parent[Plan]) -> JSON:
        """The pipeline as JSON."""
        return JSON(parent.pipeline_text)


@strawberry.type
class CallQueries:
    """The fields of Query that read calls."""

    @resolved_field("One call; null if there is none, or it is deleted.", returns=CallSchema | None)
    async def call(self, info: Info, project_id: ProjectId, id: CallId) -> Row | None:  # noqa: A002 -- the API's name
        """One call."""
        check_call_id(id, "id")
        return await info.context.stores.calls.one(project_id, id, selected_fields(info))

    @connection_field(
        "A page of the project's calls.", of=CallSchema, indexed=INDEXED_CALL_FIELDS, ids="filter.callIds"
    )
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
        """A page of calls."""
        calls = info.context.stores.calls
        which, where = to_store(filter), to_store(query)
        wanted = connections.selected_of_nodes(info)
        expansion = Expansion(expand_columns or (), return_expanded_column_values is not False)
        page = await calls.page(project_id, request, wanted, which, sort_keys(sort_by), where, expansion)
        return Listing(page, partial(calls.count, project_id, which, where, expansion))

    @resolved_field(
        "The present place in what happens to the project's calls, for `callEvents(after:)`: take it, list what there "
        "is, and go on from it; so nothing is missed, and what changed meanwhile comes again as an event."
    )
    async def call_events_cursor(self, info: Info, project_id: ProjectId) -> str:
        """The present place among the events."""
        return await info.context.stores.calls.events_cursor(project_id)

    @resolved_field("How many calls there are.", returns=CallsQueryStatsRes, work=COUNT, indexed=INDEXED_CALL_FIELDS)
    async def calls_stats(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        limit: Limit = None,
        expand_columns: ExpandColumns = None,
    ) -> CallsStats:
        """How many calls there are."""
        which, where = to_store(filter), to_store(query)
        wanted, expansion = selected_fields(info), Expansion(expand_columns or ())
        return await info.context.stores.calls.stats(project_id, wanted, which, limit, where, expansion)

    @resolved_field(
        "How the first page of such a list is found: for those who run the server.",
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
        """How a list is found."""
        which, where = to_store(filter), to_store(query)
        expansion = Expansion(expand_columns or ())
        return await info.context.stores.calls.explain(project_id, which, sort_keys(sort_by), where, expansion)
