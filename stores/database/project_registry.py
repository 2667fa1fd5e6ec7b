"""The registry of projects: a project is listed before anything is stored in it.

Each process remembers the projects it registered and renews each entry only every few seconds, so that frequent writers
pay almost nothing. A purge therefore marks the project in the registry and waits until no process relies on its memory.
"""

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from stores import times
from stores.database.error_translation import duplicate_writes
from stores.errors import UnavailableError
from stores.timings import Timings

if TYPE_CHECKING:
    from stores.database import Collection

QUIET_SECONDS: Final = 120
"""Time without writes to a project after which every process, whatever its clock, checks the registry before it writes.
"""

PURGING: Final = "purging"
"""Field of a project's document: the id of the running purge."""

SEARCH: Final = "search"
"""Field of a project's document: the id of its text index, if it has one."""

RegisteredProjects = dict[str, int]
"""Registered projects and the time each was first listed, in microseconds since the epoch; it changes with a purge."""

_MAX_REMEMBERED: Final = 10_000
_ATTEMPTS: Final = 10


class ProjectRegistry:
    """One process's view of the registry, which a writer checks again after `lag_seconds`."""

    def __init__(self, lag_seconds: float) -> None:
        self._lag_seconds = lag_seconds
        self._registered: dict[str, tuple[float, int]] = {}
        """By project: `monotonic` time of the last registration, and the time it was first listed."""
        self._indexed: set[str] = set()
        self._lock = asyncio.Lock()

    async def register(
        self, projects: "Collection", project_ids: Iterable[str], before: RegisteredProjects | None = None
    ) -> RegisteredProjects:
        """Register projects before a write; no command is sent if that happened in the last `lag_seconds`.

        A longer operation registers again before each write and passes the first result as `before`.

        Raises:
            UnavailableError: if a majority did not confirm the write, a project is being purged, or was purged since
                `before`.
        """
        wanted = set(project_ids)
        if self._due(wanted):
            async with self._lock:  # concurrent writers to a new project: only the first registers it
                await self._register_due(projects, self._due(wanted))
        registered = {one: self._registered[one][1] for one in wanted if one in self._registered}
        for project_id, created_at in (before or {}).items():
            if registered.get(project_id, created_at) != created_at:
                raise UnavailableError(f"{project_id} was purged during this request; send it again")
        return registered

    async def _register_due(self, projects: "Collection", due: set[str]) -> None:
        if not due:
            return
        started_at = monotonic()
        for project_id, row in (await _insert(projects, due)).items():
            self._registered.pop(project_id, None)
            self._registered[project_id] = started_at, row["created_at"]
            self._update_indexed(project_id, row)
        for forgotten in list(self._registered)[:-_MAX_REMEMBERED]:
            del self._registered[forgotten]
            self._indexed.discard(forgotten)

    async def check_not_purging(self, projects: "Collection", project_id: str) -> RegisteredProjects:
        """Check that a project is not being purged; return the time it was first listed, if it is listed.

        Raises:
            UnavailableError: if it is being purged.
        """
        listed = await _find_listed(projects, [project_id])
        self._update_indexed(project_id, listed.get(project_id, {}))
        return {one: row["created_at"] for one, row in listed.items()}

    def indexed(self, project_ids: Iterable[str]) -> set[str]:
        """Return the recently registered or checked projects that have a text index."""
        return self._indexed.intersection(project_ids) if self._indexed else self._indexed

    def _update_indexed(self, project_id: str, row: dict[str, Any]) -> None:
        (self._indexed.add if row.get(SEARCH) else self._indexed.discard)(project_id)

    def _due(self, project_ids: set[str]) -> set[str]:
        due_since = monotonic() - self._lag_seconds
        return {one for one in project_ids if self._registered.get(one, (due_since, 0))[0] <= due_since}


async def _insert(projects: "Collection", project_ids: set[str]) -> dict[str, dict[str, Any]]:
    # Check before writing: many refused writers would otherwise conflict with the purge's own writes.
    await _find_listed(projects, project_ids)
    for _ in range(_ATTEMPTS):
        await write_entries(
            projects, [entry(project_id, last_activity_at=times.now()) for project_id in sorted(project_ids)]
        )
        # Check again: a purge first sets its mark and then reads the last activity, so one of the two sees the other.
        listed = await _find_listed(projects, project_ids)
        if listed.keys() == project_ids:
            return listed
    raise UnavailableError("the project was purged during each attempt; send it again later")


async def _find_listed(projects: "Collection", project_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the documents of the listed projects by id.

    Raises:
        UnavailableError: if one of them is being purged.
    """
    match = {"_id": {"$in": list(project_ids)}}
    listed = {}
    async for row in projects.find(match, {PURGING: 1, "created_at": 1, SEARCH: 1}):
        if row.get(PURGING) is not None:
            raise UnavailableError(
                f"{row['_id']} is being purged", unstored="nothing was stored, send it again after the purge"
            )
        listed[row["_id"]] = row
    return listed


def settled_at(entry: dict[str, Any], changed_at: int, timings: Timings) -> int:
    """Return the time from which every write to a project knows of a change of its document at `changed_at`."""
    if entry.get("last_activity_at", 0) < changed_at - QUIET_SECONDS * times.SECOND:
        return changed_at
    return int(changed_at + (timings.registry_lag_seconds + timings.write_margin_seconds) * times.SECOND)


def entry(project_id: str, created_at: int | None = None, last_activity_at: int | None = None) -> UpdateOne:
    """Build the upsert that lists a project, and advances its last activity if `last_activity_at` is set."""
    entity, _, name = project_id.partition("/")
    created_at = next((time for time in (created_at, last_activity_at) if time is not None), times.now())
    new = {"id": project_id, "entity": entity, "name": name, "created_at": created_at}
    advance = {} if last_activity_at is None else {"$max": {"last_activity_at": last_activity_at}}
    update: dict[str, Any] = {"$setOnInsert": new, **advance}
    return UpdateOne({"_id": project_id}, update, upsert=True)


async def write_entries(projects: "Collection", entries: list[UpdateOne]) -> int:
    """Write entries; return the number of new projects.

    Raises:
        UnavailableError: if a majority did not confirm the write.
    """
    try:
        done = await projects.bulk_write(entries, ordered=False)
    except BulkWriteError as error:
        # Another process inserted the project during this upsert; now it exists.
        await projects.bulk_write([entries[index] for index in duplicate_writes(error, "send it again")], ordered=False)
        return int((error.details or {})["nUpserted"])
    return done.upserted_count
