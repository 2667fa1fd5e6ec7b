"""GraphQL types of calls."""

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.messages import messages_field
from graphql_schema.costs import LLMCostSchema
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.feedback import Feedback
from graphql_schema.fields import (
    FieldDefinition,
    Node,
    argument,
    computed_field,
    json_field,
    node_ref,
    plain_field,
    with_class_counts,
)
from graphql_schema.fields.connections import Call, Run, ThreadOf, TraceOf, key_of, to_many, to_one
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.objects import ObjSchema
from graphql_schema.refs import ResolvedRef, refs_of
from stores.calls.fields import CALL_COLUMNS, PRICES, Column, Type, usage
from stores.calls.messages import inputs_of, outputs_of
from stores.costs import bill
from stores.objects.documents import LATEST
from stores.paging import JsonField, Row
from stores.refs import call_ref
from stores.threads import Period
from stores.traces import CALLS_AND_ERRORS, TOKENS_AND_COST

Types = Annotated[list[str] | None, argument("Types of feedback, at most 1,000; all types if omitted or empty.")]


_Class = TypeVar("_Class", bound=type)

_ALL_TIMES: Final = Period()


def _thread_key(row: Row) -> tuple[str, Period, str] | None:
    return (row["project_id"], _ALL_TIMES, row["thread_id"]) if row.get("thread_id") else None


def _of_trace(kind: object, wanted: frozenset[str], value: Callable[[Row], object]) -> FieldDefinition:
    """Field of root calls with one number from the totals of their trace; null for other calls.

    `wanted` names the totals from which `value` computes the number.
    """

    def key(call: Row) -> tuple[str, str] | None:
        return None if call.get("parent_id") else (call["project_id"], call["trace_id"])

    return to_one(kind, lambda stores: stores.traces.totals, key, lambda _info: (wanted,), value, work=COUNT)


_PROMPT_PATH: Final = ("attributes", "otel_span", "attributes", "gen_ai", "prompt")


def _prompt_key(row: Row) -> tuple[str, str, str] | None:
    """Return the project, and the name and version of the prompt that a span states; None if it states none."""
    stated: Any = row
    for step in _PROMPT_PATH:
        stated = stated.get(step) if isinstance(stated, dict) else None
    name, version = (stated.get("name"), stated.get("version")) if isinstance(stated, dict) else (None, None)
    return (row["project_id"], name, str(version or LATEST)) if isinstance(name, str) and name else None


@strawberry.enum
class TraceStatus(Enum):
    """Status of a call."""

    SUCCESS = "success"
    """Ended without an exception."""
    ERROR = "error"
    """Ended with an exception."""
    RUNNING = "running"
    """Started but not ended."""
    DESCENDANT_ERROR = "descendant_error"
    """Ended without an exception, but descendants failed."""


@strawberry.enum
class CallKind(Enum):
    """Kind of a call."""

    LLM = "llm"
    """Request to a language model."""
    AGENT = "agent"
    """Run of an agent."""
    TOOL = "tool"
    """Call of a tool."""
    RETRIEVER = "retriever"
    """Search for documents."""
    RERANKER = "reranker"
    """Ranking of documents by a model."""
    EMBEDDING = "embedding"
    """Computation of embeddings."""
    CHAIN = "chain"
    """Step or workflow that combines other calls."""
    GUARDRAIL = "guardrail"
    """Check of an input or output, such as moderation."""
    EVALUATOR = "evaluator"
    """Evaluation or score of a result."""
    PROMPT = "prompt"
    """Creation of a prompt."""
    OTHER = "other"
    """Any other kind that the sender states."""


@strawberry.type
@with_class_counts
class LLMUsageSchema:
    """Usage of one model by a call, as the client that wrote the call reported it.

    A count is null if it was not sent or is not a 64-bit integer (5.0 is accepted, 1.7 is not). Counts by class, such
    as cacheReadTokens, do not overlap, even if the reported input includes them.
    """

    model: str
    """Name of the model."""
    prompt_tokens: BigInt | None
    """Number of prompt tokens."""
    input_tokens: BigInt | None
    """Number of input tokens, another name for prompt tokens."""
    completion_tokens: BigInt | None
    """Number of completion tokens."""
    output_tokens: BigInt | None
    """Number of output tokens, another name for completion tokens."""
    requests: BigInt | None
    """Number of requests to the model."""
    total_tokens: BigInt | None
    """Number of tokens in total, as the provider counts them."""


GraphQLKind = Any
"""A type in Python that Strawberry converts to a GraphQL type; optional types are no classes."""

_COLUMNS: Final = {column.name: column for column in CALL_COLUMNS}
_TYPES: Final = {
    Type.ID: strawberry.ID,
    Type.TEXT: str,
    Type.STATUS: TraceStatus,
    Type.INTEGER: BigInt,
    Type.NUMBER: float,
    Type.TIME: DateTime,
    Type.JSON: JSON,
    Type.KIND: CallKind,
    Type.TEXTS: list[str],
}


def type_of_values(column: str) -> GraphQLKind:
    """Return the GraphQL type of one value of a column; text for members of a list, and if there is no such column."""
    known = _COLUMNS.get(column)
    return _TYPES[known.type] if known and known.type not in (Type.JSON, Type.TEXTS) else str


def _type_of(column: Column) -> GraphQLKind:
    return _TYPES[column.type] | None if column.is_nullable else _TYPES[column.type]


def _column_field(column: Column) -> FieldDefinition:
    if isinstance(column.value, JsonField):
        return json_field(column.value, column.description)
    if column.value:
        return computed_field(column.value, _type_of(column), column.description)
    return plain_field(column.description)


def _with_columns(cls: _Class) -> _Class:
    """Class decorator, applied below `strawberry.type`: add a field for each column that the class does not declare."""
    for column in CALL_COLUMNS:
        if column.name not in vars(cls):
            cls.__annotations__[column.name] = _type_of(column)
            setattr(cls, column.name, _column_field(column))
    return cls


def _costs(row: Row) -> list[Row]:
    used = row.get("usage")
    return bill(used, row["started_at"], row[PRICES]) if used else []


@strawberry.type
@_with_columns
class CallSchema(Node):
    """Call: one step of a trace, with a start and an end."""

    # The source is a row of `stores.calls`.

    messages = messages_field(inputs_of)
    """Messages that the inputs contain, in one shape for all senders: system instructions first. Inputs that are no
    messages are one text part with their JSON; empty inputs have no message. Null, with an error, if there are more
    than 10,000 and first is omitted.
    """

    output_messages = messages_field(outputs_of)
    """Messages that the output contains, mostly one; a response with several choices has one each. Empty while the call
    runs. Null, with an error, if there are more than 10,000 and first is omitted.
    """

    usage = computed_field(usage, list[LLMUsageSchema], size=3)
    """Usage by model, from the call's summary; counts that are not 64-bit integers are null."""

    costs = computed_field(_costs, list[LLMCostSchema], size=3)
    """Usage and cost of the call, by model; empty if no model has a price or a stated cost. A model without a price has
    counts only. LoomQL computes costs from current prices on each read, so summary does not contain them.
    """

    total_cost = _column_field(_COLUMNS["total_cost"])
    trace_cost = _of_trace(float | None, TOKENS_AND_COST, lambda totals: totals["usage"]["cost"])
    """Cost of all calls of the trace in US dollars, counting each call's own usage once; null unless the call is a
    root, or if no model has a price in US dollars. totalCost is the cost of the usage that the root itself reports,
    which may be the sum of the trace or nothing.
    """
    trace_tokens = _of_trace(BigInt | None, TOKENS_AND_COST, lambda totals: totals["usage"]["total_tokens"])
    """Number of tokens of all calls of the trace, each counted once; null unless the call is a root."""
    trace_errors = _of_trace(BigInt | None, CALLS_AND_ERRORS, lambda totals: totals["num_errors"])
    """Number of calls of the trace that ended with an exception; null unless the call is a root."""
    trace_calls = _of_trace(BigInt | None, CALLS_AND_ERRORS, lambda totals: totals["num_calls"])
    """Number of calls of the trace; null unless the call is a root."""

    ref: strawberry.ID = node_ref(call_ref)
    """Ref of the call. JSON values refer to the call by it, and node resolves it."""
    op = to_one(ObjSchema | None, lambda stores: stores.objects.by_refs, key_of("project_id", "op_name"))
    """Version of the op; null if opName is no ref into this project, or its version is missing."""
    prompt = to_one(ObjSchema | None, lambda stores: stores.objects.by_names, _prompt_key)
    """Version of the object that the span's attributes `gen_ai.prompt.name` and `gen_ai.prompt.version` name; null if
    they name none. The version is a digest, an index such as `v3` or `3`, or by default the latest one.
    """
    parent = to_one(Call | None, lambda stores: stores.calls.by_keys, key_of("project_id", "parent_id"))
    """Parent call; null for a root, and if the parent is missing or deleted."""
    children = to_many(Call, lambda stores: stores.calls.children, key_of("project_id", "id"))
    """Child calls, the oldest first."""
    turn = to_one(Call | None, lambda stores: stores.calls.by_keys, key_of("project_id", "turn_id"))
    """Call that started the turn; null if the call is in no turn, or that call is missing or deleted."""

    thread = to_one(ThreadOf | None, lambda stores: stores.threads.by_keys, _thread_key)
    """Thread of the call; null if the call is in none, or no turn of the thread has ended yet."""
    evaluation_run = to_one(Run | None, lambda stores: stores.evaluations.runs_above, key_of("project_id", "id"))
    """Evaluation run of the call: the call itself or one of its 4 nearest ancestors; null if none of them is a run."""

    trace = computed_field(lambda row: {name: row[name] for name in ("project_id", "trace_id")}, TraceOf)
    """Trace of the call."""

    feedback = to_many(
        Feedback,
        lambda stores: stores.feedback.of_calls,
        key_of("project_id", "id"),
        arguments={"types": Types},
        to_key=lambda types=None: (frozenset(types or ()),),
    )
    """Feedback on the call, the oldest first; `last: 10` returns the newest."""

    input_refs = computed_field(lambda row: refs_of(row, "input_refs"), list[ResolvedRef])
    """Refs in the inputs, in their order, with duplicates."""

    output_refs = computed_field(lambda row: refs_of(row, "output_refs"), list[ResolvedRef])
    """Refs in the output, in their order, with duplicates."""
