"""The document of a call, and the updates that a start, an end, a rename and a delete apply to it.

Each update sets its own fields, then recomputes the fields derived from several updates. They may therefore arrive in
any order and any number of times. A call is `visible` once it has started and until it is deleted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from bson import encode as bson_encode

from stores import digests, refs
from stores.calls.inputs import CallEnd, CallStart, CallWrite, op_trace_name
from stores.errors import PayloadTooLargeError, StoreError
from stores.files import NewFile
from stores.files.data_urls import extract_data_urls, may_hold_data_urls
from stores.json import codec
from stores.json.bson_copy import to_bson, traits_of
from stores.senders import columns
from stores.senders.attributes import Attributes
from stores.usage.entries import SUM, kept_usage, usage_scope

Document = dict[str, Any]
Pipeline = list[dict[str, Any]]

KEY_FIELDS: Final = ("_id", "project_id", "id")
"""The fields that identify a call's document, also in a sharded collection."""

_START_COLUMNS: Final = "start_columns"
_END_COLUMNS: Final = "end_columns"
"""Fields with the columns of `columns.SHARED` as the start and the end give them."""

_MEMBERS: Final = frozenset({*columns.SHARED, columns.SUMS_UP})
"""Members of both fields; only a start has `columns.SUMS_UP`."""

START_COLUMN_FIELDS: Final = (*columns.OF_START, _START_COLUMNS)
END_COLUMN_FIELDS: Final = (_END_COLUMNS,)
"""Fields of the normalised columns that derive from a start and from an end alone."""

COLUMN_FIELDS: Final = (*START_COLUMN_FIELDS, *END_COLUMN_FIELDS, *columns.SHARED)
"""All fields of the normalised columns but `thread_id`; the shared ones follow from both parts."""

DERIVED_FIELDS: Final = (
    "turn_of",
    "usage",
    "total_tokens",
    "usage_scope",
    "example_digest",
    *COLUMN_FIELDS,
)
"""Fields that LoomQL derives from the client's data; they change only together with it."""

SEARCH_FIELDS: Final = ("search_due", "search_segment")
"""State of a call in its project's text index; both fields are absent in projects without one.

A write sets `search_due` to a new id for the indexer and removes `search_segment`, the index segment that contains the
call's current text. The index does not know a call with neither field, so the indexer searches for such calls.
"""

FIELDS_WITHOUT_EVENTS: Final = (
    *DERIVED_FIELDS,
    *(f"{part}.{name}" for part in (_START_COLUMNS, _END_COLUMNS) for name in sorted(_MEMBERS)),
    *SEARCH_FIELDS,
)
"""Fields whose update alone is no event."""

DERIVED_VERSION: Final = 7
"""Version of `DERIVED_FIELDS`. Raise it when they change: `calls_backfill` updates older calls to the new version."""

MAX_BYTES: Final = 7_700_000
"""BSON bytes of one start's or end's JSON; both fit into MongoDB's 16 MiB with the rest of the document."""

MAX_GROWTH: Final = 21
"""Factor by which text, BSON copy, refs and usage together may exceed the text; models without counts come closest."""

MAX_QUICK_LENGTH: Final = 256 * 1024
"""Characters of a value that may be prepared on the event loop; longer or odd values need a thread."""

PREDICTION_OPS: Final = r"(^|[.-])predict(_and_s|AndS)core$"
"""Op names of prediction calls, as Weave's Python and TypeScript clients generate them."""

_IS_PREDICTION: Final = re.compile(PREDICTION_OPS)
_ROW: Final = re.compile(r"/id/([0-9A-Za-z]{43})$")
_SCHEMES: Final = tuple(f'"{scheme}' for scheme in (refs.SCHEME, refs.ARTIFACT_SCHEME, refs.INTERNAL_SCHEME))

TURN_OF: Final[Document] = {
    "$cond": [{"$and": [{"$gt": ["$thread_id", ""]}, {"$eq": ["$turn_id", "$id"]}]}, "$thread_id", "$$REMOVE"]
}
"""The aggregation expression of `turn_of`, for stored calls; `start_column_fields` computes it for new ones."""


def _shared(name: str) -> Document:
    """Build the expression of a column that a start and an end may both give; compare `columns.merged`."""
    start, end = f"${_START_COLUMNS}.{name}", f"${_END_COLUMNS}.{name}"
    of_end = {"$cond": [f"${_START_COLUMNS}.{columns.SUMS_UP}", None, end]} if name in columns.OF_USAGE else end
    return {"$ifNull": [*((of_end, start) if name in columns.END_WINS else (start, of_end)), "$$REMOVE"]}


SHARED_EXPRESSIONS: Final[Document] = {name: _shared(name) for name in columns.SHARED}
"""The aggregation expressions of the columns that a start and an end may both give."""

_DERIVED_EXPRESSIONS: Final[Document] = {
    "visible": {"$and": [{"$isNumber": "$started_at"}, {"$not": [{"$isNumber": "$deleted_at"}]}]},
    "status": {"$ifNull": ["$status", "running"]},
    "trace_name": {"$ifNull": ["$display_name", "$op_trace_name", "$$REMOVE"]},
    "storage_size_bytes": {
        "$add": [{"$ifNull": [f"${part}_size_bytes", 0]} for part in ("start", "end", "output")],
    },
    "latency_ms": {
        "$cond": [
            {"$and": [{"$isNumber": "$started_at"}, {"$isNumber": "$ended_at"}]},
            {"$toLong": {"$floor": {"$divide": [{"$toDecimal": {"$subtract": ["$ended_at", "$started_at"]}}, 1000]}}},
            "$$REMOVE",
        ]
    },
    **SHARED_EXPRESSIONS,
}


def key_fields(project_id: str, call_id: str) -> Document:
    """Return the fields that identify a call; project ids contain no colon, so `_id` is unique."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id, "id": call_id}


def whole_call(start: Document, end: Document | None) -> Document:
    """Build the complete document of a call that is not stored yet from the fields of its start and end."""
    merged = start | (end or {"status": "running"})
    texts = merged["json"] = start["json"] | merged["json"]
    document = {name: value for name, value in merged.items() if value is not None or name in texts}
    document["visible"] = True
    document["trace_name"] = document.get("display_name") or document["op_trace_name"]
    document["storage_size_bytes"] = document["start_size_bytes"] + document.get("end_size_bytes", 0)
    document |= shared_columns(document)
    if end:
        document["latency_ms"] = (end["ended_at"] - start["started_at"]) // 1000
    return document


def shared_columns(document: Document) -> columns.Columns:
    """Return the columns that a start and an end may both give, as `SHARED_EXPRESSIONS` computes them."""
    return columns.merged(document.get(_START_COLUMNS) or {}, document.get(_END_COLUMNS) or {})


def start_update(start: Document, *, ends_rename: bool) -> Pipeline:
    """Build the update of a start; a display name set by a rename survives unless `ends_rename`."""
    if ends_rename:
        return part_update(start, {"renamed": "$$REMOVE"})
    name = "$$REMOVE" if start["display_name"] is None else {"$literal": start["display_name"]}
    return part_update(start, {"display_name": {"$cond": ["$renamed", "$display_name", name]}})


def rename_update(display_name: str, wb_user_id: str, search_due: str | None = None) -> Pipeline:
    """Build the update of a rename; an empty name removes the display name."""
    display = {"display_name": display_name or None, "search_due": search_due}
    return part_update({"renamed": True, "renamed_by": wb_user_id, **display})


def delete_update(wb_user_id: str) -> Pipeline:
    """Build the update of a delete; repeated deletes keep the first time and user.

    The time is MongoDB's clock, which also timestamps changes, so the two can be compared.
    """
    first_values = {"deleted_at": {"$multiply": [{"$toLong": "$$NOW"}, 1000]}, "deleted_by": {"$literal": wb_user_id}}
    return part_update({}, {name: {"$ifNull": [f"${name}", value]} for name, value in first_values.items()})


def part_update(fields: Document, computed: Document | None = None) -> Pipeline:
    """Build the update that stores some fields and removes those that are None, except for nulls in the JSON."""
    texts = fields.get("json", {})
    own: Document = {
        name: "$$REMOVE" if value is None and name not in texts else {"$literal": value}
        for name, value in (dict.fromkeys(SEARCH_FIELDS) | fields).items()
        if name not in KEY_FIELDS and name != "json"
    }
    own |= {f"json.{name}": {"$literal": text} for name, text in texts.items()}
    return [{"$set": own | (computed or {})}, {"$set": _DERIVED_EXPRESSIONS}]


_OUTPUT_REASONS: Final = f"{_END_COLUMNS}.finish_reasons"
OUTPUT_FIELDS: Final = ("output", "output_refs", "output_size_bytes", _OUTPUT_REASONS)
"""Fields of an end that one part of a call may store alone, besides the output's JSON text."""


def with_single_columns(end: Document) -> Document:
    """Return the fields of an end with a field for each of its columns, so that two parts of a call may give them."""
    found = end[_END_COLUMNS] or {}
    rest = {name: value for name, value in end.items() if name != _END_COLUMNS}
    return rest | {f"{_END_COLUMNS}.{name}": found.get(name) for name in columns.SHARED}


def length_of(text: str) -> int:
    """Return the length that a JSON text has in the size of its call."""
    value = codec.loads(text.encode())
    return traits_of(value).default_length(value, text)


def payload_fields(name: str, value: object) -> Document:
    """Return the fields of inputs or output alone."""
    text = codec.encode(value)
    return {
        name: to_bson(value, traits_of(value)),
        f"{name.removesuffix('s')}_refs": _refs(value, text) or None,
        "json": {name: text},
    }


def ranked_update(fields: Document, register: str, rank: int) -> Pipeline:
    """Build the update that stores some fields if the register has no higher rank yet.

    Updates of one register thus give the same result in any order and number. The end of the call is the latest of all
    ends, whatever their rank.
    """
    field = f"ranks.{register}"
    wins = {"$gte": [rank, {"$ifNull": [f"${field}", rank]}]}
    own, *derived = part_update({**fields, field: rank})
    stored = {name: {"$cond": [wins, value, f"${name}"]} for name, value in own["$set"].items()}
    if "display_name" in fields:
        stored["display_name"] = {"$cond": ["$renamed", "$display_name", stored["display_name"]]}
    if "ended_at" in fields:
        stored["ended_at"] = {"$max": ["$ended_at", fields["ended_at"]]}
    return [{"$set": stored}, *derived]


@dataclass(slots=True)
class StoredPart:
    """The stored fields of a start or an end, and the files in its JSON.

    Fields that the call lacks are None.
    """

    fields: Document
    files: list[NewFile]

    @property
    def size_bytes(self) -> int:
        """Bytes of the part's JSON as text."""
        return int(self.fields.get("start_size_bytes") or self.fields.get("end_size_bytes") or 0)


def quick_texts(write: CallWrite) -> tuple[dict[str, str], bool]:
    """Encode the JSON values of a write that orjson can encode; True if the write may be prepared on the event loop."""
    texts: dict[str, str] = {}
    is_quick = True
    for name, value in write.json_values.items():
        text = codec.encode_plain(value)
        if text is not None:
            texts[name] = text
        is_quick = is_quick and text is not None and len(text) <= MAX_QUICK_LENGTH
    return texts, is_quick


def stored_part(write: CallWrite, texts: Mapping[str, str] = MappingProxyType({})) -> StoredPart:
    """Convert a checked start or end to its stored fields; empty display names and exceptions are dropped.

    Args:
        write: the start or the end.
        texts: its JSON texts, as far as they are encoded already.

    Raises:
        PayloadTooLargeError: if the JSON exceeds its part of a document.
        BadInputError: if a value exceeds `stores.json.paths`, or if a string in it uses the reserved ref scheme.
    """
    payload = _Payload({}, {}, {}, {}, [])
    for name, value in write.json_values.items():
        try:
            payload.add(name, value, texts.get(name), write)
        except StoreError as error:
            raise error.prefixed(name) from None
    if isinstance(write, CallStart):
        payload.check_size({})
        return StoredPart(_start_fields(write, payload), payload.files)
    usage_fields = summary_usage_fields(write.summary, write.usage_scope)
    payload.check_size(usage_fields)
    return StoredPart(_end_fields(write, payload, usage_fields), payload.files)


def start_column_fields(call: Document, attributes: object, inputs: object, read: Attributes | None = None) -> Document:
    """Return the stored fields of the columns that a start gives, None for those that it does not give.

    Args:
        call: the fields that the start gives directly, with `op_trace_name`; its thread wins over that of attributes.
        attributes: its attributes.
        inputs: its inputs.
        read: the attributes of its span, if they are laid out already.
    """
    found = columns.columns_of_start(
        call["op_trace_name"],
        attributes,
        inputs,
        call["started_at"],
        is_root=call.get("parent_id") is None,
        span_attributes=read,
    )
    fields: Document = dict.fromkeys(columns.OF_START)
    shared: Document = {}
    for name, value in found.items():
        (shared if name in _MEMBERS else fields)[name] = value
    thread_id, turn_id, starts_turn = call.get("thread_id"), call.get("turn_id"), fields.pop(columns.STARTS_TURN, False)
    if thread_id is None and (thread_id := fields.get("thread_id")) and turn_id is None and starts_turn:
        turn_id = call["id"]
    fields["thread_id"], fields["turn_id"] = thread_id, turn_id
    # Of a thread, only the calls that start a turn are turns; other calls are steps within one.
    fields["turn_of"] = (thread_id or None) if turn_id == call["id"] else None
    fields[_START_COLUMNS] = shared or None
    return fields


def end_column_fields(call: Document, output: object, summary: object) -> Document:
    """Return the stored fields of the columns that an end gives, None if it gives none.

    `call` has the end's `exception`, `usage` and `usage_scope`.
    """
    return {_END_COLUMNS: columns.columns_of_end(output, summary, call.get("exception"), call) or None}


def _refs(value: object, text: str) -> list[str]:
    """Return the refs in a value that has this JSON text."""
    # Few texts have the common part, which is faster to search for than all schemes.
    may_hold_refs = ":///" in text and any(scheme in text for scheme in _SCHEMES)
    return refs.collect(value) if may_hold_refs else []


@dataclass(slots=True)
class _Payload:
    """The JSON values of a start or an end in their stored forms, by name."""

    values: dict[str, object]
    texts: dict[str, str]
    bson_copies: dict[str, object]
    refs: dict[str, list[str]]
    files: list[NewFile]
    size_bytes: int = 0

    def add(self, name: str, value: object, text: str | None, write: CallWrite) -> None:
        """Add a value with its text, if that is known; long data URLs become files."""
        text = codec.encode(value) if text is None else text
        if name in write.values_with_files and may_hold_data_urls(text):
            value, extracted = extract_data_urls(value)
            text = codec.encode(value)
            self.files += extracted
        traits = traits_of(value)
        self.values[name] = value
        self.texts[name] = text
        self.bson_copies[name] = to_bson(value, traits)
        self.refs[name] = _refs(value, text)
        self.size_bytes += traits.default_length(value, text)

    def check_size(self, other_fields: dict[str, object]) -> None:
        """Check the size in BSON, including further stored fields.

        Raises:
            PayloadTooLargeError: if it exceeds `MAX_BYTES`.
        """
        texts = self.texts
        length = sum(map(len, texts.values()))
        if length * MAX_GROWTH <= MAX_BYTES:
            return
        # If the texts alone exceed the limit, skip the encoding, which blocks all threads.
        stored = {**self.bson_copies, "json": texts, "refs": self.refs, **other_fields}
        size = length if length > MAX_BYTES else len(bson_encode(stored))
        if size > MAX_BYTES:
            number = f"{size:,}" if size > length else f"more than {length:,}"
            raise PayloadTooLargeError(
                f"{' and '.join(texts)} take {number} bytes as stored (text, refs and the copy for queries); the limit "
                f"is {MAX_BYTES:,}; store large content elsewhere and send a reference",
                max(texts, key=lambda name: len(texts[name])),
            )


def _start_fields(start: CallStart, payload: _Payload) -> Document:
    trace_name = op_trace_name(start.op_name)
    fields = {
        **key_fields(start.project_id, str(start.id)),
        "trace_id": start.trace_id,
        "op_name": start.op_name,
        "op_trace_name": trace_name,
        "started_at": start.started_at,
        "wb_user_id": start.wb_user_id,
        "display_name": start.display_name or None,
        "parent_id": start.parent_id,
        "thread_id": start.thread_id,
        "turn_id": start.turn_id,
        "wb_run_id": start.wb_run_id,
        "wb_run_step": start.wb_run_step,
        "input_refs": payload.refs["inputs"] or None,
        "example_digest": example_digest(trace_name, payload.values["inputs"]),
        **payload.bson_copies,
        "json": payload.texts,
        "start_size_bytes": payload.size_bytes,
    }
    fields |= start_column_fields(fields, start.attributes, start.inputs, start.span_attributes)
    return fields


def _end_fields(end: CallEnd, payload: _Payload, usage_fields: Document) -> Document:
    fields = {
        **key_fields(end.project_id, end.id),
        "ended_at": end.ended_at,
        "status": _status(end),
        "exception": end.exception or None,
        "wb_run_step_end": end.wb_run_step_end,
        "output_refs": payload.refs["output"] or None,
        **dict.fromkeys(("usage", "total_tokens", "usage_scope", "output_size_bytes")),
        **usage_fields,
        **payload.bson_copies,
        "json": payload.texts,
        "end_size_bytes": payload.size_bytes,
    }
    fields |= end_column_fields(fields, end.output, end.summary)
    return fields


def summary_usage_fields(summary: object, scope: str | None = None) -> Document:
    """Return the fields derived from the usage in a summary; empty if the summary names no model."""
    scope = scope or usage_scope(summary)
    usage = kept_usage(summary, sums_up=scope == SUM)
    return usage | {"usage_scope": scope} if usage else {}


def example_digest(op_trace_name: str, inputs: object) -> str | None:
    """Return the digest of the dataset example in a prediction's inputs; None for any other call.

    Evaluations group their results by it. An example is either a ref to a table row, which ends in the row's digest, or
    an inline value. An inline value gets the digest that it would have as a row, so equal examples match across runs
    and datasets. The exception are examples with long data URLs: calls store these as files, rows do not.
    """
    if not _IS_PREDICTION.search(op_trace_name) or not isinstance(inputs, dict) or "example" not in inputs:
        return None
    example = inputs["example"]
    return row_digest(example) or digests.object_digest(example)


def row_digest(example: object) -> str | None:
    """Return the row digest at the end of a ref to a row; None for any other value."""
    if not isinstance(example, str) or not example.startswith(refs.SCHEME):
        return None
    match = _ROW.search(example)
    return match[1] if match else None


def _status(end: CallEnd) -> str:
    if end.exception:
        return "error"
    counts = end.summary.get("status_counts") if isinstance(end.summary, dict) else None
    errors = counts.get("error") if isinstance(counts, dict) else None
    return "descendant_error" if isinstance(errors, int | float) and errors > 0 else "success"
