"""The list of all edges of the graph below the roots, with a reviewed ruling on whose rows each may reach.

An edge is a field that has a resolver, takes arguments, or returns other objects. A plain attribute of its source, by
any path, is none.
"""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Final

from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema, get_named_type, is_composite_type
from strawberry.schema.schema_converter import GraphQLCoreConverter

from graphql_schema.execution.plans import BARE

OWN: Final = "made of the row that is there"
SAME_PROJECT: Final = "looked up in the project of the row, which is part of each key"
BY_REF: Final = "where a ref leads that is in the row, and nowhere unless that is in the row's project"

_Ruled = Mapping[str, Mapping[str, str]]

_CONNECTION: Final = {OWN: "edges nodes pageInfo", SAME_PROJECT: "totalCount"}
_EDGE: Final = {OWN: "cursor node"}

CONNECTED: Final = (
    "Call", "ComparedExample", "Cost", "EvaluationResult", "EvaluationRun", "Feedback", "Obj", "Project", "TableRow",
    "Thread", "Trace", "TraceTreeNode",
)  # fmt: skip
"""Beginnings of the names of connections that have no fields of their own."""

RULED: Final[_Ruled] = {
    "ActionResult": {OWN: "output error feedback"},
    "ActionsExecuteBatchRes": {OWN: "results"},
    "AudioPart": {OWN: "sizeBytes", SAME_PROJECT: "mediaType"},
    "CallCreateBatchRes": {OWN: "res"},
    "CallEvent": {OWN: "call"},
    "CallSchema": {
        OWN: "ref attributes inputs output summary messages outputMessages usage inputRefs outputRefs trace",
        SAME_PROJECT: "costs totalCost traceCost traceTokens traceErrors traceCalls prompt parent children turn thread "
        "evaluationRun feedback",
        BY_REF: "op",
    },
    "CallSearchConnection": {OWN: "edges nodes pageInfo", SAME_PROJECT: "totalCount"},
    "CallSearchHighlight": {OWN: "ranges"},
    "CallSearchHit": {OWN: "call score highlights"},
    "CallsAggregateRes": {OWN: "rows"},
    "CallsAggregateRow": {OWN: "numbers"},
    "CallsFacet": {OWN: "values histogram"},
    "CallsPath": {OWN: "types"},
    "CallsPathsRes": {OWN: "paths"},
    "ChatMessage": {OWN: "parts"},
    "ComparedExample": {OWN: "exampleRef example runs"},
    "ComparedMetric": {OWN: "runs"},
    "ComparedResult": {OWN: "predictions metrics"},
    "CompletionsCreateEvent": {OWN: "chunk response", SAME_PROJECT: "call"},
    "CompletionsCreateRes": {OWN: "response", SAME_PROJECT: "call"},
    "ConversationMessage": {OWN: "message", SAME_PROJECT: "call"},
    "CostCreateRes": {OWN: "ids"},
    "CostQueryOutput": {OWN: "ref"},
    "EvaluationComparison": {OWN: "runs", SAME_PROJECT: "metrics numInCommon rows"},
    "EvaluationPrediction": {OWN: "output scores call modelCall"},
    "EvaluationResult": {OWN: "exampleRef example predictions"},
    "EvaluationRun": {
        OWN: "output evaluation model dataset scorers",
        SAME_PROJECT: "call results metrics usage",
    },
    "EvaluationScore": {OWN: "value scorer call"},
    "ExplainRes": {OWN: "indexes stages"},
    "Feedback": {OWN: "ref payload", BY_REF: "call annotation on"},
    "FeedbackCreateBatchRes": {OWN: "res"},
    "FeedbackCreateRes": {OWN: "payload"},
    "FeedbackReplaceRes": {OWN: "payload"},
    "FeedbackStatsRes": {OWN: "types"},
    "FileContentReadRes": {OWN: "ref url", SAME_PROJECT: "content"},
    "FilePart": {OWN: "sizeBytes", SAME_PROJECT: "mediaType"},
    "ImageGenerationCreateRes": {OWN: "response images", SAME_PROJECT: "call"},
    "ImagePart": {OWN: "sizeBytes", SAME_PROJECT: "mediaType"},
    "LLMCostSchema": {OWN: "components price"},
    "ObjFile": {SAME_PROJECT: "file"},
    "ObjSchema": {
        OWN: "ref val files refs",
        SAME_PROJECT: "versions usedBy evaluationRuns",
        BY_REF: "table",
    },
    "OtelExportRes": {OWN: "partialSuccess"},
    "Project": {
        OWN: "ref",
        SAME_PROJECT: "callCount objectCount feedbackCount stats calls traces threads objs ops feedback costs",
    },
    "ResolvedRef": {OWN: "kind", BY_REF: "value obj"},
    "RetentionRes": {OWN: "lastSweep"},
    "RetentionSweepRes": {OWN: "durationMs"},
    "Table": {OWN: "ref", SAME_PROJECT: "rows"},
    "TableRowSchema": {OWN: "ref val", SAME_PROJECT: "table"},
    "ToolCallPart": {OWN: "arguments"},
    "ToolResultPart": {OWN: "result"},
    "ThreadSchema": {
        OWN: "ref",
        SAME_PROJECT: "turns calls conversation traces numCalls numErrors totalTokens totalCost users",
    },
    "Trace": {
        OWN: "ref",
        SAME_PROJECT: "root calls roots tree conversation totals feedback name status startedAt endedAt latencyMs "
        "numCalls numErrors totalTokens totalCost threadId kind userId tags environment release",
    },
    "TraceTotals": {OWN: "usage"},
    "TraceTreeNode": {OWN: "parentId call"},
    "UsageTotals": {OWN: "models"},
    "UsageTreeNode": {OWN: "ownUsage totalUsage"},
    **{f"{of}Connection": _CONNECTION for of in CONNECTED},
    **{f"{of}Edge": _EDGE for of in (*CONNECTED, "CallSearchHit")},
}  # fmt: skip
"""Names of fields, by type and by ruling. A new edge needs a reviewed ruling on the rows that it reaches."""


WRITTEN: Final = {
    "ActionResult", "ActionsExecuteBatchRes", "CallCreateBatchRes", "CallEvent", "CompletionsCreateEvent",
    "CompletionsCreateRes", "CostCreateRes", "FeedbackCreateBatchRes", "FeedbackCreateRes", "FeedbackReplaceRes",
    "ImageGenerationCreateRes", "OtelExportRes",
}  # fmt: skip
"""Types that only mutations and subscriptions return."""


def ruled(*, written: bool | None = None) -> set[str]:
    """Return the reviewed edges: all, only those of types in `WRITTEN`, or only the others."""
    return {
        f"{kind}.{name}"
        for kind, by in RULED.items()
        for names in by.values()
        for name in names.split()
        if written in {None, kind in WRITTEN}
    }


def edges(schema: GraphQLSchema) -> set[str]:
    """Return the edges of a schema below its roots."""
    return {
        f"{kind.name}.{name}" for kind in _objects(schema) for name, field in kind.fields.items() if _is_relation(field)
    }


def _objects(schema: GraphQLSchema) -> Iterator[GraphQLObjectType]:
    roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and kind not in roots and not kind.name.startswith("__"):
            yield kind


def _is_relation(field: GraphQLField) -> bool:
    of = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    is_resolved = of.base_resolver and not isinstance(getattr(of.base_resolver.wrapped_func, BARE, None), attrgetter)
    return bool(is_resolved or field.args or is_composite_type(get_named_type(field.type)))
