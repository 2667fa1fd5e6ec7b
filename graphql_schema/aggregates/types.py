"""What roll-ups look like."""

import strawberry

from graphql_schema.calls.types import TraceStatus
from graphql_schema.fields import plain_field
from graphql_schema.fields.token_counts import with_class_counts
from graphql_schema.scalars import BigInt, DateTime

_UNPRICED = "Tokens of models without a price in US dollars, which cost leaves out."


@strawberry.type(
    description="The numbers of a group of calls; only those that are selected are computed. Keys that the calls are "
    "not grouped by are null."
)
@with_class_counts
class CallsAggregateRow:
    """A row; its source is one of `stores.aggregates.Aggregate`."""

    op_name: str | None = plain_field("Name of the op, whichever version, as filter.opNames takes it.")
    op_version: str | None = plain_field("The ref of the op's version, or the plain name, as filter.opNames takes it.")
    model: str | None = plain_field("The model; null for calls that used none.")
    status: TraceStatus | None = plain_field("How the calls went.")
    thread_id: str | None = plain_field("The thread; null for calls in none.")
    wb_user_id: str | None = plain_field("Who wrote them.")
    bucket_start: DateTime | None = plain_field("The bucket's first moment.")
    bucket_end: DateTime | None = plain_field("The first moment after the bucket.")
    count: BigInt = plain_field("How many calls there are.")
    error_count: BigInt = plain_field("How many of them ended with an exception.")
    error_rate: float | None = plain_field("errorCount by count, from 0 to 1; null if there are no calls.")
    p50_latency_ms: float | None = plain_field(
        "The median of their latencies in milliseconds, of calls that have ended; null if none has. As all percentiles "
        "it is exact: of n values in order the one at q * (n - 1) from 0, or between its two neighbours."
    )
    p95_latency_ms: float | None = plain_field("The 95th percentile of their latencies.")
    p99_latency_ms: float | None = plain_field("The 99th percentile of their latencies.")
    mean_latency_ms: float | None = plain_field("The mean of their latencies.")
    min_latency_ms: BigInt | None = plain_field("The least of their latencies.")
    max_latency_ms: BigInt | None = plain_field("The greatest of their latencies.")
    prompt_tokens: BigInt = plain_field("Tokens of prompts.")
    completion_tokens: BigInt = plain_field("Tokens of completions.")
    total_tokens: BigInt = plain_field("All tokens.")
    requests: BigInt = plain_field("Requests to models.")
    cost: float | None = plain_field(
        "What that cost in US dollars, each call by the price at its start; null if nothing has a price."
    )
    unpriced_tokens: BigInt = plain_field(_UNPRICED)


@strawberry.type(description="The numbers of calls, by group.")
class CallsAggregateRes:
    """Rows in order; the source is `stores.aggregates.Aggregate`."""

    rows: list[CallsAggregateRow] = plain_field("A row for each group that has calls, in order.")
    num_groups: int = plain_field("How many groups there are, also where limit leaves some out.")


@strawberry.type(description="What was used of one model.")
@with_class_counts
class ModelUsage:
    """Counts of a model."""

    model: str = plain_field("The model's name.")
    prompt_tokens: BigInt = plain_field("Tokens of prompts.")
    completion_tokens: BigInt = plain_field("Tokens of completions.")
    total_tokens: BigInt = plain_field("All tokens.")
    requests: BigInt = plain_field("Requests to the model.")
    cost: float | None = plain_field("What that cost in US dollars; null if the model has no price.")
    unpriced_tokens: BigInt = plain_field(_UNPRICED)


@strawberry.type(description="What was used of models.")
@with_class_counts
class UsageTotals:
    """Counts over all models, and of each."""

    prompt_tokens: BigInt = plain_field("Tokens of prompts.")
    completion_tokens: BigInt = plain_field("Tokens of completions.")
    total_tokens: BigInt = plain_field("All tokens.")
    requests: BigInt = plain_field("Requests to models.")
    cost: float | None = plain_field("What that cost in US dollars; null if nothing has a price.")
    unpriced_tokens: BigInt = plain_field(_UNPRICED)
    models: list[ModelUsage] = plain_field("The same for each model, by name.", size=3)


@strawberry.type(description="A call in the tree of its trace, with what it and all below it used.")
class UsageTreeNode:
    """A call in its tree; its source is a row of `AggregatesStore.usage_tree`."""

    id: strawberry.ID = plain_field("The call's id.")
    parent_id: strawberry.ID | None = plain_field(
        "The call above it in this tree; null for a root: a call whose parent is not there is one, and so is the "
        "oldest of calls that are each other's parents in a circle."
    )
    depth: int = plain_field("How many calls are above it; 0 for a root.")
    op_name: str = plain_field("What was called: a plain name, or the ref of an op's version.")
    display_name: str | None = plain_field("A name given to this call; null if none was.")
    trace_name: str = plain_field("Its display name; without one the op's name.")
    status: TraceStatus = plain_field("How it went.")
    started_at: DateTime = plain_field("When it started.")
    ended_at: DateTime | None = plain_field("When it ended; null while it runs.")
    latency_ms: BigInt | None = plain_field("From start to end in whole milliseconds; null while it runs.")
    num_calls: int = plain_field("How many calls it and all below it are.")
    num_errors: int = plain_field("How many of these ended with an exception.")
    own_usage: UsageTotals = plain_field(
        "What it used itself, as UsageCounting.OWN says; here what is reported further below counts as the children's."
    )
    total_usage: UsageTotals = plain_field("What it and all below it used: the sum of their ownUsage.")
