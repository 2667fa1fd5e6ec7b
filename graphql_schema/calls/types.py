"""What a call looks like."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Annotated, Any, Final

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.costs.types import LLMCostSchema
from graphql_schema.execution import BATCH_RESOLVER
from graphql_schema.feedback.types import Feedback
from graphql_schema.fields import json_field, plain_field, resolved_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import Call, Run, ThreadOf, TraceOf, key_of, to_many, to_one
from graphql_schema.fields.token_counts import with_class_counts
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.objects.types import ObjSchema
from graphql_schema.refs import ResolvedRef, refs_of
from graphql_schema.scalars import BigInt, DateTime
from stores.calls.computed_fields import PRICES
from stores.calls.summaries import SUMMARY, usage
from stores.costs import bill
from stores.paging import Row
from stores.refs import call_ref
from stores.row_fields import JsonField
from stores.threads import Period
from stores.traces.totals import CALLS_AND_ERRORS, TOKENS_AND_COST

Types = Annotated[
    list[str] | None,
    strawberry.argument(description="Of which types, at most 1,000; of all if left out or empty."),
]


_ALL_TIMES: Final = Period()


def _thread_key(row: Row) -> tuple[str, Period, str] | None:
    return (row["project_id"], _ALL_TIMES, row["thread_id"]) if row.get("thread_id") else None


def _of_trace(description: str, kind: object, wanted: frozenset[str], value: Callable[[Row], object]) -> Any:  # noqa: ANN401 -- a field
    """A field of roots with a number of their traces' totals, of which `wanted` are read together; null for others."""

    async def of_all(info: Info, parents: Sequence[Row]) -> list[object]:
        keys = [None if parent.get("parent_id") else (parent["project_id"], parent["trace_id"]) for parent in parents]
        roots = [key for key in keys if key]
        found = await info.context.loaders.load_all(info.context.stores.traces.totals, roots, wanted) if roots else {}
        return [value(found[key]) if key else None for key in keys]

    async def resolve(info: Info, parent: strawberry.Parent[Any]) -> Any:  # noqa: ANN401 -- what `kind` says
        return (await of_all(info, [parent]))[0]

    setattr(resolve, BATCH_RESOLVER, of_all)
    return resolved_field(description, returns=kind, work=COUNT)(resolve)


@strawberry.enum(description="How a call went.")
class TraceStatus(Enum):
    """The four states of a call; the values are those of the stores."""

    SUCCESS = strawberry.enum_value("success", description="It ended without an exception.")
    ERROR = strawberry.enum_value("error", description="It ended with an exception.")
    RUNNING = strawberry.enum_value("running", description="It has started and not ended.")
    DESCENDANT_ERROR = strawberry.enum_value(
        "descendant_error", description="It ended well itself, but calls below it failed."
    )


@strawberry.type(
    description="What a call used of one model, as its writer counted. A count that was not sent is null, "
    "and so is one that is no whole number of 64 bits (5.0 is whole, 1.7 is not). Counts of classes, such as "
    "cacheReadTokens, do not overlap, whatever the writer's input includes."
)
@with_class_counts
class LLMUsageSchema:
    """Counts as the writer sent them."""

    model: str = plain_field("The model's name.")
    prompt_tokens: BigInt | None = plain_field("Tokens of the prompt.")
    input_tokens: BigInt | None = plain_field("Tokens of the input, as some providers call the prompt.")
    completion_tokens: BigInt | None = plain_field("Tokens of the completion.")
    output_tokens: BigInt | None = plain_field("Tokens of the output, as some providers call the completion.")
    requests: BigInt | None = plain_field("Requests made.")
    total_tokens: BigInt | None = plain_field("All tokens, as the provider counts them.")


@strawberry.type(description="A call: one step of a trace, from its start to its end.")
class CallSchema(Node):
    """A call; its source is a row of `stores.calls`."""

    id: strawberry.ID = plain_field("The call's id, unique in its project.")
    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    op_name: str = plain_field("What was called: a plain name, or the ref of an op's version.")
    display_name: str | None = plain_field("A name given to this call; null if none was.")
    trace_id: strawberry.ID = plain_field("The trace that the call belongs to.")
    parent_id: strawberry.ID | None = plain_field("The call that made this one; null for a root.")
    thread_id: str | None = plain_field("The conversation that the call belongs to.")
    turn_id: strawberry.ID | None = plain_field("The turn of the conversation: the id of the call that began it.")
    started_at: DateTime = plain_field("When it started.")
    ended_at: DateTime | None = plain_field("When it ended; null while it runs.")
    exception: str | None = plain_field("The exception that ended it, as text.")
    wb_user_id: str | None = plain_field("Who wrote it.")
    wb_run_id: str | None = plain_field("The run that it was made in, as entity/project/run.")
    wb_run_step: BigInt | None = plain_field("The run's step when it started.")
    wb_run_step_end: BigInt | None = plain_field("The run's step when it ended.")
    deleted_at: DateTime | None = plain_field(
        "When it was deleted, in an event of that; null anywhere else: what is deleted is not found."
    )
    status: TraceStatus = plain_field("How it went; the same as summary.weave.status.")
    latency_ms: BigInt | None = plain_field("From start to end in whole milliseconds; null while it runs.")
    trace_name: str = plain_field("Its display name; without one the op's name.")
    total_tokens: BigInt | None = plain_field(
        "All tokens that its usage counts, over all models; null where it has no usage. A call whose writer rolls up "
        "what the calls below it used counts that, too."
    )
    storage_size_bytes: BigInt | None = plain_field(
        "What its attributes, inputs, output and summary take as JSON text."
    )
    total_storage_size_bytes: BigInt | None = plain_field(
        "The sum of storageSizeBytes over its trace; null unless it is a root."
    )
    attributes: JSON | None = json_field(
        JsonField("attributes"), "What the writer noted beside the inputs: a JSON object."
    )
    inputs: JSON | None = json_field(JsonField("inputs"), "What it was called with: a JSON object.")
    output: JSON | None = json_field(JsonField("output"), "What it gave back: any JSON value; null while it runs.")
    summary: JSON | None = json_field(
        SUMMARY,
        "What the writer summed up (usage by model, status_counts, more), and under weave what LoomQL knows: "
        "status, latency_ms, and display_name or trace_name.",
    )

    @resolved_field(
        "What it used of each model, from its summary; counts that are no whole numbers of 64 bits are null.",
        returns=list[LLMUsageSchema],
        size=3,
    )
    def usage(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """What it used of each model."""
        return usage(parent)

    @resolved_field(
        "Usage of the call and its cost, by model; empty if no model has a price or a stated cost. A model without a "
        "price has counts alone. LoomQL computes costs from current prices on each read, so summary lacks them.",
        returns=list[LLMCostSchema],
        size=3,
    )
    def costs(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """What it used of each model costs."""
        used = parent.get("usage")
        return bill(used, parent["started_at"], parent[PRICES]) if used else []

    @resolved_field(
        "Cost of the usage that the call reports, in US dollars; null if no model has a price in US dollars. Prices in "
        "other currencies are left out. The cost of a parent that reports the sum of its children includes theirs."
    )
    def total_cost(self, parent: strawberry.Parent[Row]) -> float | None:
        """What its usage costs."""
        used = parent.get("usage")
        cost: float | None = parent[PRICES].total_cost(used, parent["started_at"]) if used else None
        return cost

    trace_cost = _of_trace(
        "Cost of all calls of the trace in US dollars, with the own usage of each call counted once; null unless the "
        "call is a root, or if no model has a price in US dollars. totalCost is the cost of the usage that the call "
        "itself reports: some senders sum the trace there, others report nothing.",
        float | None,
        TOKENS_AND_COST,
        lambda totals: totals["usage"]["cost"],
    )
    trace_tokens = _of_trace(
        "Tokens that all calls of its trace used, counted once; null unless the call is a root.",
        BigInt | None,
        TOKENS_AND_COST,
        lambda totals: totals["usage"]["total_tokens"],
    )
    trace_errors = _of_trace(
        "Number of calls of its trace that ended with an exception; null unless the call is a root.",
        BigInt | None,
        CALLS_AND_ERRORS,
        lambda totals: totals["num_errors"],
    )
    trace_calls = _of_trace(
        "Number of calls of its trace; null unless the call is a root.",
        BigInt | None,
        CALLS_AND_ERRORS,
        lambda totals: totals["num_calls"],
    )

    ref: strawberry.ID = node_ref(call_ref, "Its ref, by which values point to it, and node finds it again.")
    op = to_one(
        "The op's version that was called; null if opName is no ref into this project, or leads to nothing.",
        ObjSchema | None,
        lambda stores: stores.objects.by_refs,
        key_of("project_id", "op_name"),
    )
    parent = to_one(
        "The call that made this one; null for a root, and where that is not there: it never came, or is deleted.",
        Call | None,
        lambda stores: stores.calls.by_keys,
        key_of("project_id", "parent_id"),
    )
    children = to_many(
        "The calls that it made, the oldest first.",
        Call,
        lambda stores: stores.calls.children,
        key_of("project_id", "id"),
    )
    turn = to_one(
        "The call that began the turn of its conversation; null where it is in none, or that is not there.",
        Call | None,
        lambda stores: stores.calls.by_keys,
        key_of("project_id", "turn_id"),
    )

    thread = to_one(
        "The conversation that it belongs to; null where that is none, or one of which no turn has ended yet.",
        ThreadOf | None,
        lambda stores: stores.threads.by_keys,
        _thread_key,
    )
    evaluation_run = to_one(
        "The run of an evaluation that it is part of: the call itself, or one of the 4 above it; null if none is.",
        Run | None,
        lambda stores: stores.evaluations.runs_above,
        key_of("project_id", "id"),
    )

    @resolved_field("The trace that it belongs to.", returns=TraceOf)
    def trace(self, parent: strawberry.Parent[Row]) -> Row:
        """Its trace."""
        return {"project_id": parent["project_id"], "trace_id": parent["trace_id"]}

    feedback = to_many(
        "The feedback on it, the oldest first; `last: 10` gives the newest.",
        Feedback,
        lambda stores: stores.feedback.of_calls,
        key_of("project_id", "id"),
        narrowed={"types": Types},
        given=lambda types=None: (frozenset(types or ()),),
    )

    @resolved_field("The refs in its inputs, in their order, repeats included.", returns=list[ResolvedRef])
    def input_refs(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """The refs in its inputs."""
        return refs_of(parent, "input_refs")

    @resolved_field("The refs in its output, in their order, repeats included.", returns=list[ResolvedRef])
    def output_refs(self, parent: strawberry.Parent[Row]) -> list[Row]:
        """The refs in its output."""
        return refs_of(parent, "output_refs")
