"""Hour marks: before a write changes calls, it marks the hours in which they started.

A query reads the calls of marked hours, and roll-ups of all others. A mark is stored before the write, so a crash
between the two only costs a rebuild. Work on the mark (`settling`) starts when it expires after `mark_seconds` by
MongoDB's clock. A process remembers its marks for a quarter of that, and a write that lasts longer than half of it
marks its hours again before it is acknowledged. Unacknowledged writes beyond `mark_seconds` are the only ones that a
roll-up may miss.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from stores.database import Database, Document
from stores.database.error_translation import duplicate_writes
from stores.database.project_registry import RegisteredProjects
from stores.database.transactions import Session
from stores.errors import ConflictError
from stores.rollups.documents import HOURS, hour_expression, hour_of, mark_key

Hour = tuple[str, int]
"""A project and the start of an hour."""

_ATTEMPTS: Final = 10
_MAX_REMEMBERED: Final = 10_000

_MARKED: Final[WeakKeyDictionary[Database, dict[Hour, tuple[int | None, float]]]] = WeakKeyDictionary()
"""By hour: when the project was first listed, and the `monotonic` time before the mark was written."""


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
    entered_at = monotonic()
    hours = {(project_id, hour_of(started_at)) for project_id, started_at in starts}
    if stored:
        hours |= await hours_of_calls(database, stored)
    marked_at = await _mark(database, registered, hours, entered_at - database.timings.mark_seconds / 4)
    try:
        yield
    finally:
        now = monotonic()
        if now - min(marked_at, entered_at) > database.timings.mark_seconds / 2:
            if stored:
                hours |= await hours_of_calls(database, stored)
            await _mark(database, registered, hours, now)


async def _mark(database: Database, registered: RegisteredProjects, hours: set[Hour], since: float) -> float:
    """Mark hours that this process has not marked since a `monotonic` time; return the time of the oldest mark."""
    marked = _MARKED.setdefault(database, {})
    oldest, due = monotonic(), []
    for hour in hours:
        created_at, marked_at = marked.get(hour, (None, 0.0))
        if marked_at > since and created_at == registered.get(hour[0]):
            oldest = min(oldest, marked_at)
        else:
            due.append(hour)
    if due:
        now = monotonic()
        await write_marks(database, due)
        for hour in due:
            marked.pop(hour, None)
            marked[hour] = registered.get(hour[0]), now
        for forgotten in list(marked)[:-_MAX_REMEMBERED]:
            del marked[forgotten]
    return oldest


async def write_marks(database: Database, hours: Iterable[Hour], session: Session | None = None) -> None:
    """Write marks that expire after `mark_seconds`."""
    until = {"$add": ["$$NOW", int(database.timings.mark_seconds * 1000)]}
    await upsert_marks(database, [mark_update(*hour, until) for hour in hours], session)


def mark_update(project_id: str, hour: int, until: Document | str) -> UpdateOne:
    """Build the upsert of an hour's mark."""
    change = [{"$set": {HOURS: {"$literal": hour}, "live_until": until}}]
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
    """Return the hours of the visible calls that match."""
    hours = {"project_id": "$project_id", "hour": hour_expression("$started_at")}
    stages = [{"$match": {**match, "visible": True}}, {"$group": {"_id": hours}}]
    rows = await database.calls.aggregate(stages, session=session).to_list(None)
    return {(row["_id"]["project_id"], row["_id"]["hour"]) for row in rows}
