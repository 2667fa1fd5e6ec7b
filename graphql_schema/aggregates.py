"""Aggregates over calls: types, arguments and fields."""

from collections.abc import AsyncIterable, Sequence
from enum import Enum
from typing import Annotated

import strawberry

from graphql_schema.calls.queries import Condition, ExpandColumns, Filter
from graphql_schema.calls.types import TraceStatus
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import (
    ProjectId,
    argument,
    enum_value,
    plain_field,
    resolved_field,
    to_store,
    with_class_counts,
)
from graphql_schema.fields.connections import SortBy, sort_keys
from graphql_schema.fields.selection import selected_fields
from graphql_schema.limits.cost_weights import SCAN
from stores.aggregates import Aggregate, Bucket, GroupBy, Grouping, UsageOf
from stores.calls import Expansion
from stores.concurrency.time_slices import ReleasedItems
from stores.paging import Row, drop_parsed

_UNPRICED = "Number of tokens of models without a price in US dollars, which cost does not include."


@strawberry.type
@with_class_counts
class CallsAggregateRow:
    """Aggregates of one group of calls; only selected fields are computed.

    Fields that are no key of the grouping are null.
    """

    # The source is a row of `stores.aggregates.Aggregate`.

    op_name: str | None = plain_field("Name of the op, for all versions; valid in filter.opNames.")
    op_version: str | None = plain_field("Ref of the op's version, or the plain name; valid in filter.opNames.")
    model: str | None = plain_field("Name of the model; null for calls without usage.")
    status: TraceStatus | None = plain_field("Status of the calls.")
    thread_id: str | None = plain_field("Id of the thread; null for calls without a thread.")
    wb_user_id: str | None = plain_field("User who wrote the calls.")
    bucket_start: DateTime | None = plain_field("Start of the bucket, inclusive.")
    bucket_end: DateTime | None = plain_field("End of the bucket, exclusive.")
    count: BigInt = plain_field("Number of calls.")
    error_count: BigInt = plain_field("Number of calls that ended with an exception.")
    error_rate: float | None = plain_field("Quotient errorCount / count, from 0 to 1; null if there are no calls.")
    p50_latency_ms: float | None = plain_field(
        "Median latency in milliseconds, of calls that have ended; null if none has. All percentiles are exact: of n "
        "sorted values, the one at position q * (n - 1) from 0, interpolated between neighbours."
    )
    p95_latency_ms: float | None = plain_field(
        "95th percentile of the latency in milliseconds; null if no call has ended."
    )
    p99_latency_ms: float | None = plain_field(
        "99th percentile of the latency in milliseconds; null if no call has ended."
    )
    mean_latency_ms: float | None = plain_field("Mean latency in milliseconds; null if no call has ended.")
    min_latency_ms: BigInt | None = plain_field("Minimum latency in milliseconds; null if no call has ended.")
    max_latency_ms: BigInt | None = plain_field("Maximum latency in milliseconds; null if no call has ended.")
    prompt_tokens: BigInt = plain_field("Number of prompt tokens.")
    completion_tokens: BigInt = plain_field("Number of completion tokens.")
    total_tokens: BigInt = plain_field("Number of tokens in total.")
    requests: BigInt = plain_field("Number of requests to models.")
    cost: float | None = plain_field(
        "Cost in US dollars, by the prices at the start of each call; null if no model has a price."
    )
    unpriced_tokens: BigInt = plain_field(_UNPRICED)


@strawberry.type
class CallsAggregateRes:
    """Aggregates of calls, by group."""

    # The source is `stores.aggregates.Aggregate`.

    rows: list[CallsAggregateRow] = plain_field("Rows in order, one for each group that has calls.")
    num_groups: int = plain_field("Number of groups, including those beyond limit.")


@strawberry.type
@with_class_counts
class ModelUsage:
    """Usage of one model."""

    model: str = plain_field("Name of the model.")
    prompt_tokens: BigInt = plain_field("Number of prompt tokens.")
    completion_tokens: BigInt = plain_field("Number of completion tokens.")
    total_tokens: BigInt = plain_field("Number of tokens in total.")
    requests: BigInt = plain_field("Number of requests to the model.")
    cost: float | None = plain_field("Cost in US dollars; null if the model has no price.")
    unpriced_tokens: BigInt = plain_field(_UNPRICED)


@strawberry.type
@with_class_counts
class UsageTotals:
    """Usage of all models."""

    prompt_tokens: BigInt = plain_field("Number of prompt tokens.")
    completion_tokens: BigInt = plain_field("Number of completion tokens.")
    total_tokens: BigInt = plain_field("Number of tokens in total.")
    requests: BigInt = plain_field("Number of requests to models.")
    cost: float | None = plain_field("Cost in US dollars; null if no model has a price.")
    unpriced_tokens: BigInt = plain_field(_UNPRICED)
    models: list[ModelUsage] = plain_field("Usage by model, sorted by name.", size=3)


@strawberry.type
class UsageTreeNode:
    """Call in the tree of its trace, with its own usage and the sum over its subtree."""

    # The source is a row of `AggregatesStore.usage_tree`.

    id: strawberry.ID = plain_field("Id of the call.")
    parent_id: strawberry.ID | None = plain_field(
        "Id of the parent in this tree; null for a root. A call is a root if its parent is missing, or if it is the "
        "oldest of calls whose parent ids form a cycle."
    )
    depth: int = plain_field("Number of ancestors; 0 for a root.")
    op_name: str = plain_field("Name of the op, or ref of its version.")
    display_name: str | None = plain_field("Display name of the call; null if none was set.")
    trace_name: str = plain_field("Display name of the call, or the op's name if none was set.")
    status: TraceStatus = plain_field("Status of the call.")
    started_at: DateTime = plain_field("Start time of the call.")
    ended_at: DateTime | None = plain_field("End time of the call; null while it runs.")
    latency_ms: BigInt | None = plain_field("Duration of the call in whole milliseconds; null while it runs.")
    num_calls: int = plain_field("Number of calls in the subtree, including this one.")
    num_errors: int = plain_field("Number of calls in the subtree that ended with an exception.")
    own_usage: UsageTotals = plain_field(
        "Usage of the call itself, as defined by UsageCounting.OWN; usage reported by deeper descendants counts as "
        "the children's."
    )
    total_usage: UsageTotals = plain_field("Usage of the subtree: the sum of ownUsage over its calls.")


@strawberry.enum
class CallsGroupBy(Enum):
    """Key to group calls by; it is a field of the rows."""

    OP_NAME = enum_value("op_name", "Op name, with all versions of the op in one group; opName of the rows.")
    OP_VERSION = enum_value(
        "op_version", "Ref of the op's version, or the plain name, as in opName of a call; opVersion of the rows."
    )
    MODEL = enum_value(
        "model",
        "Model name. A call is in the row of each model that it used, with its usage of that model. The "
        "row of null has the calls without a model.",
    )
    STATUS = enum_value("status", "Status of the calls.")
    THREAD = enum_value("thread_id", "Id of the thread; null for calls without a thread.")
    USER = enum_value("wb_user_id", "User who wrote the calls.")
    TIME_BUCKET = enum_value("bucket_start", "Time bucket of the start; bucketStart and bucketEnd of the rows.")


@strawberry.enum
class TimeBucket(Enum):
    """Length of a time bucket."""

    MINUTE = enum_value("minute", "One minute.")
    HOUR = enum_value("hour", "One hour.")
    DAY = enum_value("day", "One calendar day of the time zone, 23 to 25 hours long.")
    WEEK = enum_value("week", "One calendar week of the time zone, from Monday.")
    MONTH = enum_value("month", "One calendar month of the time zone.")


@strawberry.enum
class UsageCounting(Enum):
    """Usage that an aggregate counts for each call."""

    OWN = enum_value(
        "own",
        "Own usage of each call, so that usage summed up by parents counts once. If "
        "summary.status_counts counts one call, all reported usage is the call's own. If it counts "
        "more, none is: the call reports a sum, as parents written by Weave's client do. Without "
        "status_counts, the own usage of a model is the reported usage minus that of the children, or "
        "all of it if the children report more. usageTree also looks below children that report "
        "nothing.",
    )
    REPORTED = enum_value(
        "reported",
        "Usage as each call reports it. Use it if no call is below another, such as with "
        "traceRootsOnly, and the client that wrote the calls reports sums.",
    )


Keys = Annotated[list[CallsGroupBy] | None, argument("Keys of the rows; one row of all calls if empty or omitted.")]
BucketLength = Annotated[
    TimeBucket | None, argument("Length of the buckets; required with TIME_BUCKET and rejected without it.")
]
Timezone = Annotated[
    str | None,
    argument(
        "Time zone of the buckets: an IANA name such as Europe/Berlin, or an offset such as +05:30; UTC if omitted."
    ),
]
Counting = Annotated[UsageCounting | None, argument("Usage to count; OWN if omitted.")]
RowOrder = Annotated[
    list[SortBy] | None,
    argument(
        "Sort order, by keys of the groups and by numbers such as cost or p99_latency_ms. Ties, and "
        "all rows if omitted, are sorted by time and then by the other keys."
    ),
]
RowLimit = Annotated[
    int | None,
    argument(
        "Maximum number of rows, from 1 to 10,000; with sortBy, the first ones. If omitted, the "
        "request fails beyond 10,000 rows. It always fails beyond 100,000 groups."
    ),
]


def grouping(keys: Sequence[CallsGroupBy] | None, bucket: TimeBucket | None, timezone: str | None) -> Grouping:
    """Convert to the grouping of `stores.aggregates`."""
    return Grouping([GroupBy[key.name] for key in keys or ()], Bucket[bucket.name] if bucket else None, timezone)


def usage_of(counting: UsageCounting | None) -> UsageOf:
    """Convert to the choice of `stores.aggregates`; OWN if omitted."""
    return UsageOf[counting.name] if counting else UsageOf.OWN


_USAGES = ("ownUsage", "totalUsage", "ownUsage.models", "totalUsage.models")


@strawberry.type
class AggregateQueries:
    """Query fields that aggregate calls."""

    @resolved_field(returns=CallsAggregateRes, size="limit", work=SCAN)
    async def calls_aggregate(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,
        query: Condition = None,
        group_by: Keys = None,
        bucket: BucketLength = None,
        timezone: Timezone = None,
        usage: Counting = None,
        sort_by: RowOrder = None,
        limit: RowLimit = None,
        expand_columns: ExpandColumns = None,
    ) -> Aggregate:
        """Aggregates of calls by group: number, errors, latency, tokens and cost.

        The server computes only the selected fields. Aliases compute several aggregates in one request.
        """
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

    @resolved_field(returns=list[UsageTreeNode], size=1000)
    async def usage_tree(
        self,
        info: Info,
        project_id: ProjectId,
        trace_id: Annotated[strawberry.ID, argument("Id of the trace.")],
        max_depth: Annotated[
            int | None,
            argument("Maximum depth of the returned calls; all if omitted. Their totals still include deeper calls."),
        ] = None,
    ) -> AsyncIterable[Row]:
        """Usage of the calls of a trace, rolled up the tree.

        The list is in depth-first order: a call follows its parent, its earlier siblings and their descendants. At most
        100,000 calls; empty if the trace is missing.
        """
        wanted = selected_fields(info) | (selected_fields(info, *_USAGES) & {"cost", "unpriced_tokens"})
        return ReleasedItems(
            await info.context.stores.aggregates.usage_tree(project_id, trace_id, wanted, max_depth), drop_parsed
        )
