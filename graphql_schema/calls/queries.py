"""Reading calls."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema import connections
from graphql_schema.calls.inputs import CallsFilter
from graphql_schema.calls.types import CallSchema
from graphql_schema.connections import After, Before, Connection, First, Last, Listing, Offset
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, described, resolved
from graphql_schema.scalars import BigInt
from graphql_schema.selection import selected_fields
from graphql_schema.sorting import SortBy, sort_keys
from stores.calls import CallsStats
from stores.paging import Row

Filter = Annotated[CallsFilter | None, strawberry.argument(description="Which calls; all if left out.")]
Sort = Annotated[
    list[SortBy] | None, strawberry.argument(description="In which order; the oldest first if left out or empty.")
]
Limit = Annotated[int | None, strawberry.argument(description="Stop counting here.")]
CallId = Annotated[strawberry.ID, strawberry.argument(description="The call's id.")]


@strawberry.type(description="How many calls there are, and what they take.")
class CallsQueryStatsRes:
    """Numbers about calls; the source is `stores.calls.CallsStats`."""

    count: BigInt = described("How many calls match, at most the limit.")
    total_storage_size_bytes: BigInt | None = described(
        "The sum of totalStorageSizeBytes over the roots among them; computed only when selected."
    )


@strawberry.type
class CallQueries:
    """The fields of Query that read calls."""

    @resolved("One call; null if there is none, or it is deleted.", returns=CallSchema | None)
    async def call(self, info: Info, project_id: ProjectId, id: CallId) -> Row | None:  # noqa: A002 -- the API's name
        """One call."""
        return await info.context.stores.calls.one(project_id, id, selected_fields(info))

    @resolved("A page of the project's calls.", returns=Connection[CallSchema])
    async def calls(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        sort_by: Sort = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        offset: Offset = None,
    ) -> Listing:
        """A page of calls."""
        store, where = info.context.stores.calls, filter.to_store() if filter else None
        request = connections.page_request(info, first, after, last, before, offset)
        wanted = connections.selected_of_nodes(info)
        page = await store.page(project_id, request, wanted, where, sort_keys(sort_by))
        return Listing(page, partial(store.count, project_id, where))

    @resolved("How many calls there are.", returns=CallsQueryStatsRes)
    async def calls_stats(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        limit: Limit = None,
    ) -> CallsStats:
        """How many calls there are."""
        where = filter.to_store() if filter else None
        sized = "total_storage_size_bytes" in selected_fields(info)
        return await info.context.stores.calls.stats(project_id, where, limit, size=sized)
