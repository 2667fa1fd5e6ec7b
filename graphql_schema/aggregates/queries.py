"""Reading roll-ups of calls."""

from collections.abc import AsyncIterable
from typing import Annotated

import strawberry

from graphql_schema.aggregates.inputs import (
    BucketLength,
    Counting,
    Keys,
    RowLimit,
    RowOrder,
    Timezone,
    grouping,
    usage_of,
)
from graphql_schema.aggregates.types import CallsAggregateRes, UsageTreeNode
from graphql_schema.calls.queries import ExpandColumns, Filter, Where
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, resolved_field, to_store
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import sort_keys
from graphql_schema.limits.cost_weights import SCAN
from stores.aggregates import Aggregate
from stores.calls import Expansion
from stores.concurrency.time_slices import ReleasedItems
from stores.paging import Row
from stores.row_fields import drop_parsed

_USAGES = ("ownUsage", "totalUsage", "ownUsage.models", "totalUsage.models")


@strawberry.type
class AggregateQueries:
    """The fields of Query that roll calls up."""

    @resolved_field(
        "The numbers of calls by group: how many, errors, latency, tokens, cost. What is selected of a row is what is "
        "computed, so there is no list of metrics to ask for; aliases draw several charts in one request.",
        returns=CallsAggregateRes,
        size="limit",
        work=SCAN,
    )
    async def calls_aggregate(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        group_by: Keys = None,
        bucket: BucketLength = None,
        timezone: Timezone = None,
        usage: Counting = None,
        sort_by: RowOrder = None,
        limit: RowLimit = None,
        expand_columns: ExpandColumns = None,
    ) -> Aggregate:
        """The numbers of calls by group."""
        return await info.context.stores.aggregates.calls(
            project_id,
            grouping(group_by, bucket, timezone),
            selected_fields(info, "rows"),
            to_store(filter),
            to_store(query),
            Expansion(expand_columns or ()),
            usage_of(usage),
            sort_keys(sort_by),
            limit,
        )

    @resolved_field(
        "Usage rolled up the calls of a trace, as a list in the order of the tree: each call comes after the one above "
        "it and its elder siblings with all below them. At most 100,000 calls; empty if there are none.",
        returns=list[UsageTreeNode],
        size=1_000,
    )
    async def usage_tree(
        self,
        info: Info,
        project_id: ProjectId,
        trace_id: Annotated[strawberry.ID, strawberry.argument(description="The trace's id.")],
        max_depth: Annotated[
            int | None,
            strawberry.argument(
                description="Leave out calls that are deeper; those shown still count all that is below them."
            ),
        ] = None,
    ) -> AsyncIterable[Row]:
        """Usage by call."""
        wanted = selected_fields(info) | (selected_fields(info, *_USAGES) & {"cost", "unpriced_tokens"})
        return ReleasedItems(
            await info.context.stores.aggregates.usage_tree(project_id, trace_id, wanted, max_depth), drop_parsed
        )
