"""Hour marks: before a write changes calls, it marks the hours in which they started.

A query reads the calls of marked hours, and roll-ups of all others. A mark is stored before the write, so a crash
between the two only costs a rebuild. Work on the mark (`settling`) starts when it expires after `mark_seconds` by
MongoDB's clock. A process remembers its marks for a quarter of that, and a write that lasts longer than half of it
marks its hours again before it is acknowledged. Unacknowledged writes beyond `mark_seconds` are the only ones that a
roll-up may miss.

A write that changes a stored call with usage also marks the hour of its parent, whose own usage depends on it (see
`stores.rollups.parents`). If it marks again, it also marks the hours of the parents of calls that had no usage when it
began, because another write may have added it.
"""

import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Self
from weakref import WeakKeyDictionary

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from stores.database import Database, Document
from stores.database.error_translation import duplicate_writes
from stores.database.indexes import BY_ID
from stores.database.project_registry import RegisteredProjects
from stores.database.transactions import Session
from stores.errors import ConflictError
from stores.hours import HOURS, OWN_ONLY, hour_expression, hour_of, mark_key
from stores.rollups.parents import Call, Hour, hours_of

_ATTEMPTS: Final = 10
_MAX_REMEMBERED: Final = 10_000


class Instant(NamedTuple):
    """A time by two clocks: one cannot be set, and the other goes on while the machine sleeps."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> Self:
        """Return the current time."""
        return cls(time.monotonic(), time.time())

    def age(self) -> float:
        """Return the seconds since then, by the clock that says more."""
        return max(time.monotonic() - self.monotonic, time.time() - self.wall)


_NEVER: Final = (None, Instant(-math.inf, -math.inf))

_MARKED: Final[WeakKeyDictionary[Database, dict[Hour, tuple[int | None, Instant]]]] = WeakKeyDictionary()
"""By hour: when the project was first listed, and the time before the mark was written."""


@asynccontextmanager
async def marked_hours(
    database: Database,
    registered: RegisteredProjects,
    starts: Iterable[tuple[str, int]] = (),
    stored: Document | None = None,
) -> AsyncIterator[None]:
    """Mark the hours of calls around a block that writes them.

    Args:
        database: the database.
        registered: the projects as registered for this write; a purge, which removes marks, changes them.
        starts: the project and the start time of each call that the block writes.
        stored: the match of calls that may be stored and that the block changes.

    Raises:
        UnavailableError: if a majority did not confirm the marks.
    """
    entered_at = Instant.now()
    hours = {(project_id, hour_of(started_at)) for project_id, started_at in starts}
    changed = await _Changed.find(database, stored) if stored else _NOTHING
    hours |= changed.hours | await hours_of(database, changed.reporting)
    marks = [entered_at, *await _mark(database, registered, hours, database.timings.mark_seconds / 4)]
    try:
        yield
    finally:
        if max(mark.age() for mark in marks) > database.timings.mark_seconds / 2:
            again = await _Changed.find(database, stored) if stored else _NOTHING
            hours |= again.hours | await hours_of(database, changed.children | again.children)
            await _mark(database, registered, hours, 0)


async def _mark(database: Database, registered: RegisteredProjects, hours: set[Hour], max_age: float) -> list[Instant]:
    """Mark hours that this process has not marked for `max_age` seconds; return the times of the other marks."""
    marked = _MARKED.setdefault(database, {})
    times, due = [], []
    for hour in hours:
        created_at, marked_at = marked.get(hour, _NEVER)
        if marked_at.age() < max_age and created_at == registered.get(hour[0]):
            times.append(marked_at)
        else:
            due.append(hour)
    if due:
        now = Instant.now()
        await write_marks(database, due)
        for hour in due:
            marked.pop(hour, None)
            marked[hour] = registered.get(hour[0]), now
        for forgotten in list(marked)[:-_MAX_REMEMBERED]:
            del marked[forgotten]
    return times


async def write_marks(database: Database, hours: Iterable[Hour], session: Session | None = None) -> None:
    """Write marks that expire after `mark_seconds`."""
    until = {"$add": ["$$NOW", int(database.timings.mark_seconds * 1000)]}
    await upsert_marks(database, [mark_update(*hour, until) for hour in hours], session)


def mark_update(project_id: str, hour: int, until: Document | str) -> UpdateOne:
    """Build the upsert of an hour's mark."""
    change = [{"$set": {HOURS: {"$literal": hour}, "live_until": until, OWN_ONLY: "$$REMOVE"}}]
    return UpdateOne(mark_key(project_id, HOURS, hour), change, upsert=True)


def own_mark_update(project_id: str, hour: int, milliseconds: int = 0) -> UpdateOne:
    """Build the upsert of an hour's mark that only its roll-ups of own usage may be wrong, from now on.

    A mark of the whole hour remains one. Every mark gets another time, so that a worker that has begun stores nothing.
    """
    is_whole = {"$and": [{"$isNumber": f"${HOURS}"}, {"$not": [f"${OWN_ONLY}"]}]}
    # In one millisecond `$$NOW` could equal the time of the mark.
    until = {"$add": [{"$max": ["$live_until", {"$add": ["$$NOW", milliseconds]}]}, 1]}
    own_only = {"$cond": [is_whole, "$$REMOVE", True]}
    change = [{"$set": {HOURS: {"$literal": hour}, "live_until": until, OWN_ONLY: own_only}}]
    return UpdateOne(mark_key(project_id, HOURS, hour), change, upsert=True)


async def upsert_marks(database: Database, updates: list[UpdateOne], session: Session | None = None) -> None:
    """Run upserts of marks in any order; retry those that lost a race to create the document."""
    for _ in range(_ATTEMPTS):
        if not updates:
            return
        try:
            await database.hour_marks.bulk_write(updates, ordered=False, session=session)
        except BulkWriteError as error:
            updates = [updates[position] for position in duplicate_writes(error)]
            if session:  # the transaction must start again
                raise DuplicateKeyError(str(error)) from error
        else:
            return
    raise ConflictError("too many concurrent writers of calls of one hour; retry")


async def hours_of_calls(database: Database, match: Document, session: Session | None = None) -> set[Hour]:
    """Return the hours that change with the visible calls that match: their own, and those of parents."""
    changed = await _Changed.find(database, match, session)
    return changed.hours | await hours_of(database, changed.reporting, session)


class _Changed(NamedTuple):
    """Calls that a write changes.

    Attributes:
        hours: the hours in which they start.
        children: the parents of those that have one.
        reporting: the parents of those with usage.
    """

    hours: set[Hour]
    children: set[Call]
    reporting: set[Call]

    @classmethod
    async def find(cls, database: Database, match: Document, session: Session | None = None) -> Self:
        """Read the visible calls that match."""
        hours = {"project_id": "$project_id", "hour": hour_expression("$started_at")}
        is_child = {"$gt": ["$parent_id", ""]}
        is_reporting = {"$and": [is_child, {"$isArray": "$usage"}]}
        parents = {
            name: {"$addToSet": {"$cond": [condition, "$parent_id", "$$REMOVE"]}}
            for name, condition in (("children", is_child), ("reporting", is_reporting))
        }
        # Other programs may have stored calls without a time.
        found = {"$and": [match, {"visible": True, "started_at": {"$type": "number"}}]}
        stages: list[Document] = [{"$match": found}, {"$group": {"_id": hours, **parents}}]
        hint = {"hint": BY_ID} if "_id" in match else {}
        rows = await database.calls.aggregate(stages, session=session, **hint).to_list(None)
        return cls(
            {(row["_id"]["project_id"], row["_id"]["hour"]) for row in rows},
            *({(row["_id"]["project_id"], parent) for row in rows for parent in row[name]} for name in parents),
        )


_NOTHING: Final = _Changed(set(), set(), set())
