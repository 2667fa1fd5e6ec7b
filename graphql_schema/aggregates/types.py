"""GraphQL types of aggregates over calls."""

import strawberry

from graphql_schema.calls.types import TraceStatus
from graphql_schema.fields import plain_field
from graphql_schema.fields.token_counts import with_class_counts
from graphql_schema.scalars import BigInt, DateTime

_UNPRICED = "Number of tokens of models without a price in US dollars, which cost does not include."


@strawberry.type(
    description="Aggregates of one group of calls; only selected fields are computed. Fields that are no key of "
    "the grouping are null."
)
@with_class_counts
class CallsAggregateRow:
    """Aggregates of a group; the source is a row of `stores.aggregates.Aggregate`."""

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


@strawberry.type(description="Aggregates of calls, by group.")
class CallsAggregateRes:
    """Rows in order; the source is `stores.aggregates.Aggregate`."""

    rows: list[CallsAggregateRow] = plain_field("Rows in order, one for each group that has calls.")
    num_groups: int = plain_field("Number of groups, including those beyond limit.")


@strawberry.type(description="Usage of one model.")
@with_class_counts
class ModelUsage:
    """Usage counts of one model."""

    model: str = plain_field("Name of the model.")
    prompt_tokens: BigInt = plain_field("Number of prompt tokens.")
    completion_tokens: BigInt = plain_field("Number of completion tokens.")
    total_tokens: BigInt = plain_field("Number of tokens in total.")
    requests: BigInt = plain_field("Number of requests to the model.")
    cost: float | None = plain_field("Cost in US dollars; null if the model has no price.")
    unpriced_tokens: BigInt = plain_field(_UNPRICED)


@strawberry.type(description="Usage of all models.")
@with_class_counts
class UsageTotals:
    """Usage counts over all models, and by model."""

    prompt_tokens: BigInt = plain_field("Number of prompt tokens.")
    completion_tokens: BigInt = plain_field("Number of completion tokens.")
    total_tokens: BigInt = plain_field("Number of tokens in total.")
    requests: BigInt = plain_field("Number of requests to models.")
    cost: float | None = plain_field("Cost in US dollars; null if no model has a price.")
    unpriced_tokens: BigInt = plain_field(_UNPRICED)
    models: list[ModelUsage] = plain_field("Usage by model, sorted by name.", size=3)


@strawberry.type(description="Call in the tree of its trace, with its own usage and the sum over its subtree.")
class UsageTreeNode:
    """A call in its tree; the source is a row of `AggregatesStore.usage_tree`."""

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
