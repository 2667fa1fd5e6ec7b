"""What happens to calls: changes of their documents, told in terms of calls."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from stores import times
from stores.calls.documents import UNTOLD
from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent

if TYPE_CHECKING:
    from datetime import datetime

Pipeline = list[dict[str, Any]]

_PARTS: Final = (
    {"$map": {"input": {"$objectToArray": "$updateDescription.updatedFields"}, "in": "$$this.k"}},
    "$updateDescription.removedFields",
    {"$map": {"input": "$updateDescription.truncatedArrays", "in": "$$this.field"}},
)
_CHANGED: Final[dict[str, Any]] = {"$concatArrays": [{"$ifNull": [part, []]} for part in _PARTS]}
"""The paths that an update changed."""


def changes_of(project_ids: Iterable[str] | None) -> Pipeline:
    """What a change stream over the calls has to do to the changes of some projects, or of all, for `event_of`.

    MongoDB looks for them by the keys of the documents already where it reads what all have written, so that changes
    of other projects cost next to nothing.
    """
    mine = [{"documentKey._id": {"$gt": f"{each}:", "$lt": f"{each};"}} for each in sorted(project_ids or ())]
    written = {"operationType": {"$in": ["insert", "update", "replace"]}}
    return [{"$match": written if project_ids is None else {**written, "$or": mine}}, *_CHANGES]


_CHANGES: Final[Pipeline] = [
    # What older calls lack is filled in (`calls_backfill`), and texts are indexed: nothing happens to a call by that.
    {
        "$match": {
            "$expr": {
                "$or": [{"$ne": ["$operationType", "update"]}, {"$not": [{"$setIsSubset": [_CHANGED, list(UNTOLD)]}]}]
            }
        }
    },
    {"$set": {"changed": _CHANGED, "visible": "$updateDescription.updatedFields.visible"}},
    # The mirrors are half of a document, and what an update wrote is in the document: neither is sent.
    {
        "$project": dict.fromkeys((f"fullDocument.{name}" for name in ("inputs", "output", "attributes", "summary")), 0)
        | {"updateDescription": 0, "documentKey": 0, "ns": 0}
    },
]


def place_of(change: Mapping[str, Any]) -> str:
    """Where a change stands among all changes; places are in order as texts are."""
    place: str = change["_id"]["_data"]
    return place


def age_of(change: Mapping[str, Any]) -> float:
    """How long ago a change was made, in seconds, by MongoDB's clock and ours.

    It was made just now where MongoDB's is ahead of ours, or does not say.
    """
    made: datetime | None = change.get("wallTime")
    return max(0.0, (times.now() - times.from_datetime(made)) / 1e6) if made else 0.0


def event_of(change: Mapping[str, Any], cursors: Cursors) -> CallEvent | None:
    """What a change means to whoever sees calls; None if it is nothing. A call written whole has `ended`.

    An update comes with the call as it is when the change is read, which may be later. None is told of a call that is
    removed by then.
    """
    call = change.get("fullDocument")
    if not call:
        return None
    happened = _written(call) if change["operationType"] != "update" else _updated(change, call)
    return CallEvent(happened, call, place_of(change), cursors) if happened else None


def _written(call: Mapping[str, Any]) -> str | None:
    if not call.get("visible"):
        return None
    return "ended" if "ended_at" in call else "started"


def _updated(change: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    changed = set(change.get("changed") or ())
    shown = change.get("visible")
    if shown is False and "started_at" in call:
        # An end that deletes what had not started hides nothing.
        return "deleted"
    if shown is None and not _was_visible(change, call):
        return None
    if "ended_at" in changed or (shown and "ended_at" in call):
        return "ended"
    return "started" if shown or "started_at" in changed else "updated"


def _was_visible(change: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    """Whether a call that an update neither showed nor hid was to be seen then; by now it may be deleted."""
    if call.get("visible"):
        return True
    written: datetime | None = change.get("wallTime")
    deleted_at = call.get("deleted_at")
    # Both are by MongoDB's clock, to the millisecond: what came in the same one is told rather than missed.
    return bool(
        "started_at" in call and deleted_at is not None and written and times.from_datetime(written) <= deleted_at
    )
