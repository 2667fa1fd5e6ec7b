"""Queries that aggregate calls."""

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
    """Query fields that aggregate calls."""

    @resolved_field(
        "Aggregates of calls by group: number, errors, latency, tokens and cost. The server computes only the "
        "selected fields. Aliases compute several aggregates in one request.",
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
        """Aggregate the selected numbers by group."""
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
        "Usage of the calls of a trace, rolled up the tree. The list is in depth-first order: a call follows its "
        "parent, its earlier siblings and their descendants. At most 100,000 calls; empty if the trace is missing.",
        returns=list[UsageTreeNode],
        size=1_000,
    )
    async def usage_tree(
        self,
        info: Info,
        project_id: ProjectId,
        trace_id: Annotated[strawberry.ID, strawberry.argument(description="Id of the trace.")],
        max_depth: Annotated[
            int | None,
            strawberry.argument(
                description="Maximum depth of the returned calls; all if omitted. Their totals still include "
                "deeper calls."
            ),
        ] = None,
    ) -> AsyncIterable[Row]:
        """Return the calls of the tree, depth first, with the selected usage."""
        wanted = selected_fields(info) | (selected_fields(info, *_USAGES) & {"cost", "unpriced_tokens"})
        return ReleasedItems(
            await info.context.stores.aggregates.usage_tree(project_id, trace_id, wanted, max_depth), drop_parsed
        )
