"""What happens to calls: changes of their documents, told in terms of calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.calls.documents import UNTOLD
from stores.paging import Row


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One change of one call: `started`, `ended`, `updated` or `deleted`, and the call as it is by then."""

    type: str
    call: Row


CHANGES: Final[list[dict[str, Any]]] = [
    {"$match": {"operationType": {"$in": ["insert", "update", "replace"]}}},
    {
        "$set": {
            "changed": {"$map": {"input": {"$objectToArray": "$updateDescription.updatedFields"}, "in": "$$this.k"}}
        }
    },
    # What older calls lack is filled in (`stores.upgrades`), and texts are indexed: nothing happens to a call by that.
    {
        "$match": {
            "$expr": {
                "$or": [
                    {"$not": [{"$isArray": "$changed"}]},
                    {"$eq": ["$changed", []]},
                    {"$not": [{"$setIsSubset": ["$changed", list(UNTOLD)]}]},
                ]
            }
        }
    },
    # The mirrors are half of a document, and what an update wrote is in the document: neither is sent.
    {
        "$project": dict.fromkeys((f"fullDocument.{name}" for name in ("inputs", "output", "attributes", "summary")), 0)
        | {"updateDescription": 0, "documentKey": 0, "ns": 0}
    },
]
"""What a change stream over the calls has to do to its changes before `event_of` can read them."""


def event_of(change: Mapping[str, Any]) -> CallEvent | None:
    """What a change means to whoever sees calls; None if it is nothing. A call written whole has `ended`."""
    row: Row = change.get("fullDocument") or {}
    happened = _happened(row, set(change.get("changed") or ()))
    return CallEvent(happened, row) if happened else None


def _happened(row: Row, changed: set[str]) -> str | None:
    if not row.get("visible"):
        return "deleted" if "visible" in changed else None
    if "ended_at" in (changed or row) or ("visible" in changed and "ended_at" in row):
        return "ended"
    return "started" if not changed or "visible" in changed or "started_at" in changed else "updated"
