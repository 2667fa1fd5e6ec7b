"""The list of all optional arguments and all input fields, with a reviewed ruling on what each may reach.

`questions` tests the required arguments of root fields, in each project.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType
from typing import Final, get_args, get_type_hints

import strawberry
from graphql import GraphQLInputObjectType, GraphQLNonNull, GraphQLObjectType, GraphQLSchema
from strawberry.utils.str_converters import to_camel_case

from graphql_schema.calls.queries import CallsFilter
from graphql_schema.evaluations import EvaluationRunsFilter
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.objects import ObjectVersionFilter, OpVersionFilter
from graphql_schema.projects import ProjectsFilter
from graphql_schema.tables import TableRowFilter
from graphql_schema.traces import ThreadsQueryFilter
from tests.graphql_schema.permissions.relations import CONNECTED

GATED: Final = "it is the project, or is in what names it, and the field's ruling looks at that"
ROWS: Final = "it chooses, sorts or counts among rows that were looked up in the project"
PAGE: Final = "a size, or a cursor, which holds for one list of one project"
SHAPE: Final = "how much is told of what is there, and in which form"
SAID: Final = "kept as it is said, or sent to a provider, and looked up nowhere"
NAMES: Final = "it may name something, and finds that in the project alone: probed with what is another's"

_Ruled = Mapping[str, Mapping[str, str]]

_LIST: Final = {PAGE: "first after last before offset"}
_SORTED: Final = _LIST | {ROWS: "sortBy"}
_ASKED: Final = _LIST | {ROWS: "query sortBy"}
_FILTERED: Final = _ASKED | {NAMES: "filter"}
_CALLS: Final = _ASKED | {NAMES: "filter expandColumns", SHAPE: "returnExpandedColumnValues"}
_PAGE: Final = {PAGE: "first last offset"}
_PATH: Final = {SHAPE: "path"}
_BY: Final = {SAID: "wbUserId"}
_FEEDBACK: Final = {NAMES: "id annotationRef runnableRef callRef triggerRef", SAID: "creator wbUserId"}
_COMPLETION: Final = {SAID: "wbUserId", SHAPE: "trackLlmCall"}
_CONDITION: Final = "and or not eq ne gt gte lt lte startsWith isNull exists in contains convert"


def _filter(cls: type) -> Mapping[str, str]:
    """Rule on the fields of a filter by their types.

    A field of texts may name something, so each is probed; numbers, times, flags and enums name nothing. Other types
    need a reviewed ruling.
    """
    types = {name: _inner_types(hint) for name, hint in get_type_hints(cls).items()}
    return {
        NAMES: " ".join(to_camel_case(name) for name, kinds in types.items() if kinds & {str, strawberry.ID}),
        ROWS: " ".join(to_camel_case(name) for name, kinds in types.items() if all(map(_names_nothing, kinds))),
    }


def _inner_types(hint: object) -> set[object]:
    """Return the types in a hint, such as str and NoneType in `list[str] | None`, or the hint if it has none."""
    return {kind for each in get_args(hint) for kind in _inner_types(each)} or {hint}


def _names_nothing(kind: object) -> bool:
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    return is_enum or kind in {bool, int, float, BigInt, DateTime, NoneType}


RULED: Final[_Ruled] = {
    **dict.fromkeys(
        ("CallSchema.messages", "CallSchema.outputMessages", "ThreadSchema.conversation", "Trace.conversation"),
        _PAGE,
    ),
    "Query.calls": _CALLS,
    "Query.callsAggregate": {
        NAMES: "filter expandColumns", ROWS: "query groupBy sortBy", PAGE: "limit",
        SHAPE: "bucket exactPercentiles groupPaths numbers timezone usage",
    },
    "Query.callsFacets": {NAMES: "filter", ROWS: "query", PAGE: "limit"},
    "Query.callsPaths": {NAMES: "filter", SHAPE: "under"},
    "Query.callsStats": {NAMES: "filter expandColumns", ROWS: "query", PAGE: "limit"},
    "Query.costs": _ASKED,
    "Query.evaluationResults": _ASKED,
    "Query.evaluationRuns": _SORTED | {NAMES: "filter"},
    "Query.explain": {NAMES: "filter expandColumns", ROWS: "query sortBy"},
    "Query.explainThreads": {NAMES: "filter", ROWS: "query sortBy totals"},
    "Query.explainTraces": {NAMES: "filter anyCall", ROWS: "query sortBy totals"},
    "Query.feedback": _ASKED,
    "Query.feedbackStats": {ROWS: "query"},
    "Query.objs": _FILTERED,
    "Query.ops": _FILTERED,
    "Query.projects": _SORTED | {NAMES: "filter"},
    "Query.retentionPreview": {SAID: "keepDays keepCalls"},
    "Query.search": {
        NAMES: "filter", ROWS: "query", SHAPE: "method maxHighlights", PAGE: "first after last before",
    },
    "Query.tableRows": _FILTERED,
    "Query.tablesStats": {NAMES: "digests"},
    "Query.threads": _FILTERED | {ROWS: "query sortBy totals"},
    "Query.traces": _ASKED | {NAMES: "filter anyCall", ROWS: "query sortBy totals"},
    "Query.usageTree": {SHAPE: "maxDepth"},
    "Mutation.actionsExecuteBatch": _BY,
    "Mutation.callUpdate": {SAID: "displayName wbUserId"},
    "Mutation.callsDelete": _BY,
    "Mutation.completionsCreate": _COMPLETION,
    "Mutation.costCreate": _BY,
    "Mutation.evaluateModel": _BY,
    "Mutation.evaluationCancel": _BY,
    "Mutation.feedbackCreate": _FEEDBACK,
    "Mutation.feedbackReplace": _FEEDBACK,
    "Mutation.fileCreate": {SAID: "name content upload"},
    "Mutation.imageCreate": _COMPLETION,
    "Mutation.objDelete": {NAMES: "digests"},
    "Mutation.opDelete": {NAMES: "digests"},
    "Mutation.otelExport": _BY,
    "Mutation.retentionSet": {SAID: "keepDays keepCalls"},
    "Subscription.callEvents": {NAMES: "filter", ROWS: "query", PAGE: "after"},
    "Subscription.completionsCreateStream": _COMPLETION,
    **dict.fromkeys(
        (
            "ActionResult.output", "CallSchema.attributes", "CallSchema.inputs", "CallSchema.output",
            "CallSchema.summary", "ComparedExample.example", "CompletionsCreateEvent.chunk",
            "CompletionsCreateEvent.response", "CompletionsCreateRes.response", "EvaluationPrediction.output",
            "EvaluationResult.example", "EvaluationRun.output", "EvaluationScore.value", "Feedback.payload",
            "FeedbackCreateRes.payload", "FeedbackReplaceRes.payload", "ImageGenerationCreateRes.response",
            "ObjSchema.val", "ResolvedRef.value", "TableRowSchema.val", "ToolCallPart.arguments",
            "ToolResultPart.result",
        ),
        _PATH,
    ),
    **dict.fromkeys(
        (
            "CallSchema.children", "EvaluationRun.results", "ObjSchema.evaluationRuns", "ObjSchema.usedBy",
            "ObjSchema.versions", "Table.rows", "ThreadSchema.calls", "ThreadSchema.traces", "ThreadSchema.turns",
            "Trace.calls", "Trace.roots",
        ),
        _LIST,
    ),
    **{f"{of}Connection.totalCount": {PAGE: "limit"} for of in (*CONNECTED, "CallSearch")},
    "CallSchema.feedback": _LIST | {ROWS: "types"},
    "Trace.feedback": _LIST | {ROWS: "types"},
    "EvaluationComparison.rows": _SORTED | {SHAPE: "onlyInCommon"},
    "Project.calls": _CALLS,
    "Project.costs": _ASKED,
    "Project.feedback": _ASKED,
    "Project.objs": _FILTERED,
    "Project.ops": _FILTERED,
    "Project.traces": _ASKED | {NAMES: "filter anyCall", ROWS: "query sortBy totals"},
    "Project.threads": _FILTERED | {ROWS: "query sortBy totals"},
    "Trace.tree": _LIST | {SHAPE: "maxDepth"},
    "AnyCallInput": {NAMES: "filter", ROWS: "query"},
    "CallBatchMode": {GATED: "start end"},
    "CallsFilter": _filter(CallsFilter),
    "CompletedCallSchemaForInsert": {
        GATED: "projectId", NAMES: "id traceId parentId threadId turnId opName inputs output",
        SAID: "startedAt attributes displayName wbUserId wbRunId wbRunStep endedAt summary exception wbRunStepEnd",
    },
    "CompletionsCreateRequestInputs": {
        SAID: "model messages timeout temperature topP n stop maxCompletionTokens maxTokens modalities presencePenalty "
              "frequencyPenalty stream logitBias user responseFormat seed tools toolChoice logprobs topLogprobs "
              "parallelToolCalls extraHeaders functions functionCall apiVersion",
    },
    "ContainsOperation": {ROWS: "input substr caseInsensitive"},
    "ConvertOperation": {ROWS: "input to"},
    "CostCreateInput": {
        SAID: "llmId promptTokenCost completionTokenCost promptTokenCostUnit completionTokenCostUnit effectiveDate "
              "providerId cacheReadTokenCost cacheReadAudioTokenCost cacheWrite5mTokenCost cacheWrite1hTokenCost "
              "audioInputTokenCost imageInputTokenCost reasoningTokenCost audioOutputTokenCost imageOutputTokenCost "
              "webSearchCost",
    },
    "EndedCallSchemaForInsert": {
        GATED: "projectId", NAMES: "id output", SAID: "endedAt summary exception wbRunStepEnd",
    },
    "EvaluationRunsFilter": _filter(EvaluationRunsFilter),
    "FeedbackCreateReq": {
        GATED: "projectId", NAMES: "weaveRef id annotationRef runnableRef callRef triggerRef",
        SAID: "feedbackType payload creator wbUserId",
    },
    "ImageGenerationRequestInputs": {SAID: "model prompt n"},
    "InOperation": {ROWS: "input values"},
    "ObjSchemaForInsert": {
        GATED: "projectId", NAMES: "objectId val", SAID: "builtinObjectClass setBaseObjectClass wbUserId",
    },
    "ObjectVersionFilter": _filter(ObjectVersionFilter),
    "OpVersionFilter": _filter(OpVersionFilter),
    "Operand": {ROWS: f"{_CONDITION} literal nullLiteral getField"},
    "Operation": {ROWS: _CONDITION},
    "ProjectsFilter": _filter(ProjectsFilter),
    "QueryInput": {ROWS: "expr json"},
    "SortBy": {ROWS: "field direction"},
    "StartedCallSchemaForInsert": {
        GATED: "projectId", NAMES: "id traceId parentId threadId turnId opName inputs",
        SAID: "startedAt attributes displayName wbUserId wbRunId wbRunStep",
    },
    "TableAppendSpecPayload": {SAID: "row"},
    "TableInsertSpecPayload": {ROWS: "index", SAID: "row"},
    "TablePopSpecPayload": {ROWS: "index"},
    "TableRowFilter": _filter(TableRowFilter),
    "TableSchemaForInsert": {GATED: "projectId", SAID: "rows"},
    "TableUpdateSpec": {ROWS: "append pop insert"},
    "ThreadsQueryFilter": _filter(ThreadsQueryFilter),
}  # fmt: skip
"""Names of arguments, by field or input type and by ruling. A new argument needs a reviewed ruling."""


def ruled(*, reason: str | None = None) -> set[str]:
    """Return the reviewed arguments as `Type.field.argument` or `Input.field`: all, or those with one reason."""
    return {
        f"{of}.{name}"
        for of, by in RULED.items()
        for why, names in by.items()
        for name in names.split()
        if reason in {None, why}
    }


def arguments(schema: GraphQLSchema) -> set[str]:
    """Return the optional arguments and input fields of a schema."""
    return {argument for name in schema.type_map if not name.startswith("__") for argument in _of_type(schema, name)}


def _of_type(schema: GraphQLSchema, name: str) -> Iterator[str]:
    kind = schema.type_map[name]
    if isinstance(kind, GraphQLInputObjectType):
        yield from (f"{name}.{field}" for field in kind.fields)
    elif isinstance(kind, GraphQLObjectType):
        for field, of in kind.fields.items():
            given = (each for each, argument in of.args.items() if not isinstance(argument.type, GraphQLNonNull))
            yield from (f"{name}.{field}.{each}" for each in given)
