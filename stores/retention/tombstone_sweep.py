"""Sweep of tombstones: deleted calls, unstarted call parts, values of deleted objects, and orphaned feedback."""

from functools import partial
from typing import Final

from stores import times
from stores.database import Document
from stores.database.paced_steps import WorkSteps, change_in_batches
from stores.database.transactions import Session
from stores.objects.documents import EMPTY
from stores.retention.rules import GracePeriods
from stores.retention.sweep_state import SweepLease, read_by_time
from stores.retention.trace_sweep import remove_calls, remove_orphans

_BATCH_SIZE: Final = 500
_OBJECTS_PER_BATCH: Final = 50


class TombstoneSweep:
    """Deletes a project's tombstones after their grace periods."""

    def __init__(self, lease: SweepLease, grace_periods: GracePeriods) -> None:
        self._lease = lease
        self._now = times.now()
        self._grace_periods = grace_periods

    async def steps(self) -> WorkSteps:
        """Delete them in steps."""
        database, of_project = self._lease.database, {"project_id": self._lease.project_id}
        deleted_before = self._now - self._grace_periods.deleted
        long_ago = {"$lt": deleted_before}
        deleted = deleted_calls(self._lease.project_id, deleted_before)
        never_started = {**of_project, "visible": False, "started_at": None, "deleted_at": None}
        in_batches = partial(change_in_batches, database, database.calls, size=_BATCH_SIZE)
        for batches in (
            in_batches(deleted, change=self._remove, paths=("id", "deleted_at"), order=(("deleted_at", 1),)),
            in_batches({**never_started, "unstarted_since": long_ago}, change=self._remove, paths=("id",)),
            in_batches({**never_started, "unstarted_since": None}, change=self._mark_unstarted),
            change_in_batches(
                database,
                database.objects,
                {**of_project, "visible": False, "deleted_at": long_ago, "json.val": {"$ne": EMPTY["json"]["val"]}},
                _OBJECTS_PER_BATCH,
                self._empty,
            ),
        ):
            async for _ in batches:
                yield
        async for _ in self._remove_orphans():
            yield

    async def _remove(self, session: Session, calls: list[Document]) -> None:
        """Delete hidden calls with their feedback."""
        await remove_calls(self._lease, session, [call["id"] for call in calls], {"hidden_calls": len(calls)})

    async def _mark_unstarted(self, session: Session, calls: list[Document]) -> None:
        """Mark ends and names without a start, because nothing else records when they arrived."""
        changes = {"$set": {"unstarted_since": times.now()}}
        await self._lease.database.calls.update_many(self._of(calls), changes, session=session)
        await self._lease.advance(session=session)

    async def _empty(self, session: Session, versions: list[Document]) -> None:
        """Delete the values of deleted versions; their version numbers remain."""
        emptied = {"$set": EMPTY, "$unset": {"refs": ""}}
        await self._lease.database.objects.update_many(self._of(versions), emptied, session=session)
        await self._lease.advance(session=session)

    def _of(self, documents: list[Document]) -> Document:
        keys = [document["_id"] for document in documents]
        return {"_id": {"$in": keys}, "project_id": self._lease.project_id}

    async def _remove_orphans(self) -> WorkSteps:
        """Delete feedback on calls that do not exist; each is checked once, after its grace period.

        Feedback whose call is deleted later is deleted with the call.
        """
        feedback = self._lease.database.feedback
        created = {
            "$gte": self._lease.state.get("feedback_checked_until", 0),
            "$lt": self._now - self._grace_periods.feedback,
        }
        match = {"project_id": self._lease.project_id}
        async for rows in read_by_time(feedback, match, "created_at", created, ["call_id"], _BATCH_SIZE):
            await remove_orphans(self._lease, [row for row in rows if "call_id" in row])
            await self._lease.advance({"feedback_checked_until": rows[-1]["created_at"]})
            yield


def deleted_calls(project_id: str, before: int) -> Document:
    """Return the match for calls deleted before a time."""
    return {"project_id": project_id, "deleted_at": {"$lt": before}}
