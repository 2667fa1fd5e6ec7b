"""Traces that go: found from the oldest call on, each decided about and removed in one transaction.

A transaction sees everything as it was at its first command. So before it ends, it is looked outside of it whether a
trace got another call meanwhile; then all of it is done again. An end that comes for one of the calls meets the
transaction, and one of the two is done again.
"""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from stores.database import Database, Document
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.retention.rules import Limits, Pipeline
from stores.retention.sweep_state import SweepLease

_STEP: Final = 500
"""Calls that are looked at at once."""

CALLS_AT_ONCE: Final = 250
"""Calls that one transaction removes, but for those of one trace."""

LARGE: Final = 5_000
"""Calls of a trace that is not removed at once, but in steps, those that began last first."""

_ATTEMPTS: Final = 5
_BY_TRACE: Final = "trace_id_started_at_id_storage_size_bytes"
"""The index of traces. MongoDB would go through all calls by time: those it tries first are the ones it seeks."""

_REMEMBERED: Final = 10_000

_Found = TypeVar("_Found")


class _GotMoreError(Exception):
    """A trace got a call after it was looked at."""


class TracesSweep:
    """The removal of the traces of a project that are old."""

    def __init__(self, database: Database, hold: SweepLease, limits: Limits | None, large: int = LARGE) -> None:
        self._database = database
        self._calls = database.calls
        self._hold = hold
        self._limits = limits
        self._large = large
        self._visible = {"project_id": hold.project_id, "visible": True}
        self._staying: dict[str, None] = {}

    async def steps(self) -> WorkSteps:
        """Remove them, some at a time."""
        if doomed := self._hold.state.get("doomed"):
            async for _ in self._remove_large(doomed):
                yield
        if self._limits is None:
            return
        place: Document = {}
        while found := await self._next(self._limits, place):
            place = found[-1]
            for going in _packed(await self._going(self._limits, found)):
                async for _ in self._remove(self._limits, going):
                    yield
            yield

    async def _next(self, limits: Limits, place: Document) -> list[Document]:
        """The calls that began next, after one, before the limit."""
        began: Document = {"$lt": limits.before}
        match = {**self._visible, "started_at": began}
        if place:
            began["$gte"] = at = place["started_at"]
            match["$or"] = [{"started_at": {"$gt": at}}, {"started_at": at, "id": {"$gt": place["id"]}}]
        paths = {"_id": 0, "trace_id": 1, "started_at": 1, "id": 1}
        order = [("started_at", 1), ("id", 1)]
        return await self._calls.find(match, paths, sort=order, limit=_STEP, batch_size=_STEP + 1).to_list(_STEP)

    async def _going(self, limits: Limits, calls: Sequence[Document]) -> list[Document]:
        """The traces of some calls that go, with how many calls each has."""
        traces = {call["trace_id"]: None for call in calls if call["trace_id"] not in self._staying}
        await self._leave_out_newer(limits, traces)
        if not traces:
            return []
        rows = await self._calls.aggregate(self._of(traces, limits.going()), hint=_BY_TRACE).to_list(None)
        self._remember(traces.keys() - {row["_id"] for row in rows})
        return rows

    async def _leave_out_newer(self, limits: Limits, traces: dict[str, None]) -> None:
        """Leave those out that have calls beyond the limit: some may have very many, which need not be grouped."""
        while traces:
            newer = {**self._visible, "trace_id": {"$in": list(traces)}, "started_at": {"$gte": limits.before}}
            found = self._calls.find(newer, {"_id": 0, "trace_id": 1}, limit=_STEP, hint=_BY_TRACE)
            rows = await found.to_list(_STEP)
            staying = {row["trace_id"] for row in rows}
            self._remember(staying)
            for trace_id in staying:
                del traces[trace_id]
            if len(rows) < _STEP:
                return

    def _remember(self, staying: set[str]) -> None:
        self._staying |= dict.fromkeys(staying)
        for forgotten in list(self._staying)[:-_REMEMBERED]:
            del self._staying[forgotten]

    def _of(self, traces: Sequence[str] | dict[str, None], stages: Pipeline) -> Pipeline:
        return [{"$match": {**self._visible, "trace_id": {"$in": list(traces)}}}, *stages]

    async def _remove(self, limits: Limits, going: list[Document]) -> WorkSteps:
        if going[0]["calls"] > self._large:
            if doomed := await self._attempt(partial(self._doomed, limits=limits, trace_id=going[0]["_id"])):
                async for _ in self._remove_large(doomed):
                    yield
            return
        if call_ids := await self._attempt(partial(self._removed, limits=limits, going=going)):
            await self._remove_late_feedback(call_ids)
        yield

    async def _attempt(self, work: Callable[[Session], Coroutine[Any, Any, _Found]]) -> _Found | None:
        """What comes of a transaction; None where a trace got a call each time: it is left for the next sweep."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._database.transaction(work)
            except _GotMoreError:
                continue
        return None

    async def _doomed(self, session: Session, limits: Limits, trace_id: str) -> Document | None:
        """Decide about a large trace once and for all: what is to go of it, None where it no longer goes."""
        stages = self._of([trace_id], limits.going())
        rows = await self._calls.aggregate(stages, session=session, hint=_BY_TRACE).to_list(None)
        if not rows:
            return None
        doomed = {"trace_id": trace_id, "before": limits.before}
        await self._hold.advance({"traces": 1}, session, doomed=doomed)
        if await self._calls.aggregate(stages, hint=_BY_TRACE).to_list(None) != rows:
            raise _GotMoreError
        return doomed

    async def _removed(self, session: Session, limits: Limits, going: Sequence[Document]) -> list[str]:
        """Remove those of some traces that still go, with the feedback on them; the ids of their calls."""
        stages = self._of([trace["_id"] for trace in going], limits.going())
        rows = await self._calls.aggregate(stages, session=session, hint=_BY_TRACE).to_list(None)
        if not rows:
            return []
        match = {**self._visible, "trace_id": {"$in": [row["_id"] for row in rows]}}
        call_ids = [call["id"] async for call in self._calls.find(match, {"id": 1}, session=session, hint=_BY_TRACE)]
        counts = {"traces": len(rows), "trace_bytes": sum(row["bytes"] for row in rows)}
        await remove_calls(self._database, self._hold, session, call_ids, counts | {"calls": len(call_ids)})
        there = {call["id"] async for call in self._calls.find(match, {"id": 1}, hint=_BY_TRACE)}
        if not there <= set(call_ids):
            raise _GotMoreError
        return call_ids

    async def _remove_late_feedback(self, call_ids: list[str]) -> None:
        """Remove what was said of calls while they went."""
        match = {"project_id": self._hold.project_id, "call_id": {"$in": call_ids}}
        found = await self._database.feedback.find(match, {"call_id": 1}).to_list(None)
        if found:
            on_calls = {one["_id"]: one["call_id"] for one in found}
            await self._database.transaction(partial(remove_orphaned, self._database, self._hold, on_calls=on_calls))

    async def _remove_large(self, doomed: Document) -> WorkSteps:
        """Remove the calls of a trace that had begun by the time it was decided about."""
        began: Document = {"$lt": doomed["before"]}
        match = {**self._visible, "trace_id": doomed["trace_id"], "started_at": began}
        while rows := await self._database.transaction(partial(self._removed_of_large, match=match)):
            # MongoDB steps over what was removed lately, key by key.
            began["$lte"] = rows[-1]["started_at"]
            await self._remove_late_feedback([row["id"] for row in rows])
            yield
        await self._hold.advance(doomed=None)

    async def _removed_of_large(self, session: Session, match: Document) -> list[Document]:
        """Remove some calls of a large trace, those that began last; what is known of them."""
        paths = {"_id": 0, "id": 1, "started_at": 1, "storage_size_bytes": 1}
        order = [("started_at", -1), ("id", 1)]
        found = self._calls.find(match, paths, sort=order, limit=CALLS_AT_ONCE, session=session, hint=_BY_TRACE)
        rows: list[Document] = await found.to_list(None)
        counts = {"calls": len(rows), "trace_bytes": sum(row["storage_size_bytes"] for row in rows)}
        await remove_calls(self._database, self._hold, session, [row["id"] for row in rows], counts)
        return rows


async def remove_calls(
    database: Database, hold: SweepLease, session: Session, call_ids: Sequence[str], counts: dict[str, int]
) -> None:
    """Remove calls for good, visible or not, with the feedback on them, and count that in the report.

    Raises:
        SupersededError: the sweep is no longer ours.
    """
    project_id = hold.project_id
    if not call_ids:
        return
    keys: list[Any] = [f"{project_id}:{call_id}" for call_id in call_ids]
    await database.calls.delete_many({"_id": {"$in": keys}, "project_id": project_id}, session=session)
    on_them = {"project_id": project_id, "call_id": {"$in": list(call_ids)}}
    feedback = await database.feedback.delete_many(on_them, session=session)
    counts = {**counts, "feedback": feedback.deleted_count}
    await hold.advance(counts, session)


def _packed(going: Sequence[Document]) -> Iterator[list[Document]]:
    """The traces, as many at once as one transaction removes; one of very many calls comes alone."""
    pack: list[Document] = []
    for trace in going:
        if pack and sum(each["calls"] for each in pack) + trace["calls"] > CALLS_AT_ONCE:
            yield pack
            pack = []
        pack.append(trace)
    if pack:
        yield pack


async def remove_orphaned(database: Database, hold: SweepLease, session: Session, on_calls: Mapping[str, str]) -> None:
    """Remove feedback, given by its keys with the ids of its calls, as far as these are not there."""
    orphans = await orphans_of(database, hold.project_id, on_calls, session)
    keys = {"_id": {"$in": list(orphans)}, "project_id": hold.project_id}
    done = await database.feedback.delete_many(keys, session=session)
    await hold.advance({"feedback": done.deleted_count}, session)


async def orphans_of(
    database: Database, project_id: str, on_calls: Mapping[str, str], session: Session | None = None
) -> dict[str, str]:
    """The feedback, given so, whose calls are not there, not even deleted."""
    keys = list({f"{project_id}:{call_id}" for call_id in on_calls.values()})
    among = {"_id": {"$in": keys}, "project_id": project_id}
    there = {call["id"] async for call in database.calls.find(among, {"id": 1}, session=session)}
    return {key: call_id for key, call_id in on_calls.items() if call_id not in there}
