"""Work on marks: an hour is settled when its roll-ups count its calls exactly, and a day when they sum up its hours.

Each step reads a mark, counts what it covers, and replaces the roll-ups, and the totals of traces, in one transaction
with the mark's removal, if the mark is unchanged. A write that came meanwhile has changed the mark, so roll-ups of an
older state are never stored: not by a slow process, and not by two processes that settle one hour. Readers see the
marks and the roll-ups of one snapshot.

Marks expire too early if MongoDB's clock steps forward, also by a failover to a server whose clock is ahead. Then
`SteadyClock` stops the work for a while.

The own usage of a call depends on its children, which may be in other hours: `stores.rollups.parents` says how the
work on both hours fits together.

A project uses roll-ups once it is ready: each hour with calls of older versions has been marked. That begins when
servers of an older version, which mark no hours, have noticed the new version and stopped.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable
from functools import partial
from itertools import chain
from typing import Any, Final

from pymongo.errors import OperationFailure

from stores import ids, times
from stores.costs.model_names import tier_bounds
from stores.database import Database, Document, database_query
from stores.database.error_translation import store_error
from stores.database.paced_steps import WorkSteps, deadline_in, run_paced
from stores.database.project_registry import PURGING
from stores.database.scan_order import find_missing_indexes, lacks_index
from stores.database.transactions import Session
from stores.errors import UnavailableError
from stores.hours import (
    DAY,
    DAYS,
    HOUR,
    HOURS,
    OWN_ONLY,
    VERSION,
    day_of,
    hour_expression,
    hour_of,
    mark_key,
    marks_of,
    state_key,
)
from stores.rollups.clock import SteadyClock
from stores.rollups.documents import (
    HOURS_OF_CHILDREN,
    MAX_GROUPS,
    OWN,
    PARENTS,
    READ,
    TOTALS,
    Tiers,
    are_storable,
    rollups_of_calls,
    rollups_of_hours,
    rollups_of_own_usage,
    stored_parents,
    stored_rollups,
)
from stores.rollups.marks import mark_update, own_mark_update, upsert_marks
from stores.rollups.parents import find_parents, hours_of_parents
from stores.rollups.thread_totals import complete_totals
from stores.rollups.trace_totals import STATE_FIELDS, HourTotals, TotalsWriter, totals_of
from stores.terms.segments import SegmentWriter, withdraw_segments
from stores.usage.entries import SUM
from stores.usage.own import MAX_PARENTS, Unclear, with_own_usage

logger = logging.getLogger("loomql")

PAUSE: Final = 0.25
"""Pause after each step, as a multiple of the step's duration."""

_BATCH_SIZE: Final = 500
_ATTEMPTS: Final = 10
"""Attempts to store the totals of an hour's traces, while other workers store some."""

_IS_DUE: Final[Document] = {"live_until": {"$exists": True}, "$expr": {"$lte": ["$live_until", "$$NOW"]}}
"""Match for marks that have expired."""

_ANY: Final[Document] = {}
_CALLS_CHANGED: Final[Document] = {OWN_ONLY: None}
"""Match for marks of hours whose own calls may have changed."""


class Settling:
    """The work on the marks of a database. Any number of processes may do it; one at a time costs the least."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._clock = SteadyClock(database)
        self._has_all_states = False

    @database_query
    async def due(self) -> list[str]:
        """Return projects with expired marks or without a state, at most some thousand."""
        stages: list[Document] = [{"$match": _IS_DUE}, {"$group": {"_id": "$project_id"}}, {"$limit": _BATCH_SIZE}]
        found = [row["_id"] async for row in self.database.hour_marks.aggregate(stages)]
        # Later projects get their states when their first marks expire.
        without = [] if self._has_all_states else [each async for each in self._without_state()]
        self._has_all_states = not without
        return list(dict.fromkeys([*found, *without]))

    async def _without_state(self) -> AsyncIterator[str]:
        projects = self.database.projects.find({PURGING: None}, {"_id": 1}, batch_size=_BATCH_SIZE)
        while rows := await projects.to_list(_BATCH_SIZE):
            keys = {state_key(row["_id"])["_id"]: row["_id"] for row in rows}
            has_state = {"_id": {"$in": list(keys)}, "project_id": {"$in": list(keys.values())}, "version": VERSION}
            for key in keys.keys() - set(await self.database.hour_marks.distinct("_id", has_state)):
                yield keys[key]

    async def work(self, project_id: str, seconds: float | None = None, pause: float = PAUSE) -> None:
        """Settle what has expired in a project, for at most `seconds`.

        Raises:
            UnavailableError: if the database is unreachable; the work continues when it is back.
        """
        deadline = deadline_in(seconds)
        for may_be_any in (False, True):
            try:
                await run_paced(self.database, self._steps(project_id), pause, deadline)
            except OperationFailure as error:
                if not lacks_index(error):
                    raise
                await self.database.query(find_missing_indexes(self.database.calls, may_be_any=may_be_any))
            else:
                return
        await run_paced(self.database, self._steps(project_id), pause, deadline)

    async def _steps(self, project_id: str) -> WorkSteps:
        key = state_key(project_id)
        state = await self.database.hour_marks.find_one(key)
        if state is None or state.get("version") != VERSION:
            await self._start(project_id)
            return
        if not state["ready"]:
            is_due = await self.database.hour_marks.find_one({**key, **_IS_DUE})
            if not (is_due and await self._clock.is_steady()):
                return
            async for _ in self._mark_all(project_id):
                yield
            change = {"$set": {"ready": True}, "$unset": {"live_until": ""}}
            await self.database.hour_marks.update_one(key, change)
        # Costs last: with new prices, queries compute them meanwhile.
        for steps in (self._settle_due(project_id), complete_totals(self.database, project_id)):
            async for _ in steps:
                yield

    async def _settle_due(self, project_id: str) -> WorkSteps:
        while marks := await self._due_marks(project_id, HOURS):
            # A purge may have removed it; then the work starts again.
            if not await self.database.hour_marks.find_one({**state_key(project_id), "ready": True}, {"_id": 1}):
                return
            if not await self._clock.is_steady():  # after the search, since the marks expired by this clock
                return
            for mark in marks:
                await self._settle_or_postpone(mark, self._settle_hour)
                yield
        while marks := await self._due_marks(project_id, DAYS):
            for mark in marks:
                await self._settle_or_postpone(mark, self._settle_day)
                yield

    async def _settle_or_postpone(self, mark: Document, settle: Callable[[Document], Awaitable[None]]) -> None:
        """Settle what a mark covers; if that fails, let the mark wait, so that the others are settled."""
        try:
            await settle(mark)
        except Exception as error:
            if isinstance(store_error(error), UnavailableError) or lacks_index(error):
                raise
            logger.exception("the work on %s failed; it is tried again", mark["_id"])
            await self._postpone(mark, seconds=self.database.timings.mark_seconds)

    async def _start(self, project_id: str) -> None:
        """Store the state of a project, unless it is being purged; remove its marks if it was purged."""
        # Left by a state of another version, or one that somebody deleted to have everything built again.
        await self.database.rollups.delete_many({"project_id": project_id})
        await self.database.trace_totals.delete_many({"project_id": project_id})
        await self.database.due_threads.delete_many(totals_of(project_id))
        await self.database.thread_totals.delete_many({"project_id": project_id})
        await withdraw_segments(self.database, project_id)
        until = {"$add": ["$$NOW", int(self.database.timings.mark_seconds * 1000)]}

        async def start(session: Session) -> None:
            # Writes the registry entry, so that it conflicts with the start or end of a purge.
            entry = {"_id": project_id, PURGING: None}
            listed = await self.database.projects.update_one(
                entry, {"$set": {"rollups": ids.new_id()}}, session=session
            )
            if listed.matched_count:
                unset = dict.fromkeys(STATE_FIELDS, "$$REMOVE")
                state = [{"$set": {"ready": False, "version": VERSION, "live_until": until, **unset}}]
                await self.database.hour_marks.update_one(state_key(project_id), state, upsert=True, session=session)
            elif not await self.database.projects.find_one({"_id": project_id}, {"_id": 1}, session=session):
                # A worker stored them that was slower than the purge.
                await self.database.hour_marks.delete_many(marks_of(project_id), session=session)

        await self.database.transaction(start)

    async def _mark_all(self, project_id: str) -> WorkSteps:
        """Mark each hour with calls; each is found by its first call."""
        visible = {"project_id": project_id, "visible": True}
        after, hours = times.FIRST, list[int]()
        while True:
            first = self.database.calls.find({**visible, "started_at": {"$gte": after}}, {"_id": 0, "started_at": 1})
            rows = await first.sort("started_at", 1).limit(1).to_list(None)
            hours += [hour_of(row["started_at"]) for row in rows]
            if not rows or len(hours) == _BATCH_SIZE:
                until = {"$ifNull": ["$live_until", "$$NOW"]}
                await upsert_marks(self.database, [mark_update(project_id, hour, until) for hour in hours])
                yield
                if not rows:
                    return
                hours = []
            after = hour_of(rows[0]["started_at"]) + HOUR

    async def _due_marks(self, project_id: str, unit: str) -> list[Document]:
        match = {**marks_of(project_id), unit: {"$exists": True}, **_IS_DUE}
        return await self.database.hour_marks.find(match, limit=_BATCH_SIZE).to_list(None)

    async def _rolled_up(self, mark: Document, match: Document) -> tuple[list[Document], Collection[str]] | None:
        """Return the roll-ups of a marked hour's calls, and those with children in them; None if the mark must wait."""
        project_id, hour = mark["project_id"], mark[HOURS]
        parents = await find_parents(self.database, project_id, [match])
        others = set[int]().union(*parents.values()) - {hour}
        if mark.get(OWN_ONLY) and await self._is_any_marked(project_id, others, match=_CALLS_CHANGED):
            await self._postpone(mark, seconds=self.database.timings.mark_seconds)
            return None
        rows = await self._roll_up(project_id, match, parents) if len(parents) <= MAX_PARENTS else None
        if rows is None:
            logger.warning(
                "%s has calls of more than %d combinations of op, status, kind and model in the hour from %s, or more "
                "than %d calls whose children report usage, or more tokens than 64 bits can count; charts and counts "
                "read these calls one by one",
                *(project_id, MAX_GROUPS, times.to_text(hour), MAX_PARENTS),
            )
            await self._postpone(mark)
            return None
        return rows, parents

    async def _settle_hour(self, mark: Document) -> None:
        project_id, hour = mark["project_id"], mark[HOURS]
        match = {"project_id": project_id, "visible": True, "started_at": {"$gte": hour, "$lt": hour + HOUR}}
        is_own_only = mark.get(OWN_ONLY, False)
        rolled_up = await self._rolled_up(mark, match)
        if rolled_up is None:
            return
        rows, parents = rolled_up
        terms = SegmentWriter(self.database, project_id, HOURS, hour)
        # The children that the roll-ups count, which may be more than those found at first.
        lists = [row.pop(HOURS_OF_CHILDREN) for row in rows if HOURS_OF_CHILDREN in row]
        of_children = {each for lists_of_row in lists for of_call in lists_of_row for each in chain(*of_call)} - {hour}
        rollups = stored_rollups(project_id, HOURS, hour, rows)
        rollups += [stored_parents(project_id, hour, parents)] if parents else []
        of_parents = set[int]()
        if not is_own_only:
            of_parents = await hours_of_parents(self.database, project_id, [match])

        async def settle(of_traces: HourTotals | None, session: Session) -> bool:
            if of_traces and not await of_traces.are_newest(self.database, session):
                return False
            if not (await terms.are_stored(session) and await self._replace(mark, rollups, session)):
                return True
            if of_traces:
                await of_traces.write(self.database, session)
                await terms.publish(session)
            own_marks = [own_mark_update(project_id, each) for each in of_parents - {hour}]
            if of_children and await self._is_any_marked(project_id, of_children, session, _CALLS_CHANGED):
                own_marks.append(own_mark_update(project_id, hour, int(self.database.timings.mark_seconds * 1000)))
            await upsert_marks(self.database, own_marks, session)
            day = mark_key(project_id, DAYS, day_of(hour))
            # Always a change, so that of two workers on hours of a day the second one sees what the first one did.
            change = [{"$set": {DAYS: {"$literal": day_of(hour)}, "live_until": "$$NOW"}}]
            await self.database.hour_marks.update_one(day, change, upsert=True, session=session)
            return True

        await self._with_terms(None if is_own_only else terms.build(), terms, partial(self._store_hour, mark, settle))

    async def _store_hour(
        self, mark: Document, settle: Callable[[HourTotals | None, Session], Coroutine[Any, Any, bool]]
    ) -> None:
        """Compute the totals of an hour's traces and store them by `settle`; again if another worker stored some."""
        totals = TotalsWriter(self.database, mark["project_id"])
        for _ in range(_ATTEMPTS):
            of_traces = None
            if not mark.get(OWN_ONLY):
                of_traces = await totals.of_hour(mark[HOURS])
                if of_traces is None:
                    return
            if await self.database.transaction(partial(settle, of_traces)):
                return
        await self._postpone(mark, seconds=self.database.timings.mark_seconds)

    async def _roll_up(self, project_id: str, match: Document, parents: Iterable[str]) -> list[Document] | None:
        """Return the roll-ups of an hour's calls, without the fields that name the hour; None if they are too many."""
        rows = await self._rows(project_id, match, parents, {})
        long = {
            row["usage_model"]: bounds
            for row in rows
            if row.get("usage_model") is not None
            and (bounds := tier_bounds(row["usage_model"]))
            and row["usage_most"] > bounds[0]
        }
        # Few requests are so long that a tier applies to them.
        rows = await self._rows(project_id, match, parents, long) if long else rows
        return rows if are_storable(rows) else None

    async def _rows(self, project_id: str, match: Document, parents: Iterable[str], tiers: Tiers) -> list[Document]:
        plan = Unclear.of_parents(project_id, parents, are_found=True)
        differs: list[Document] = [{"usage_scope": SUM}, *([plan.match] if plan else ())]
        is_sum = {"$eq": ["$usage_scope", SUM]}
        has_other_own = {"$or": [is_sum, {"$in": ["$_id", {"$literal": plan.parents}]}]} if plan else is_sum
        rows = await self._aggregate(rollups_of_calls([{"$match": match}], tiers, has_other_own))
        if all(OWN in row["of"] for row in rows):
            return rows
        found = [{"$match": {**match, "$or": differs}}]
        hour = hour_expression("$started_at")
        calls = self.database.calls.name
        with_own = with_own_usage(calls, project_id, found, READ, plan, has_classes=True, of_children=hour)
        return [*rows, *await self._aggregate(rollups_of_own_usage(with_own, tiers))]

    async def _aggregate(self, stages: list[Document]) -> list[Document]:
        return await self.database.calls.aggregate(stages, allowDiskUse=True).to_list(None)

    async def _settle_day(self, mark: Document) -> None:
        project_id, day = mark["project_id"], mark[DAYS]
        hours = range(day, day + DAY, HOUR)
        # Usual on the current day, whose terms need no merge yet.
        if await self._is_any_marked(project_id, hours):
            await self._postpone(mark)
            return
        terms = SegmentWriter(self.database, project_id, DAYS, day)

        async def settle(session: Session) -> None:
            if await self._is_any_marked(project_id, hours, session):
                await self._postpone(mark, session)
                return
            stages = rollups_of_hours(project_id, day)
            rows = await self.database.rollups.aggregate(stages, session=session).to_list(None)
            if not are_storable(rows):
                await self._postpone(mark, session)
            elif await terms.are_stored(session):
                rollups = stored_rollups(project_id, DAYS, day, rows)
                if await self._replace(mark, rollups, session):
                    await terms.publish(session)

        await self._with_terms(terms.merge(), terms, lambda: self.database.transaction(settle))

    async def _with_terms(
        self, work: Awaitable[None] | None, terms: SegmentWriter, store: Callable[[], Awaitable[None]]
    ) -> None:
        """Store segments by some work, and publish them by `store`; without work they are as they should be."""
        try:
            if work:
                await work
            await store()
        finally:
            await terms.end()

    async def _is_any_marked(
        self, project_id: str, hours: Iterable[int], session: Session | None = None, match: Document = _ANY
    ) -> bool:
        """Return True if one of some hours has a mark that matches."""
        keys = {"_id": {"$in": [mark_key(project_id, HOURS, hour)["_id"] for hour in hours]}, "project_id": project_id}
        return await self.database.hour_marks.find_one({**keys, **match}, {"_id": 1}, session=session) is not None

    async def _postpone(self, mark: Document, session: Session | None = None, seconds: float | None = None) -> None:
        """Let a mark wait, unless a write has renewed it.

        By default it waits for the next write, or for the marks of its hours.
        """
        until = "$$REMOVE" if seconds is None else {"$add": ["$$NOW", int(seconds * 1000)]}
        await self.database.hour_marks.update_one(_unchanged(mark), [{"$set": {"live_until": until}}], session=session)

    async def _replace(self, mark: Document, rollups: list[Document], session: Session) -> bool:
        """Remove a mark and store its roll-ups; False if the mark has changed, so that the roll-ups may be wrong."""
        if not (await self.database.hour_marks.delete_one(_unchanged(mark), session=session)).deleted_count:
            return False
        unit, lists = (HOURS, [PARENTS]) if HOURS in mark else (DAYS, [])
        units, start = [unit, TOTALS[unit], *lists], mark[unit]
        old = {"project_id": mark["project_id"], "unit": {"$in": units}, "started_at": start}
        await self.database.rollups.delete_many(old, session=session)
        if rollups:
            await self.database.rollups.insert_many(rollups, session=session)
        return True


def _unchanged(mark: Document) -> Document:
    """Return the match for a mark that no write has renewed."""
    return {"_id": mark["_id"], "project_id": mark["project_id"], "live_until": mark["live_until"]}
