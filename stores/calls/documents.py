"""A call's document: what its start, its end, a rename and a delete write.

Each of the four sets only what is its own, then the fields that depend on more than one of them are derived from
what is there, so that they may come in any order and any number of times. A call is `visible` once it has started
and as long as it is not deleted.
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

FOUND_BY: Final = ("_id", "project_id", "id")
"""What finds a call's one document, in a sharded collection, too."""

KEPT: Final = ("turn_of", "usage", "total_tokens", "usage_scope", "example_digest")
"""The fields that LoomQL makes of what was sent, beside it; nobody sends or reads one without the rest changing."""

SEARCH: Final = ("search_due", "search_segment")
"""Where a call stands in the index of its project's texts: neither is there in projects without one.

A write sets the first to an id of its own, for whoever indexes what is written, and takes the second away, the segment
of the index that has the call as it is. What neither stands in is not known to the index, and is looked for.
"""

UNTOLD: Final = (*KEPT, *SEARCH)
"""Where only these change nothing happens to a call."""

KEPT_VERSION: Final = 5
"""To be raised by whoever changes what is kept: calls that are there are brought up to it (`calls_backfill`)."""

TURN_OF: Final[Document] = {
    "$cond": [
        {"$and": [{"$gt": ["$thread_id", ""]}, {"$eq": ["$turn_id", "$id"]}]},
        "$thread_id",
        "$$REMOVE",
    ]
}
"""`turn_of` as MongoDB computes it of a call that is there; see `_turn_of`."""

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

_DERIVED: Final[Document] = {
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


def key(project_id: str, call_id: str) -> Document:
    """The fields that find a call; a project id holds no colon, so no two calls share an `_id`."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id, "id": call_id}


def whole_call(start: Document, end: Document | None) -> Document:
    """The document, derived fields and all, of a call of which nothing is stored yet, from its parts' fields."""
    document = start | (end or {"status": "running"})
    document["json"] = start["json"] | document["json"]
    document["visible"] = True
    document["trace_name"] = document.get("display_name") or document["op_trace_name"]
    document["storage_size_bytes"] = document["start_size_bytes"] + document.get("end_size_bytes", 0)
    if end:
        document["latency_ms"] = (end["ended_at"] - start["started_at"]) // 1000
    return document


def start_update(start: Document, *, ends_rename: bool) -> Pipeline:
    """What a start's fields write over what is there; they keep the name that a rename gave unless they end it."""
    if ends_rename:
        return _update(start, (*_START_OPTIONAL, "display_name"), {"renamed": "$$REMOVE"})
    name = {"$literal": start["display_name"]} if "display_name" in start else "$$REMOVE"
    return _update(start, _START_OPTIONAL, {"display_name": {"$cond": ["$renamed", "$display_name", name]}})


def end_update(end: Document) -> Pipeline:
    """What an end's fields write over what is there."""
    return _update(end, _END_OPTIONAL)


def rename_update(display_name: str, wb_user_id: str, search_due: str | None = None) -> Pipeline:
    """What a rename writes over what is there; the empty name takes the name away."""
    given = _given(display_name=display_name or None, search_due=search_due)
    return _update({"renamed": True, "renamed_by": wb_user_id, **given}, ("display_name",))


def delete_update(wb_user_id: str) -> Pipeline:
    """What a delete writes over what is there; of several deletes the first is remembered.

    Its time is MongoDB's, which also tells when each change was made, so that it is known what came before.
    """
    first = {"deleted_at": {"$multiply": [{"$toLong": "$$NOW"}, 1000]}, "deleted_by": {"$literal": wb_user_id}}
    return _update({}, (), {name: {"$ifNull": [f"${name}", value]} for name, value in first.items()})


def _update(fields: Document, optional: tuple[str, ...], computed: Document | None = None) -> Pipeline:
    own: Document = dict.fromkeys((*SEARCH, *optional), "$$REMOVE")
    own |= {name: {"$literal": value} for name, value in fields.items() if name not in FOUND_BY and name != "json"}
    own |= {f"json.{name}": {"$literal": text} for name, text in fields.get("json", {}).items()}
    return [{"$set": own | (computed or {})}, {"$set": _DERIVED}]


def fields_of(part: CallStart | CallEnd, *, at_once: bool = False) -> tuple[Document, list[NewFile]]:
    """What a checked start or end stores by itself, and the files in it; an empty display name or exception is none.

    Raises:
        TakesLongError: it should be `at_once`, and is too large for that.
        PayloadTooLargeError: its JSON is too large for its share of a document.
        BadInputError: a string in its JSON uses the reserved scheme of refs.
    """
    if isinstance(part, CallStart):
        values = {"attributes": part.attributes, "inputs": part.inputs}
        payload = Payload.unchecked(values, ("inputs",), at_once=at_once)
        payload.check_size()
        return start_fields(part, payload), payload.files
    payload = Payload.unchecked({"output": part.output, "summary": part.summary}, ("output",), at_once=at_once)
    kept = kept_of_summary(part.summary)
    payload.check_size(kept)
    return end_fields(part, payload, kept), payload.files


def start_fields(start: CallStart, payload: Payload) -> Document:
    """What a checked start stores by itself, its JSON made ready.

    Raises:
        BadInputError: the op's name is no name of an op.
    """
    trace_name = op_trace_name(start.op_name)
    return {
        **key(start.project_id, str(start.id)),
        "trace_id": start.trace_id,
        "op_name": start.op_name,
        "op_trace_name": trace_name,
        "started_at": start.started_at,
        "wb_user_id": start.wb_user_id,
        **_given(
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
        **payload.mirrors,
        "json": payload.texts,
        "start_size_bytes": payload.size_bytes,
    }


def _turn_of(start: CallStart) -> str | None:
    """The thread that a call is a turn of, and not just a step in one of its turns."""
    return start.thread_id or None if start.turn_id == start.id else None


def end_fields(end: CallEnd, payload: Payload, kept: Document) -> Document:
    """What a checked end stores by itself, its JSON made ready, and what is kept of its summary."""
    return {
        **key(end.project_id, end.id),
        "ended_at": end.ended_at,
        "status": _status(end),
        **_given(
            exception=end.exception or None,
            wb_run_step_end=end.wb_run_step_end,
            output_refs=payload.refs["output"] or None,
        ),
        **kept,
        **payload.mirrors,
        "json": payload.texts,
        "end_size_bytes": payload.size_bytes,
    }


def kept_of_summary(summary: object, scope: str | None = None) -> Document:
    """The fields of a call that repeat the usage in its summary; none if that names no model."""
    scope = scope or usage_scope(summary)
    usage = kept_usage(summary, sums_up=scope == SUM)
    return usage | {"usage_scope": scope} if usage else {}


def _given(**fields: object) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


def _status(end: CallEnd) -> str:
    if end.exception:
        return "error"
    counts = end.summary.get("status_counts") if isinstance(end.summary, dict) else None
    errors = counts.get("error") if isinstance(counts, dict) else None
    return "descendant_error" if isinstance(errors, int | float) and errors > 0 else "success"
