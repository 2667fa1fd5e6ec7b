"""Conversion of document changes into events of calls."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from stores import times
from stores.calls.documents import FIELDS_WITHOUT_EVENTS
from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent

if TYPE_CHECKING:
    from datetime import datetime

Pipeline = list[dict[str, Any]]

_PATH_LISTS: Final = (
    {"$map": {"input": {"$objectToArray": "$updateDescription.updatedFields"}, "in": "$$this.k"}},
    "$updateDescription.removedFields",
    {"$map": {"input": "$updateDescription.truncatedArrays", "in": "$$this.field"}},
)
_CHANGED_PATHS: Final[dict[str, Any]] = {"$concatArrays": [{"$ifNull": [part, []]} for part in _PATH_LISTS]}
"""The paths that an update changed."""


def change_pipeline(project_ids: Iterable[str] | None) -> Pipeline:
    """Build the change stream's pipeline for some projects, or for all; its output is the input of `to_event`.

    MongoDB filters by document key while it reads the oplog, so changes of other projects cost next to nothing.
    """
    in_projects = [{"documentKey._id": {"$gt": f"{each}:", "$lt": f"{each};"}} for each in sorted(project_ids or ())]
    is_write = {"operationType": {"$in": ["insert", "update", "replace"]}}
    return [{"$match": is_write if project_ids is None else {**is_write, "$or": in_projects}}, *_EVENT_STAGES]


_EVENT_STAGES: Final[Pipeline] = [
    # Backfilled fields (`calls_backfill`) and text indexing are no events.
    {
        "$match": {
            "$expr": {
                "$or": [
                    {"$ne": ["$operationType", "update"]},
                    {"$not": [{"$setIsSubset": [_CHANGED_PATHS, list(FIELDS_WITHOUT_EVENTS)]}]},
                ]
            }
        }
    },
    {"$set": {"changed": _CHANGED_PATHS, "visible": "$updateDescription.updatedFields.visible"}},
    # BSON copies are half of a document, and the document already contains what an update wrote; neither is sent.
    {
        "$project": dict.fromkeys((f"fullDocument.{name}" for name in ("inputs", "output", "attributes", "summary")), 0)
        | {"updateDescription": 0, "documentKey": 0, "ns": 0}
    },
]


def token_of(change: Mapping[str, Any]) -> str:
    """Return a change's resume token; tokens sort lexically."""
    token: str = change["_id"]["_data"]
    return token


def age_seconds(change: Mapping[str, Any]) -> float:
    """Return a change's age in seconds, by MongoDB's clock and ours.

    It is 0 if MongoDB's clock is ahead of ours, or if the change has no time.
    """
    written_at: datetime | None = change.get("wallTime")
    return max(0.0, (times.now() - times.from_datetime(written_at)) / 1e6) if written_at else 0.0


def to_event(change: Mapping[str, Any], cursors: Cursors) -> CallEvent | None:
    """Convert a change to an event; None if it is no event. A call written whole gives `ended`.

    An update carries the call as it is when the change is read, perhaps later. A call that is removed by then gives no
    event.
    """
    call = change.get("fullDocument")
    if not call:
        return None
    event_type = (
        _event_type_of_write(call) if change["operationType"] != "update" else _event_type_of_update(change, call)
    )
    return CallEvent(event_type, call, token_of(change), cursors) if event_type else None


def _event_type_of_write(call: Mapping[str, Any]) -> str | None:
    if not call.get("visible"):
        return None
    return "ended" if "ended_at" in call else "started"


def _event_type_of_update(change: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    changed = set(change.get("changed") or ())
    visible_after = change.get("visible")
    if visible_after is False and "started_at" in call:
        # An end that deletes a call before its start hides nothing.
        return "deleted"
    if visible_after is None and not _was_visible(change, call):
        return None
    if "ended_at" in changed or (visible_after and "ended_at" in call):
        return "ended"
    return "started" if visible_after or "started_at" in changed else "updated"


def _was_visible(change: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    """Return True if the call was visible at an update that neither showed nor hid it, even if it is deleted now."""
    if call.get("visible"):
        return True
    written_at: datetime | None = change.get("wallTime")
    deleted_at = call.get("deleted_at")
    # Both times are MongoDB's, in milliseconds: a tie is delivered rather than missed.
    return bool(
        "started_at" in call and deleted_at is not None and written_at and times.from_datetime(written_at) <= deleted_at
    )
