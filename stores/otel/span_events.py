"""Log records with messages of a span, which its call keeps beside its own fields.

If the span itself has no inputs or no output, those of the records become its inputs or output, and the columns of the
call follow. The records stay, so the order and number of spans and records do not matter. A record changes only a call
of the trace that it names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import UpdateOne

from stores.calls import CallsStore
from stores.calls.documents import (
    Document,
    StoredPart,
    end_column_fields,
    key_fields,
    length_of,
    part_update,
    payload_fields,
    start_column_fields,
)
from stores.calls.store import upsert, with_keys, write_updates
from stores.database.content_store import batches
from stores.database.error_translation import translate_driver_errors
from stores.digests import text_digest
from stores.errors import PayloadTooLargeError, StoreError
from stores.ids import group_by_project
from stores.json import AnyJson, codec
from stores.json.bson_copy import INT64
from stores.otel.logs import LogRecord, derived_id, span_of_event
from stores.otel.mapping import payload_of_events
from stores.rollups.marks import marked_hours
from stores.senders.attributes import EVENT_ATTRIBUTES, EVENT_MESSAGES, nested

_MESSAGES: Final = frozenset(name for events in EVENT_MESSAGES.values() for name in events)
_NAMES: Final = _MESSAGES.union(*EVENT_ATTRIBUTES.values())
_EMPTY: Final = ("{}", "null")
_SIDES: Final = {
    "inputs": ("attributes", ("start_size_bytes", "op_trace_name", "started_at", "parent_id", "thread_id", "turn_id")),
    "output": ("summary", ("end_size_bytes", "exception", "usage", "usage_scope")),
}
"""By the side of a call, the other text and the fields, first the size, from which the size and the columns derive."""

_ATTEMPTS: Final = 10
_BATCH: Final = 100

MAX_LOGGED_BYTES: Final = 1024 * 1024
"""Limit on the JSON texts of all records of a call, so that they fit into a document beside any span."""


@dataclass(slots=True)
class SpanEvent:
    """A record with messages of a span, which its call keeps by `key`."""

    project_id: str
    span_id: str
    key: str
    stored: Document


def event_of(record: LogRecord, project_id: str) -> SpanEvent | None:
    """Return the messages in a record; None if it has another name.

    Raises:
        BadInputError: it refers to no span.
    """
    name = next((name for name in record.names if name in _NAMES), None)
    if name is None:
        return None
    span_id = span_of_event(record.span_id, name, record.trace_id)
    if isinstance(record.body, dict):
        value = record.body if name in _MESSAGES else nested(record.attributes | record.body)
    else:
        value = nested(record.attributes)
        if record.body not in (None, name):
            value["content"] = record.body
    text = codec.encode(value)
    stored = {"at": min(record.at, INT64 - 1), "name": name, "text": text, "trace_id": record.trace_id}
    return SpanEvent(project_id, span_id, derived_id(16, record.at, name, text, record.trace_id), stored)


async def write(calls: CallsStore, events: Sequence[SpanEvent]) -> list[StoreError | None]:
    """Store records and add them to their calls; return the error of each one for which its call has no room."""
    registered = await calls.database.ensure_projects_listed({event.project_id for event in events})
    keys = {(event.project_id, event.span_id) for event in events}
    async with marked_hours(calls.database, registered, stored=with_keys(key_fields(*key)["_id"] for key in keys)):
        await write_updates(calls.database.calls, list(map(_update, events)))
    stored = await _stored_keys(calls, keys, events)
    await _merge(calls, keys)
    return [
        None
        if (event.project_id, event.span_id, event.key) in stored
        else PayloadTooLargeError(
            f"the span {event.span_id} has no room for it; the limit is {MAX_LOGGED_BYTES:,} bytes of all its records"
        )
        for event in events
    ]


def _update(event: SpanEvent) -> UpdateOne:
    """Build the update that stores a new record if its call has room."""
    fields, logged = key_fields(event.project_id, event.span_id), f"logged.{event.key}"
    size = {"$add": [{"$ifNull": ["$logged_bytes", 0]}, len(event.stored["text"].encode())]}
    fits = {"$and": [{"$eq": [{"$type": f"${logged}"}, "missing"]}, {"$lte": [size, MAX_LOGGED_BYTES]}]}
    own, *derived = part_update(fields)
    own["$set"][logged] = {"$cond": [fits, {"$literal": event.stored}, f"${logged}"]}
    own["$set"]["logged_bytes"] = {"$cond": [fits, size, "$logged_bytes"]}
    return upsert(fields, [own, *derived])


async def _stored_keys(
    calls: CallsStore, keys: Iterable[tuple[str, str]], events: Iterable[SpanEvent]
) -> set[tuple[str, str, str]]:
    """Return project, span and key of the records that are stored."""
    fields = {"project_id": 1, "id": 1} | {f"logged.{event.key}.at": 1 for event in events}
    found = set()
    for project_id, span_ids in group_by_project(keys):
        ids = [key_fields(project_id, span_id)["_id"] for span_id in span_ids]
        async for call in calls.database.calls.find({"_id": {"$in": ids}, "project_id": project_id}, fields):
            found |= {(project_id, call["id"], key) for key in call.get("logged", {})}
    return found


async def add_to_calls(calls: CallsStore, parts: Iterable[StoredPart]) -> None:
    """Add the stored records to calls of which the spans have just been stored without inputs or output.

    A call that did not exist before has none: the request that stores a record later adds it itself.
    """
    keys = {
        (part.fields["project_id"], part.fields["id"])
        for part in parts
        if any(part.fields["json"].get(side) in _EMPTY for side in _SIDES)
    }
    if keys:
        await _merge(calls, keys)


async def _merge(calls: CallsStore, keys: Iterable[tuple[str, str]]) -> None:
    for chunk in batches(sorted(keys), _BATCH):
        remaining = [key_fields(*key) for key in chunk]
        for _ in range(_ATTEMPTS):
            remaining = await _merge_once(calls, remaining)
            if not remaining:
                break


async def _merge_once(calls: CallsStore, keys: list[Document]) -> list[Document]:
    """Add records to calls; return the keys of calls that other requests changed meanwhile."""
    match = {
        "_id": {"$in": [key["_id"] for key in keys]},
        "project_id": {"$in": sorted({key["project_id"] for key in keys})},
        "logged": {"$exists": True},
        "visible": True,
    }
    texts = (f"json.{text}" for side, (other, _) in _SIDES.items() for text in (side, other))
    sources = (name for _, names in _SIDES.values() for name in names)
    fields = dict.fromkeys(("project_id", "id", "trace_id", "logged", "merged", *texts, *sources), 1)
    changed = []
    async for call in calls.database.calls.find(match, fields):
        key = key_fields(call["project_id"], call["id"])
        events = [event for event in call["logged"].values() if event["trace_id"] == call["trace_id"]]
        for side, (other, names) in _SIDES.items():
            text, merged = call["json"].get(side), call.get("merged", {}).get(side)
            if text is None or (text not in _EMPTY and text_digest(text) != merged):
                continue  # not ended yet, or the span has its own
            value = _payload(events, side)
            new = payload_fields(side, value) if value else None
            if new is None or new["json"][side] == text:
                continue
            new |= {f"merged.{side}": text_digest(new["json"][side]), **_columns(call, side, value)}
            new[names[0]] = call[names[0]] + length_of(new["json"][side]) - length_of(text)
            # The columns derive from these fields, so the update applies only if nobody changed them meanwhile.
            unchanged = {f"json.{text}": call["json"].get(text) for text in (side, other)}
            unchanged |= {name: call.get(name) for name in names}
            if due := calls.database.search_marks([call["project_id"]]).get(call["project_id"]):
                new["search_due"] = due
            registered = await calls.database.ensure_projects_listed({call["project_id"]})
            try:
                with translate_driver_errors():
                    async with marked_hours(calls.database, registered, stored=key):
                        found = await calls.database.calls.update_one(key | unchanged, part_update(new))
            except PayloadTooLargeError:
                continue  # the document has no room for them as inputs or output too
            if not found.matched_count:
                changed.append(key)
    return changed


def _columns(call: Document, side: str, value: AnyJson) -> Document:
    """Return the fields of the columns that follow from the new inputs or output of a call."""
    other = codec.loads(call["json"].get(_SIDES[side][0], "null").encode())
    return start_column_fields(call, other, value) if side == "inputs" else end_column_fields(call, value, other)


def _payload(logged: Iterable[Document], side: str) -> AnyJson:
    events: list[dict[str, Any]] = [
        {"name": event["name"], "attributes": codec.loads(event["text"].encode())}
        for event in sorted(logged, key=lambda event: (event["at"], event["text"]))
    ]
    return payload_of_events(events, _decoded, side)


def _decoded(value: AnyJson) -> AnyJson:
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return codec.loads(value.encode())
        except StoreError:
            return value
    return value
