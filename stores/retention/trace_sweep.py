"""Deletion of old traces, found from the oldest call on; each is decided and deleted in one transaction.

A transaction reads from a snapshot. Before it commits, a read outside of it checks if a trace got another call; then
the transaction is retried. An end that arrives for one of the calls conflicts with the transaction, and one of the two
is retried.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from stores.database import Document
from stores.database.paced_steps import WorkSteps, change_in_batches, weighted_batches
from stores.database.transactions import Session
from stores.retention.rules import Limits
from stores.retention.sweep_state import SweepLease, read_by_time

_CALLS_PER_READ: Final = 500
"""Calls read per step."""

BATCH_SIZE: Final = 250
"""Maximum calls that one transaction deletes, unless a single trace has more."""

LARGE_TRACE: Final = 5_000
"""A trace with more calls is deleted in steps, from its newest calls on."""

_ATTEMPTS: Final = 5
_BY_TRACE: Final = "trace_id_started_at_id_storage_size_bytes"
"""The index of traces, as a hint. MongoDB would scan all calls by time, because the first calls it tries all match."""

_MAX_REMEMBERED: Final = 10_000

_Result = TypeVar("_Result")


class _TraceGrewError(Exception):
    """A trace got a call after it was read."""


class TracesSweep:
    """Deletes the old traces of a project."""

    def __init__(self, lease: SweepLease, limits: Limits | None, large: int = LARGE_TRACE) -> None:
        self._database = lease.database
        self._calls = lease.database.calls
        self._lease = lease
        self._before = limits.before if limits else 0
        self._doomed_stages = limits.doomed_traces() if limits else []
        self._large = large
        self._visible = {"project_id": lease.project_id, "visible": True}
        self._kept: dict[str, None] = {}

    async def steps(self) -> WorkSteps:
        """Delete them in steps."""
        if doomed := self._lease.state.get("doomed"):
            async for _ in self._remove_large(doomed):
                yield
        if not self._doomed_stages:
            return
        old = {"$lt": self._before}
        async for calls in read_by_time(self._calls, self._visible, "started_at", old, ["trace_id"], _CALLS_PER_READ):
            for traces in weighted_batches(await self._doomed_traces(calls), "calls", BATCH_SIZE):
                async for _ in self._remove(traces):
                    yield
            yield

    async def _doomed_traces(self, calls: Sequence[Document]) -> list[Document]:
        """Return the traces of some calls that are to be deleted, with their numbers of calls."""
        traces = {call["trace_id"]: None for call in calls if call["trace_id"] not in self._kept}
        await self._drop_newer(traces)
        rows = await self._still_doomed(list(traces)) if traces else []
        self._remember(traces.keys() - {row["_id"] for row in rows})
        return rows

    async def _still_doomed(self, trace_ids: Sequence[str], session: Session | None = None) -> list[Document]:
        """Return those of some traces that are to be deleted."""
        stages = [{"$match": {**self._visible, "trace_id": {"$in": trace_ids}}}, *self._doomed_stages]
        return await self._calls.aggregate(stages, session=session, hint=_BY_TRACE).to_list(None)

    async def _drop_newer(self, traces: dict[str, None]) -> None:
        """Remove traces with calls beyond the limit: some have very many calls, which need not be grouped."""
        while traces:
            newer = {**self._visible, "trace_id": {"$in": list(traces)}, "started_at": {"$gte": self._before}}
            cursor = self._calls.find(newer, {"_id": 0, "trace_id": 1}, limit=_CALLS_PER_READ, hint=_BY_TRACE)
            rows = await cursor.to_list(_CALLS_PER_READ)
            kept = {row["trace_id"] for row in rows}
            self._remember(kept)
            for trace_id in kept:
                del traces[trace_id]
            if len(rows) < _CALLS_PER_READ:
                return

    def _remember(self, kept: set[str]) -> None:
        self._kept |= dict.fromkeys(kept)
        for forgotten in list(self._kept)[:-_MAX_REMEMBERED]:
            del self._kept[forgotten]

    async def _remove(self, traces: list[Document]) -> WorkSteps:
        if traces[0]["calls"] > self._large:
            if doomed := await self._attempt(partial(self._doom_large, trace_id=traces[0]["_id"])):
                async for _ in self._remove_large(doomed):
                    yield
            return
        trace_ids = [trace["_id"] for trace in traces]
        if call_ids := await self._attempt(partial(self._remove_traces, trace_ids=trace_ids)):
            await self._remove_late_feedback(call_ids)
        yield

    async def _attempt(self, operation: Callable[[Session], Coroutine[Any, Any, _Result]]) -> _Result | None:
        """Run a transaction and return its result; None if a trace got another call in each attempt."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._database.transaction(operation)
            except _TraceGrewError:
                continue
        return None

    async def _doom_large(self, session: Session, trace_id: str) -> Document | None:
        """Decide finally on a large trace and store what to delete; None if it is to be kept."""
        rows = await self._still_doomed([trace_id], session)
        if not rows:
            return None
        doomed = {"trace_id": trace_id, "before": self._before}
        await self._lease.advance({"doomed": doomed}, {"sweep.traces": 1}, session)
        if await self._still_doomed([trace_id]) != rows:
            raise _TraceGrewError
        return doomed

    async def _remove_traces(self, session: Session, trace_ids: Sequence[str]) -> list[str]:
        """Delete the traces that are still to be deleted, with their feedback; return the ids of their calls."""
        rows = await self._still_doomed(trace_ids, session)
        if not rows:
            return []
        match = {**self._visible, "trace_id": {"$in": [row["_id"] for row in rows]}}
        call_ids = [call["id"] async for call in self._calls.find(match, {"id": 1}, session=session, hint=_BY_TRACE)]
        counts = {"traces": len(rows), "trace_bytes": sum(row["bytes"] for row in rows)}
        await remove_calls(self._lease, session, call_ids, counts | {"calls": len(call_ids)})
        present = {call["id"] async for call in self._calls.find(match, {"id": 1}, hint=_BY_TRACE)}
        if not present <= set(call_ids):
            raise _TraceGrewError
        return call_ids

    async def _remove_late_feedback(self, call_ids: list[str]) -> None:
        """Delete feedback that was stored while its calls were deleted."""
        match = {"project_id": self._lease.project_id, "call_id": {"$in": call_ids}}
        await remove_orphans(self._lease, await self._database.feedback.find(match, {"call_id": 1}).to_list(None))

    async def _remove_large(self, doomed: Document) -> WorkSteps:
        """Delete the calls of a trace that had started when its deletion was decided, from its newest calls on."""
        match = {**self._visible, "trace_id": doomed["trace_id"], "started_at": {"$lt": doomed["before"]}}

        async def remove(session: Session, calls: list[Document]) -> None:
            counts = {"calls": len(calls), "trace_bytes": sum(call["storage_size_bytes"] for call in calls)}
            await remove_calls(self._lease, session, [call["id"] for call in calls], counts)

        paths = ("id", "started_at", "storage_size_bytes")
        order = (("started_at", -1), ("id", 1))
        async for calls in change_in_batches(
            self._database, self._calls, match, BATCH_SIZE, remove, paths, order, hint=_BY_TRACE
        ):
            await self._remove_late_feedback([call["id"] for call in calls])
            yield
        await self._lease.advance({"doomed": None})


async def remove_calls(lease: SweepLease, session: Session, call_ids: Sequence[str], counts: dict[str, int]) -> None:
    """Delete calls, visible or not, with their feedback, and count that in the report.

    Raises:
        LeaseLostError: if the lease is lost.
    """
    database, project_id = lease.database, lease.project_id
    keys: list[Any] = [f"{project_id}:{call_id}" for call_id in call_ids]
    await database.calls.delete_many({"_id": {"$in": keys}, "project_id": project_id}, session=session)
    on_these_calls = {"project_id": project_id, "call_id": {"$in": list(call_ids)}}
    feedback = await database.feedback.delete_many(on_these_calls, session=session)
    await lease.count({**counts, "feedback": feedback.deleted_count}, session)


async def remove_orphans(lease: SweepLease, feedback: Sequence[Document]) -> None:
    """Delete those of some feedback on calls whose calls do not exist, not even as tombstones."""

    async def without_call(session: Session | None = None) -> list[str]:
        keys = list({f"{lease.project_id}:{one['call_id']}" for one in feedback})
        match = {"_id": {"$in": keys}, "project_id": lease.project_id}
        present = {call["id"] async for call in lease.database.calls.find(match, {"id": 1}, session=session)}
        return [one["_id"] for one in feedback if one["call_id"] not in present]

    async def remove(session: Session) -> None:
        keys = {"_id": {"$in": await without_call(session)}, "project_id": lease.project_id}
        removed = await lease.database.feedback.delete_many(keys, session=session)
        await lease.count({"feedback": removed.deleted_count}, session)

    if feedback and await without_call():
        await lease.database.transaction(remove)
