"""What happens to a project's calls, as it happens: a change stream, told in terms of calls."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from stores.calls.fields import paths_of
from stores.database import Collection
from stores.paging import Row

_ALWAYS: Final = ("id", "visible", "ended_at")


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One change of one call: `started`, `ended`, `updated` or `deleted`, and the call as it is by then."""

    type: str
    call: Row


async def call_events(calls: Collection, project_id: str, wanted: Iterable[str]) -> AsyncIterator[CallEvent]:
    """The changes of a project's calls from now on, each with the wanted fields; a call written whole has `ended`."""
    paths = [f"fullDocument.{path}" for path in (*paths_of(wanted), *_ALWAYS)]
    pipeline: list[dict[str, Any]] = [
        {"$match": {"fullDocument.project_id": project_id}},
        {"$set": {"changed": {"$objectToArray": "$updateDescription.updatedFields"}}},
        {"$project": dict.fromkeys(dict.fromkeys(paths), 1) | {"operationType": 1, "changed.k": 1}},
    ]
    async with calls.watch(pipeline, full_document="updateLookup") as changes:
        async for change in changes:
            row = change["fullDocument"]
            happened = _happened(row, {field["k"] for field in change.get("changed") or ()})
            if happened:
                yield CallEvent(happened, row)


def _happened(row: Row, changed: set[str]) -> str | None:
    if not row.get("visible"):
        return "deleted" if "visible" in changed else None
    if "ended_at" in (changed or row) or ("visible" in changed and "ended_at" in row):
        return "ended"
    return "started" if not changed or "visible" in changed or "started_at" in changed else "updated"
