"""Sweep of tombstones: deleted calls, unstarted call parts, values of deleted objects, and orphaned feedback."""

from functools import partial
from typing import Final

from stores import times
from stores.database import Document
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.objects.documents import EMPTY
from stores.retention.rules import GracePeriods
from stores.retention.sweep_state import SweepLease
from stores.retention.trace_sweep import orphans_of, remove_calls, remove_orphaned

_BATCH_SIZE: Final = 500
_OBJECTS_PER_BATCH: Final = 50


class TombstoneSweep:
    """Deletes a project's tombstones after their grace periods."""

    def __init__(self, lease: SweepLease, grace_periods: GracePeriods) -> None:
        self._database = lease.database
        self._lease = lease
        now = times.now()
        self._deleted_before = now - grace_periods.deleted
        self._feedback_before = now - grace_periods.feedback
        self._never_started = {"project_id": lease.project_id, "visible": False, "started_at": None, "deleted_at": None}

    async def steps(self) -> WorkSteps:
        """Delete them in steps."""
        deleted = deleted_calls(self._lease.project_id, self._deleted_before)
        while last := await self._database.transaction(partial(self._remove_batch, match=deleted)):
            # continue behind deleted keys, which MongoDB would skip one by one
            deleted["deleted_at"]["$gte"] = last["deleted_at"]
            yield
        unstarted = {**self._never_started, "unstarted_since": {"$lt": self._deleted_before}}
        while await self._database.transaction(partial(self._remove_batch, match=unstarted)):
            yield
        while await self._mark_unstarted():
            yield
        while await self._database.transaction(self._empty_batch):
            yield
        async for _ in self._remove_orphans():
            yield

    async def _remove_batch(self, session: Session, match: Document) -> Document | None:
        """Delete a batch of matching hidden calls with their feedback; return the last deleted one, or None."""
        paths = {"id": 1, "deleted_at": 1}
        cursor = self._database.calls.find(match, paths, sort=[("deleted_at", 1)], limit=_BATCH_SIZE, session=session)
        calls: list[Document] = await cursor.to_list(None)
        call_ids = [call["id"] for call in calls]
        await remove_calls(self._lease, session, call_ids, {"hidden_calls": len(call_ids)})
        return calls[-1] if calls else None

    async def _mark_unstarted(self) -> int:
        """Mark ends and names without a start, because nothing else records when they arrived; return their number."""
        calls = self._database.calls
        match = {**self._never_started, "unstarted_since": None}
        keys = [call["_id"] for call in await calls.find(match, {"_id": 1}, limit=_BATCH_SIZE).to_list(None)]
        if keys:
            await self._lease.advance()
            await calls.update_many({**match, "_id": {"$in": keys}}, {"$set": {"unstarted_since": times.now()}})
        return len(keys)

    async def _empty_batch(self, session: Session) -> int:
        """Delete the values of some deleted versions; their version numbers remain."""
        objects = self._database.objects
        deleted_before = {"visible": False, "deleted_at": {"$lt": self._deleted_before}}
        match: Document = {
            "project_id": self._lease.project_id,
            **deleted_before,
            "json.val": {"$ne": EMPTY["json"]["val"]},
        }
        cursor = objects.find(match, {"_id": 1}, limit=_OBJECTS_PER_BATCH, session=session)
        keys = [version["_id"] for version in await cursor.to_list(None)]
        if keys:
            emptied = {"$set": EMPTY, "$unset": {"refs": ""}}
            await objects.update_many({**match, "_id": {"$in": keys}}, emptied, session=session)
            await self._lease.advance(session=session)
        return len(keys)

    async def _remove_orphans(self) -> WorkSteps:
        """Delete feedback on calls that do not exist; each is checked once, after its grace period.

        Feedback whose call is deleted later is deleted with the call.
        """
        feedback = self._database.feedback
        created_range: Document = {
            "$gte": self._lease.state.get("feedback_checked_until", 0),
            "$lt": self._feedback_before,
        }
        match: Document = {"project_id": self._lease.project_id, "created_at": created_range}
        paths = {"id": 1, "call_id": 1, "created_at": 1}
        order = [("created_at", 1), ("id", 1)]
        while rows := await feedback.find(match, paths, sort=order, limit=_BATCH_SIZE).to_list(None):
            on_calls = {row["_id"]: row["call_id"] for row in rows if "call_id" in row}
            orphans = await orphans_of(self._lease, on_calls)
            if orphans:
                await self._database.transaction(partial(remove_orphaned, self._lease, on_calls=orphans))
            created_range["$gte"] = at = rows[-1]["created_at"]
            match["$or"] = [{"created_at": {"$gt": at}}, {"created_at": at, "id": {"$gt": rows[-1]["id"]}}]
            await self._lease.advance({"feedback_checked_until": at})
            yield


def deleted_calls(project_id: str, before: int) -> Document:
    """Return the match for calls deleted before a time."""
    return {"project_id": project_id, "deleted_at": {"$lt": before}}
