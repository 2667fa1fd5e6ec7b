"""Aggregates over calls: types, arguments and fields."""

from collections.abc import AsyncIterable

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.queries import Condition, ExpandColumns, Filter
from graphql_schema.calls.types import CallKind, TraceStatus
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import (
    ProjectId,
    plain_field,
    resolved_field,
    selected_fields,
    to_store,
    with_class_counts,
)
from graphql_schema.fields.connections import SortBy, sort_keys
from graphql_schema.limits.cost_weights import SCAN
from stores.aggregates import Aggregate, Bucket, GroupBy, Grouping, UsageOf
from stores.calls import Expansion
from stores.concurrency.time_slices import ReleasedItems
from stores.paging import Row, drop_parsed

_UNPRICED = "Number of tokens of models without a price in US dollars, which cost does not include."
_USAGES = ("ownUsage", "totalUsage", "ownUsage.models", "totalUsage.models")


@strawberry.type
class CallsNumber:
    """Aggregates of the numbers in one field of a group's calls; only selected fields are computed.

    Values that are no numbers, such as texts and booleans, do not count.
    """

    # The source is a member of `numbers` in a row of `stores.aggregates.Aggregate`.

    field: str
    """Name of the field, as in the argument `numbers`."""
    count: BigInt
    """Number of calls with a number."""
    sum: float | None
    """Sum of the numbers; null if there is none."""
    average: float | None
    """Average of the numbers; null if there is none."""
    minimum: float | None
    """Least number; null if there is none."""
    maximum: float | None
    """Greatest number; null if there is none."""
    p50: float | None
    """Median of the numbers; null if there is none. All percentiles are exact: of n sorted values, the one at position
    q * (n - 1) from 0, interpolated between neighbours.
    """
    p95: float | None
    """95th percentile of the numbers; null if there is none."""
    p99: float | None
    """99th percentile of the numbers; null if there is none."""


@strawberry.type
@with_class_counts
class CallsAggregateRow:
    """Aggregates of one group of calls; only selected fields are computed.

    Keys that are not in the grouping are null.
    """

    # The source is a row of `stores.aggregates.Aggregate`.

    op_name: str | None
    """Name of the op, for all versions; valid in filter.opNames."""
    op_version: str | None
    """Ref of the op's version, or the plain name; valid in filter.opNames."""
    model: str | None
    """Name of the model; null for calls without one."""
    status: TraceStatus | None
    """Status of the calls."""
    thread_id: str | None
    """Id of the thread; null for calls without a thread."""
    wb_user_id: str | None
    """User who wrote the calls."""
    kind: CallKind | None
    """Kind of the calls."""
    provider: str | None
    """Provider of the model."""
    user_id: str | None
    """Id of the end user."""
    tag: str | None
    """One of the calls' tags."""
    environment: str | None
    """Deployment environment."""
    release: str | None
    """Release of the application."""
    error_type: str | None
    """Type of the error."""
    finish_reason: str | None
    """One of the calls' finish reasons."""
    time_to_first_token_ms: float | None
    """Time to the first token in milliseconds."""
    bucket_start: DateTime | None
    """Start of the bucket, inclusive."""
    bucket_end: DateTime | None
    """End of the bucket, exclusive."""
    path_values: list[JSON | None] | None = plain_field(size=1)
    """Values of the calls at `groupPaths`, in this order; null without groupPaths. A value is a string, a number or a
    boolean, or null for calls without a value and those with an object. Times are seconds since 1970. Texts with equal
    first 500 characters are one value, which is cut.
    """
    count: BigInt
    """Number of calls."""
    error_count: BigInt
    """Number of calls that ended with an exception."""
    error_rate: float | None
    """Quotient errorCount / count, from 0 to 1; null if there are no calls."""
    p50_latency_ms: float | None
    """Median latency in milliseconds, of calls that have ended; null if none has. A percentile is, of n sorted values,
    the one at position q * (n - 1) from 0, interpolated between neighbours. If hasExactPercentiles is false, each
    neighbour is within 1 %.
    """
    p95_latency_ms: float | None
    """95th percentile of the latency in milliseconds; null if no call has ended."""
    p99_latency_ms: float | None
    """99th percentile of the latency in milliseconds; null if no call has ended."""
    mean_latency_ms: float | None
    """Mean latency in milliseconds; null if no call has ended."""
    min_latency_ms: BigInt | None
    """Minimum latency in milliseconds; null if no call has ended."""
    max_latency_ms: BigInt | None
    """Maximum latency in milliseconds; null if no call has ended."""
    prompt_tokens: BigInt
    """Number of prompt tokens."""
    completion_tokens: BigInt
    """Number of completion tokens."""
    total_tokens: BigInt
    """Number of tokens in total."""
    requests: BigInt
    """Number of requests to models."""
    cost: float | None
    """Cost in US dollars, by the prices at the start of each call; null if no model has a price."""
    unpriced_tokens: BigInt = plain_field(_UNPRICED)
    numbers: list[CallsNumber] | None = plain_field(size=1)
    """Aggregates of the fields in the argument `numbers`, in this order; null without it."""


@strawberry.type
class CallsAggregateRes:
    """Aggregates of calls, by group."""

    # The source is `stores.aggregates.Aggregate`.

    rows: list[CallsAggregateRow]
    """Rows in order, one for each group that has calls."""
    num_groups: int
    """Number of groups, including those beyond limit."""
    has_exact_percentiles: bool
    """True if the percentiles of the latency are exact, or none is used; false if they are within 1 %."""
    uses_rollups: bool
    """True if the rows add up values per hour and day, and only the calls of changed hours are read."""


@strawberry.type
@with_class_counts
class ModelUsage:
    """Usage of one model."""

    model: str
    """Name of the model."""
    prompt_tokens: BigInt
    """Number of prompt tokens."""
    completion_tokens: BigInt
    """Number of completion tokens."""
    total_tokens: BigInt
    """Number of tokens in total."""
    requests: BigInt
    """Number of requests to the model."""
    cost: float | None
    """Cost in US dollars; null if the model has no price."""
    unpriced_tokens: BigInt = plain_field(_UNPRICED)


@strawberry.type
@with_class_counts
class UsageTotals:
    """Usage of all models."""

    prompt_tokens: BigInt
    """Number of prompt tokens."""
    completion_tokens: BigInt
    """Number of completion tokens."""
    total_tokens: BigInt
    """Number of tokens in total."""
    requests: BigInt
    """Number of requests to models."""
    cost: float | None
    """Cost in US dollars; null if no model has a price."""
    unpriced_tokens: BigInt = plain_field(_UNPRICED)
    models: list[ModelUsage] = plain_field(size=3)
    """Usage by model, sorted by name."""


@strawberry.type
class UsageTreeNode:
    """Call in the tree of its trace, with its own usage and the sum over its subtree."""

    # The source is a row of `AggregatesStore.usage_tree`.

    id: strawberry.ID
    """Id of the call."""
    parent_id: strawberry.ID | None
    """Id of the parent in this tree; null for a root. A call is a root if its parent is missing, or if it is the oldest
    of calls whose parent ids form a cycle.
    """
    depth: int
    """Number of ancestors; 0 for a root."""
    op_name: str
    """Name of the op, or ref of its version."""
    display_name: str | None
    """Display name of the call; null if none was set."""
    trace_name: str
    """Display name of the call, or the op's name if none was set."""
    status: TraceStatus
    """Status of the call."""
    started_at: DateTime
    """Start time of the call."""
    ended_at: DateTime | None
    """End time of the call; null while it runs."""
    latency_ms: BigInt | None
    """Duration of the call in whole milliseconds; null while it runs."""
    num_calls: int
    """Number of calls in the subtree, including this one."""
    num_errors: int
    """Number of calls in the subtree that ended with an exception."""
    own_usage: UsageTotals
    """Usage of the call itself, as defined by UsageCounting.OWN; usage reported by deeper descendants counts as the
    children's.
    """
    total_usage: UsageTotals
    """Usage of the subtree: the sum of ownUsage over its calls."""


strawberry.enum(GroupBy, name="CallsGroupBy")
strawberry.enum(Bucket, name="TimeBucket")
strawberry.enum(UsageOf, name="UsageCounting")


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
        group_by: list[GroupBy] | None = None,
        bucket: Bucket | None = None,
        timezone: str | None = None,
        usage: UsageOf | None = None,
        sort_by: list[SortBy] | None = None,
        limit: int | None = None,
        expand_columns: ExpandColumns = None,
        group_paths: list[str] | None = None,
        numbers: list[str] | None = None,
        *,
        exact_percentiles: bool | None = None,
    ) -> Aggregate:
        """Aggregates of calls by group: number, errors, latency, tokens, cost, and numbers at any path.

        The server computes only the selected fields. Aliases compute several aggregates in one request.

        Args:
            group_by: Keys of the rows; one row of all calls if empty or omitted.
            bucket: Length of the buckets; required with TIME_BUCKET and rejected without it.
            timezone: Time zone of the buckets: an IANA name such as Europe/Berlin, or an offset such as +05:30; UTC if
                omitted.
            usage: Usage to count; OWN if omitted.
            sort_by: Sort order, by keys of the groups and by numbers such as cost or p99_latency_ms. Ties, and all rows
                if omitted, are sorted by time and then by the other keys.
            limit: Maximum number of rows, from 1 to 10,000; with sortBy, the first ones. If omitted, the request fails
                beyond 10,000 rows. It always fails beyond 100,000 groups.
            group_paths: Names of at most 20 fields whose values are further keys, as in `query`: columns, paths into
                the JSON such as inputs.topic, and fields of the newest feedback such as
                feedback.[wandb.reaction.1].payload.emoji. A call with a list is in the row of each distinct member.
                Rows have the values in pathValues, and sortBy accepts the names.
            numbers: Names of at most 20 fields whose numbers are aggregated, as in `query`, such as output.score,
                totalCost, or the newest score in feedback.[wandb.runnable.judge].payload.output.score. sortBy accepts
                them with a metric, as output.score.average.
            exact_percentiles: True if percentiles of the latency must be exact, which reads each call; false if
                omitted. They are then within 1 % if more than 10,000 calls match and roll-ups have the other values.
        """
        return await info.context.stores.aggregates.calls(
            project_id,
            Grouping(group_by or [], bucket, timezone, group_paths or []),
            selected_fields(info, "rows"),
            to_store(filter),
            to_store(query),
            Expansion(expand_columns or ()),
            usage or UsageOf.OWN,
            sort_keys(sort_by),
            limit,
            numbers or [],
            selected_fields(info, "rows.numbers"),
            exact_percentiles=bool(exact_percentiles),
        )

    @resolved_field(returns=list[UsageTreeNode], size=1000)
    async def usage_tree(
        self, info: Info, project_id: ProjectId, trace_id: strawberry.ID, max_depth: int | None = None
    ) -> AsyncIterable[Row]:
        """Usage of the calls of a trace, rolled up the tree.

        The list is in depth-first order: a call follows its parent, its earlier siblings and their descendants. At most
        100,000 calls; empty if the trace is missing.

        Args:
            trace_id: Id of the trace.
            max_depth: Maximum depth of the returned calls; all if omitted. Their totals still include deeper calls.
        """
        wanted = selected_fields(info) | (selected_fields(info, *_USAGES) & {"cost", "unpriced_tokens"})
        return ReleasedItems(
            await info.context.stores.aggregates.usage_tree(project_id, trace_id, wanted, max_depth), drop_parsed
        )
