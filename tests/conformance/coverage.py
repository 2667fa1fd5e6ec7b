"""The exceptions of the listing: the part of the schema that covers a class or field under another name.

A place is written as `Type`, `Type.field` or `Type.field(argument)`. Each exception names one class or field.
The test of the listing fails if an exception is not needed.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Instead:
    """The reason why the schema differs from the listing, and the part of the schema that covers it instead.

    `place` is None if nothing needs to cover it. `type` is its GraphQL type, or None if that is the listed type.
    """

    reason: str
    place: str | None = None
    type: str | None = None


ROOT_FIELDS: Final = {
    "ActionsExecuteBatchReq": "Mutation.actionsExecuteBatch",
    "CallCreateBatchReq": "Mutation.callCreateBatch",
    "CallEndReq": "Mutation.callEnd",
    "CallReadReq": "Query.call",
    "CallStartReq": "Mutation.callStart",
    "CallUpdateReq": "Mutation.callUpdate",
    "CallsDeleteReq": "Mutation.callsDelete",
    "CallsQueryReq": "Query.calls",
    "CallsQueryStatsReq": "Query.callsStats",
    "CompletionsCreateReq": "Mutation.completionsCreate",
    "CostCreateReq": "Mutation.costCreate",
    "CostPurgeReq": "Mutation.costPurge",
    "CostQueryReq": "Query.costs",
    "EvaluateModelReq": "Mutation.evaluateModel",
    "EvaluationStatusReq": "Query.evaluationStatus",
    "FeedbackCreateBatchReq": "Mutation.feedbackCreateBatch",
    "FeedbackCreateReq": "Mutation.feedbackCreate",
    "FeedbackPurgeReq": "Mutation.feedbackPurge",
    "FeedbackQueryReq": "Query.feedback",
    "FeedbackReplaceReq": "Mutation.feedbackReplace",
    "FileContentReadReq": "Query.file",
    "FileCreateReq": "Mutation.fileCreate",
    "FilesStatsReq": "Query.filesStats",
    "ImageGenerationCreateReq": "Mutation.imageCreate",
    "ObjCreateReq": "Mutation.objCreate",
    "ObjDeleteReq": "Mutation.objDelete",
    "ObjQueryReq": "Query.objs",
    "ObjReadReq": "Query.obj",
    "OpCreateReq": "Mutation.opCreate",
    "OpQueryReq": "Query.ops",
    "OpReadReq": "Query.op",
    "OtelExportReq": "Mutation.otelExport",
    "ProjectStatsReq": "Query.projectStats",
    "RefsReadBatchReq": "Query.refs",
    "TableCreateFromDigestsReq": "Mutation.tableCreateFromDigests",
    "TableCreateReq": "Mutation.tableCreate",
    "TableQueryReq": "Query.tableRows",
    "TableQueryStatsBatchReq": "Query.tablesStats",
    "TableQueryStatsReq": "Query.tableStats",
    "TableUpdateReq": "Mutation.tableUpdate",
    "ThreadsQueryReq": "Query.threads",
}
"""Root field of each request class; the class's fields are the arguments."""

_SELECTION: Final = Instead("what selects is no argument: what is selected is computed and read, and nothing else")
_MARKER: Final = Instead("it has no fields, and marks classes of Python for a library that checks them")
_WRAPPED: Final = "the root field gives what the class wraps"
_EMPTY: Final = "an empty object where it is left out"
_LATEST: Final = "the latest where it is left out"
_TWO_WAYS: Final = "a file comes in Base64, or as it is in a multipart request, so that neither must be given"


def _page(field: str) -> Instead:
    return Instead("lists are connections, whose size of a page is `first`", f"{field}(first)", "Int")


def _wrapped(place: str, kind: str) -> Instead:
    return Instead(_WRAPPED, place, kind)


def _one_of(place: str, kind: str) -> Instead:
    return Instead("a union of inputs is a @oneOf input, in which the field that is there says the kind", place, kind)


CLASSES: Final = {
    "BaseModelStrict": _MARKER,
    "ExtraKeysTypedDict": _MARKER,
    "CallBatchEndMode": _one_of("CallBatchMode.end", "EndedCallSchemaForInsert"),
    "CallBatchStartMode": _one_of("CallBatchMode.start", "StartedCallSchemaForInsert"),
    "CallReadRes": _wrapped("Query.call", "CallSchema"),
    "CallsQueryRes": _wrapped("Query.calls", "CallConnection"),
    "CostQueryRes": _wrapped("Query.costs", "CostConnection"),
    "EvaluationStatusRes": Instead(_WRAPPED, "Query.evaluationStatus"),
    "FeedbackDict": Instead("it is the same feedback, as a summary holds it", "Feedback"),
    "FeedbackQueryRes": _wrapped("Query.feedback", "FeedbackConnection"),
    "ObjQueryRes": _wrapped("Query.objs", "ObjConnection"),
    "ObjReadRes": _wrapped("Query.obj", "ObjSchema"),
    "OpQueryRes": _wrapped("Query.ops", "ObjConnection"),
    "OpReadRes": _wrapped("Query.op", "ObjSchema"),
    "RefsReadBatchRes": _wrapped("Query.refs", "[JSON]"),
    "SummaryInsertMap": Instead("it takes any key, so it is JSON", "EndedCallSchemaForInsert.summary", "JSON"),
    "SummaryMap": Instead("it has any key, so it is JSON", "CallSchema.summary", "JSON"),
    "TableAppendSpec": _one_of("TableUpdateSpec.append", "TableAppendSpecPayload"),
    "TableInsertSpec": _one_of("TableUpdateSpec.insert", "TableInsertSpecPayload"),
    "TablePopSpec": _one_of("TableUpdateSpec.pop", "TablePopSpecPayload"),
    "TableQueryRes": _wrapped("Query.tableRows", "TableRowConnection"),
    "TableQueryStatsBatchRes": _wrapped("Query.tablesStats", "[TableStatsRow!]"),
    "TableQueryStatsRes": _wrapped("Query.tableStats", "TableStatsRow"),
}
"""Classes that are neither a root field nor a type with their name; `FIELDS` covers their fields."""

FIELDS: Final = {
    # Fields that the selection set replaces.
    "CallReadReq.include_costs": _SELECTION,
    "CallReadReq.include_storage_size": _SELECTION,
    "CallReadReq.include_total_storage_size": _SELECTION,
    "CallsQueryReq.columns": _SELECTION,
    "CallsQueryReq.include_costs": _SELECTION,
    "CallsQueryReq.include_feedback": _SELECTION,
    "CallsQueryReq.include_storage_size": _SELECTION,
    "CallsQueryReq.include_total_storage_size": _SELECTION,
    "CallsQueryStatsReq.include_total_storage_size": _SELECTION,
    "CostQueryReq.fields": _SELECTION,
    "FeedbackQueryReq.fields": _SELECTION,
    "ObjQueryReq.include_storage_size": _SELECTION,
    "ObjQueryReq.metadata_only": _SELECTION,
    "ObjReadReq.metadata_only": _SELECTION,
    "ProjectStatsReq.include_file_storage_size": _SELECTION,
    "ProjectStatsReq.include_object_storage_size": _SELECTION,
    "ProjectStatsReq.include_table_storage_size": _SELECTION,
    "ProjectStatsReq.include_trace_storage_size": _SELECTION,
    "TableQueryStatsBatchReq.include_storage_size": _SELECTION,
    # Page sizes.
    "CallsQueryReq.limit": _page("Query.calls"),
    "CostQueryReq.limit": _page("Query.costs"),
    "FeedbackQueryReq.limit": _page("Query.feedback"),
    "ObjQueryReq.limit": _page("Query.objs"),
    "TableQueryReq.limit": _page("Query.tableRows"),
    "ThreadsQueryReq.limit": _page("Query.threads"),
    # Fields that wrap a response.
    "CallReadRes.call": _wrapped("Query.call", "CallSchema"),
    "CallsQueryRes.calls": _wrapped("CallConnection.nodes", "[CallSchema!]!"),
    "CostQueryRes.results": _wrapped("CostConnection.nodes", "[CostQueryOutput!]!"),
    "EvaluationStatusRes.status": _wrapped("Query.evaluationStatus", "EvaluationStatus"),
    "FeedbackQueryRes.result": _wrapped("FeedbackConnection.nodes", "[Feedback!]!"),
    "ObjQueryRes.objs": _wrapped("ObjConnection.nodes", "[ObjSchema!]!"),
    "ObjReadRes.obj": _wrapped("Query.obj", "ObjSchema"),
    "OpQueryRes.op_objs": _wrapped("ObjConnection.nodes", "[ObjSchema!]!"),
    "OpReadRes.op_obj": _wrapped("Query.op", "ObjSchema"),
    "RefsReadBatchRes.vals": _wrapped("Query.refs", "[JSON]"),
    "TableQueryRes.rows": _wrapped("TableRowConnection.nodes", "[TableRowSchema!]!"),
    "TableQueryStatsBatchRes.tables": _wrapped("Query.tablesStats", "[TableStatsRow!]"),
    "TableQueryStatsRes.count": _wrapped("TableStatsRow.count", "BigInt!"),
    # Unions of inputs.
    "CallBatchEndMode.mode": _one_of("CallBatchMode.end", "EndedCallSchemaForInsert"),
    "CallBatchEndMode.req": _one_of("CallBatchMode.end", "EndedCallSchemaForInsert"),
    "CallBatchStartMode.mode": _one_of("CallBatchMode.start", "StartedCallSchemaForInsert"),
    "CallBatchStartMode.req": _one_of("CallBatchMode.start", "StartedCallSchemaForInsert"),
    "CallCreateBatchReq.batch": _one_of("Mutation.callCreateBatch(batch)", "[CallBatchMode!]!"),
    "TableAppendSpec.append": _one_of("TableUpdateSpec.append", "TableAppendSpecPayload"),
    "TableInsertSpec.insert": _one_of("TableUpdateSpec.insert", "TableInsertSpecPayload"),
    "TablePopSpec.pop": _one_of("TableUpdateSpec.pop", "TablePopSpecPayload"),
    "TableUpdateReq.updates": _one_of("Mutation.tableUpdate(updates)", "[TableUpdateSpec!]!"),
    # Keys of JSON values.
    "SummaryInsertMap.status_counts": Instead("a key of that JSON", "EndedCallSchemaForInsert.summary", "JSON"),
    "SummaryInsertMap.usage": Instead("a key of that JSON", "EndedCallSchemaForInsert.summary", "JSON"),
    "SummaryMap.status_counts": Instead("a key of that JSON", "CallSchema.summary", "JSON"),
    "SummaryMap.usage": Instead("a key of that JSON; typed beside it", "CallSchema.usage", "[LLMUsageSchema!]!"),
    "SummaryMap.weave": Instead("a key of that JSON", "CallSchema.summary", "JSON"),
    # Types that GraphQL cannot express, or expresses better.
    "CostCreateReq.costs": Instead(
        "a list names the model in each", "Mutation.costCreate(costs)", "[CostCreateInput!]!"
    ),
    "CostCreateRes.ids": Instead("the pairs have names", "CostCreateRes.ids", "[CostCreateResId!]!"),
    "ObjSchemaForInsert.val": Instead("null is a value like others", "ObjSchemaForInsert.val", "JSON"),
    # Optional fields.
    "EndedCallSchemaForInsert.summary": Instead(_EMPTY, "EndedCallSchemaForInsert.summary", "JSON"),
    "StartedCallSchemaForInsert.attributes": Instead(_EMPTY, "StartedCallSchemaForInsert.attributes", "JSON"),
    "FileCreateReq.content": Instead(_TWO_WAYS, "Mutation.fileCreate(content)", "Base64"),
    "FileCreateReq.name": Instead("an upload has a name of its own", "Mutation.fileCreate(name)", "String"),
    "ObjReadReq.digest": Instead(_LATEST, "Query.obj(digest)", "String!"),
    "OpReadReq.digest": Instead(_LATEST, "Query.op(digest)", "String!"),
}
"""Fields that do not exist under their own name and with their own type."""
