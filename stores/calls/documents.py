"""The document of a call, and the updates that a start, an end, a rename and a delete apply to it.

Each update sets its own fields, then recomputes the fields derived from several updates. They may therefore arrive in
any order and any number of times. A call is `visible` once it has started and until it is deleted.
"""

from typing import Any, Final

from stores.calls.example_digests import example_digest
from stores.calls.inputs import CallEnd, CallStart, op_trace_name
from stores.calls.payloads import Payload
from stores.files import NewFile
from stores.usage.entries import kept_usage
from stores.usage.scopes import SUM, usage_scope

Document = dict[str, Any]
Pipeline = list[dict[str, Any]]

KEY_FIELDS: Final = ("_id", "project_id", "id")
"""The fields that identify a call's document, also in a sharded collection."""

DERIVED_FIELDS: Final = ("turn_of", "usage", "total_tokens", "usage_scope", "example_digest")
"""Fields that LoomQL derives from the client's data; they change only together with it."""

SEARCH_FIELDS: Final = ("search_due", "search_segment")
"""State of a call in its project's text index; both fields are absent in projects without one.

A write sets `search_due` to a new id for the indexer and removes `search_segment`, the index segment that contains the
call's current text. The index does not know a call with neither field, so the indexer searches for such calls.
"""

FIELDS_WITHOUT_EVENTS: Final = (*DERIVED_FIELDS, *SEARCH_FIELDS)
"""Fields whose update alone is no event."""

DERIVED_VERSION: Final = 5
"""Version of `DERIVED_FIELDS`. Raise it when they change: `calls_backfill` updates older calls to the new version."""

TURN_OF: Final[Document] = {
    "$cond": [
        {"$and": [{"$gt": ["$thread_id", ""]}, {"$eq": ["$turn_id", "$id"]}]},
        "$thread_id",
        "$$REMOVE",
    ]
}
"""The aggregation expression of `turn_of`, for stored calls; see `_turn_of`."""

_START_OPTIONAL: Final = (
    "parent_id",
    "thread_id",
    "turn_id",
    "turn_of",
    "wb_run_id",
    "wb_run_step",
    "input_refs",
    "example_digest",
)
_END_OPTIONAL: Final = ("exception", "wb_run_step_end", "output_refs", "usage", "total_tokens", "usage_scope")

_DERIVED_EXPRESSIONS: Final[Document] = {
    "visible": {"$and": [{"$isNumber": "$started_at"}, {"$not": [{"$isNumber": "$deleted_at"}]}]},
    "status": {"$ifNull": ["$status", "running"]},
    "trace_name": {"$ifNull": ["$display_name", "$op_trace_name", "$$REMOVE"]},
    "storage_size_bytes": {"$add": [{"$ifNull": ["$start_size_bytes", 0]}, {"$ifNull": ["$end_size_bytes", 0]}]},
    "latency_ms": {
        "$cond": [
            {"$and": [{"$isNumber": "$started_at"}, {"$isNumber": "$ended_at"}]},
            {"$toLong": {"$floor": {"$divide": [{"$toDecimal": {"$subtract": ["$ended_at", "$started_at"]}}, 1000]}}},
            "$$REMOVE",
        ]
    },
}


def key_fields(project_id: str, call_id: str) -> Document:
    """Return the fields that identify a call; project ids contain no colon, so `_id` is unique."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id, "id": call_id}


def whole_call(start: Document, end: Document | None) -> Document:
    """Build the complete document of a call that is not stored yet from the fields of its start and end."""
    document = start | (end or {"status": "running"})
    document["json"] = start["json"] | document["json"]
    document["visible"] = True
    document["trace_name"] = document.get("display_name") or document["op_trace_name"]
    document["storage_size_bytes"] = document["start_size_bytes"] + document.get("end_size_bytes", 0)
    if end:
        document["latency_ms"] = (end["ended_at"] - start["started_at"]) // 1000
    return document


def start_update(start: Document, *, ends_rename: bool) -> Pipeline:
    """Build the update of a start; a display name set by a rename survives unless `ends_rename`."""
    if ends_rename:
        return _update(start, (*_START_OPTIONAL, "display_name"), {"renamed": "$$REMOVE"})
    name = {"$literal": start["display_name"]} if "display_name" in start else "$$REMOVE"
    return _update(start, _START_OPTIONAL, {"display_name": {"$cond": ["$renamed", "$display_name", name]}})


def end_update(end: Document) -> Pipeline:
    """Build the update of an end."""
    return _update(end, _END_OPTIONAL)


def rename_update(display_name: str, wb_user_id: str, search_due: str | None = None) -> Pipeline:
    """Build the update of a rename; an empty name removes the display name."""
    optional_fields = _without_nulls(display_name=display_name or None, search_due=search_due)
    return _update({"renamed": True, "renamed_by": wb_user_id, **optional_fields}, ("display_name",))


def delete_update(wb_user_id: str) -> Pipeline:
    """Build the update of a delete; repeated deletes keep the first time and user.

    The time is MongoDB's clock, which also timestamps changes, so the two can be compared.
    """
    first_values = {"deleted_at": {"$multiply": [{"$toLong": "$$NOW"}, 1000]}, "deleted_by": {"$literal": wb_user_id}}
    return _update({}, (), {name: {"$ifNull": [f"${name}", value]} for name, value in first_values.items()})


def _update(fields: Document, optional: tuple[str, ...], computed: Document | None = None) -> Pipeline:
    own: Document = dict.fromkeys((*SEARCH_FIELDS, *optional), "$$REMOVE")
    own |= {name: {"$literal": value} for name, value in fields.items() if name not in KEY_FIELDS and name != "json"}
    own |= {f"json.{name}": {"$literal": text} for name, text in fields.get("json", {}).items()}
    return [{"$set": own | (computed or {})}, {"$set": _DERIVED_EXPRESSIONS}]


def stored_fields(call_part: CallStart | CallEnd, *, fast_only: bool = False) -> tuple[Document, list[NewFile]]:
    """Return the fields of a checked start or end and the files in it; empty display names and exceptions are dropped.

    Raises:
        TakesLongError: if `fast_only`, and the JSON is too large to process on the event loop.
        PayloadTooLargeError: if the JSON exceeds its part of a document.
        BadInputError: if a string in the JSON uses the reserved ref scheme.
    """
    if isinstance(call_part, CallStart):
        values = {"attributes": call_part.attributes, "inputs": call_part.inputs}
        payload = Payload.unchecked(values, ("inputs",), fast_only=fast_only)
        payload.check_size()
        return start_fields(call_part, payload), payload.files
    payload = Payload.unchecked(
        {"output": call_part.output, "summary": call_part.summary}, ("output",), fast_only=fast_only
    )
    usage_fields = summary_usage_fields(call_part.summary)
    payload.check_size(usage_fields)
    return end_fields(call_part, payload, usage_fields), payload.files


def start_fields(start: CallStart, payload: Payload) -> Document:
    """Return the fields of a checked start with its prepared payload.

    Raises:
        BadInputError: if the op name is invalid.
    """
    trace_name = op_trace_name(start.op_name)
    return {
        **key_fields(start.project_id, str(start.id)),
        "trace_id": start.trace_id,
        "op_name": start.op_name,
        "op_trace_name": trace_name,
        "started_at": start.started_at,
        "wb_user_id": start.wb_user_id,
        **_without_nulls(
            display_name=start.display_name or None,
            parent_id=start.parent_id,
            thread_id=start.thread_id,
            turn_id=start.turn_id,
            turn_of=_turn_of(start),
            wb_run_id=start.wb_run_id,
            wb_run_step=start.wb_run_step,
            input_refs=payload.refs["inputs"] or None,
            example_digest=example_digest(trace_name, payload.values["inputs"]),
        ),
        **payload.bson_copies,
        "json": payload.texts,
        "start_size_bytes": payload.size_bytes,
    }


def _turn_of(start: CallStart) -> str | None:
    """Return the thread of which a call is a turn; None if the call is only a step within a turn."""
    return start.thread_id or None if start.turn_id == start.id else None


def end_fields(end: CallEnd, payload: Payload, usage_fields: Document) -> Document:
    """Return the fields of a checked end with its prepared payload and the usage fields of its summary."""
    return {
        **key_fields(end.project_id, end.id),
        "ended_at": end.ended_at,
        "status": _status(end),
        **_without_nulls(
            exception=end.exception or None,
            wb_run_step_end=end.wb_run_step_end,
            output_refs=payload.refs["output"] or None,
        ),
        **usage_fields,
        **payload.bson_copies,
        "json": payload.texts,
        "end_size_bytes": payload.size_bytes,
    }


def summary_usage_fields(summary: object, scope: str | None = None) -> Document:
    """Return the fields derived from the usage in a summary; empty if the summary names no model."""
    scope = scope or usage_scope(summary)
    usage = kept_usage(summary, sums_up=scope == SUM)
    return usage | {"usage_scope": scope} if usage else {}


def _without_nulls(**fields: object) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


def _status(end: CallEnd) -> str:
    if end.exception:
        return "error"
    counts = end.summary.get("status_counts") if isinstance(end.summary, dict) else None
    errors = counts.get("error") if isinstance(counts, dict) else None
    return "descendant_error" if isinstance(errors, int | float) and errors > 0 else "success"
