"""What remains of what is no more.

That is: deleted calls, parts of calls that never started, values of deleted objects, feedback on calls not there.
"""

from functools import partial
from typing import Any, Final

from stores import times
from stores.database import Database, Document
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.objects.documents import EMPTY
from stores.retention.rules import GracePeriods
from stores.retention.sweep_state import SweepLease
from stores.retention.trace_sweep import orphans_of, remove_calls, remove_orphaned

_STEP: Final = 500
_OBJECTS_AT_ONCE: Final = 50


class TombstoneSweep:
    """The removal of a project's remains, each after its time."""

    def __init__(self, database: Database, hold: SweepLease, patience: GracePeriods) -> None:
        self._database = database
        self._hold = hold
        now = times.now()
        self._deleted = now - patience.deleted
        self._spoken_of = now - patience.feedback

    async def steps(self) -> WorkSteps:
        """Remove them, some at a time."""
        deleted = deleted_calls(self._hold.project_id, self._deleted)
        while last := await self._database.transaction(partial(self._remove_some, match=deleted)):
            # MongoDB steps over what was removed lately, key by key.
            deleted["deleted_at"]["$gte"] = last["deleted_at"]
            yield
        while await self._database.transaction(partial(self._remove_some, match=self._unstarted())):
            yield
        while await self._mark_unstarted():
            yield
        while await self._database.transaction(self._empty_some):
            yield
        async for _ in self._remove_orphans():
            yield

    async def _remove_some(self, session: Session, match: Document) -> Document | None:
        """Remove some hidden calls that match, with the feedback on them; the one that was deleted last, or None."""
        paths = {"id": 1, "deleted_at": 1}
        found = self._database.calls.find(match, paths, sort=[("deleted_at", 1)], limit=_STEP, session=session)
        calls: list[Document] = await found.to_list(None)
        call_ids = [call["id"] for call in calls]
        await remove_calls(self._database, self._hold, session, call_ids, {"hidden_calls": len(call_ids)})
        return calls[-1] if calls else None

    def _unstarted(self) -> Document:
        return {**_never_started(self._hold.project_id), "unstarted_since": {"$lt": self._deleted}}

    async def _mark_unstarted(self) -> int:
        """Mark ends and names whose start has not come: nothing else tells how long they have been there. How many."""
        calls = self._database.calls
        match = {**_never_started(self._hold.project_id), "unstarted_since": None}
        keys = [call["_id"] for call in await calls.find(match, {"_id": 1}, limit=_STEP).to_list(None)]
        if keys:
            await self._hold.advance()
            await calls.update_many({**match, "_id": {"$in": keys}}, {"$set": {"unstarted_since": times.now()}})
        return len(keys)

    async def _empty_some(self, session: Session) -> int:
        """Let go of the values of some versions that are deleted; their place among the others stays."""
        objects = self._database.objects
        match = deleted_values(self._hold.project_id, self._deleted)
        found = objects.find(match, {"_id": 1}, limit=_OBJECTS_AT_ONCE, session=session)
        keys = [version["_id"] for version in await found.to_list(None)]
        if keys:
            emptied = {"$set": EMPTY, "$unset": {"refs": ""}}
            await objects.update_many({**match, "_id": {"$in": keys}}, emptied, session=session)
            await self._hold.advance(session=session)
        return len(keys)

    async def _remove_orphans(self) -> WorkSteps:
        """Remove feedback on calls that are not there; each is looked at once, when its time has come.

        What goes with its call later goes in the same step.
        """
        feedback = self._database.feedback
        began: Document = {"$gte": self._hold.state.get("feedback_checked_until", 0), "$lt": self._spoken_of}
        match: Document = {"project_id": self._hold.project_id, "created_at": began}
        paths = {"id": 1, "call_id": 1, "created_at": 1}
        order = [("created_at", 1), ("id", 1)]
        while rows := await feedback.find(match, paths, sort=order, limit=_STEP).to_list(None):
            on_calls = {row["_id"]: row["call_id"] for row in rows if "call_id" in row}
            orphans = await orphans_of(self._database, self._hold.project_id, on_calls)
            if orphans:
                await self._database.transaction(partial(remove_orphaned, self._database, self._hold, on_calls=orphans))
            began["$gte"] = at = rows[-1]["created_at"]
            match["$or"] = [{"created_at": {"$gt": at}}, {"created_at": at, "id": {"$gt": rows[-1]["id"]}}]
            await self._hold.advance(feedback_checked_until=at)
            yield


def deleted_calls(project_id: str, before: int) -> Document:
    """The match of calls that were deleted before a time."""
    return {"project_id": project_id, "deleted_at": {"$lt": before}}


def deleted_values(project_id: str, before: int) -> Document:
    """The match of versions that were deleted before a time and still have their values."""
    is_full: Any = {"$ne": EMPTY["json"]["val"]}
    return {"project_id": project_id, "visible": False, "deleted_at": {"$lt": before}, "json.val": is_full}


def _never_started(project_id: str) -> Document:
    return {"project_id": project_id, "visible": False, "started_at": None, "deleted_at": None}
