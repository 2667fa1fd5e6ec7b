"""The register of projects: whatever is stored is stored in a project that is listed by then.

A process remembers which projects it has entered, and enters each again only now and then, so that those who write a
lot pay next to nothing for it. So whoever purges a project marks it in the register, and waits until no process can
rely on what it remembers.
"""

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from stores import times
from stores.database.error_translation import DUPLICATE_KEY
from stores.errors import UnavailableError

if TYPE_CHECKING:
    from stores.database import Collection

LAG_SECONDS: Final = 10
"""By so much at most the last activity of a project is later than the register says."""

PURGING: Final = "purging"
"""The field of a project's entry that has the id of the purge under way."""

SEARCH: Final = "search"
"""The field of a project's entry that has the id of the index of its texts, where there is one."""

RegisteredProjects = dict[str, int]
"""Projects that were entered, and when each was listed first, in microseconds since the epoch: anew after a purge."""

_REMEMBERED: Final = 10_000
_ATTEMPTS: Final = 10


class ProjectRegistry:
    """What one process knows of the register."""

    def __init__(self) -> None:
        self._entered: dict[str, tuple[float, int]] = {}
        """When each was entered, as `monotonic` tells it, and when it was listed first."""
        self._indexed: set[str] = set()
        self._turn = asyncio.Lock()

    async def register(
        self, projects: "Collection", project_ids: Iterable[str], before: RegisteredProjects | None = None
    ) -> RegisteredProjects:
        """Enter projects before anything is written into them; nothing happens where that was done just now.

        Who needs longer enters them again before each write, with what came of it before.

        Raises:
            UnavailableError: a majority did not confirm the write, or a project is being purged, or was since `before`.
        """
        wanted = set(project_ids)
        if self._due(wanted):
            async with self._turn:  # of many who write into a new project at once, one enters it
                await self._enter(projects, self._due(wanted))
        entered = {one: self._entered[one][1] for one in wanted if one in self._entered}
        for project_id, created_at in (before or {}).items():
            if entered.get(project_id, created_at) != created_at:
                raise UnavailableError(f"{project_id} was purged meanwhile; send it again")
        return entered

    async def _enter(self, projects: "Collection", due: set[str]) -> None:
        if not due:
            return
        began = monotonic()
        for project_id, row in (await _list(projects, due)).items():
            self._entered.pop(project_id, None)
            self._entered[project_id] = began, row["created_at"]
            self._note(project_id, row)
        for forgotten in list(self._entered)[:-_REMEMBERED]:
            del self._entered[forgotten]
            self._indexed.discard(forgotten)

    async def check_not_purging(self, projects: "Collection", project_id: str) -> RegisteredProjects:
        """See that a project is not being purged; when it was listed first, if it is."""
        listed = await _look(projects, [project_id])
        self._note(project_id, listed.get(project_id, {}))
        return {one: row["created_at"] for one, row in listed.items()}

    def indexed(self, project_ids: Iterable[str]) -> set[str]:
        """Those of some projects, entered or admitted just now, whose calls' texts are indexed."""
        return self._indexed.intersection(project_ids) if self._indexed else self._indexed

    def _note(self, project_id: str, row: dict[str, Any]) -> None:
        (self._indexed.add if row.get(SEARCH) else self._indexed.discard)(project_id)

    def _due(self, project_ids: set[str]) -> set[str]:
        due_since = monotonic() - LAG_SECONDS
        return {one for one in project_ids if self._entered.get(one, (due_since, 0))[0] <= due_since}


async def _list(projects: "Collection", project_ids: set[str]) -> dict[str, dict[str, Any]]:
    # Who is refused must not write first: many of them would stand in the way of the purge's own writes.
    await _look(projects, project_ids)
    for _ in range(_ATTEMPTS):
        await write(projects, [entry(project_id, last_activity_at=times.now()) for project_id in sorted(project_ids)])
        # Once more: a purge marks first and looks at the last activity then, so that one of the two sees the other.
        listed = await _look(projects, project_ids)
        if listed.keys() == project_ids:
            return listed
    raise UnavailableError("the project is purged again and again; send it again")  # an entry was gone each time


async def _look(projects: "Collection", project_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those of some projects that are listed, none of which is being purged, with what their entries say of them.

    Raises:
        UnavailableError: one of them is.
    """
    among = {"_id": {"$in": list(project_ids)}}
    listed = {}
    async for row in projects.find(among, {PURGING: 1, "created_at": 1, SEARCH: 1}):
        if row.get(PURGING) is not None:
            raise UnavailableError(f"{row['_id']} is being purged; nothing of this is stored, send it again after that")
        listed[row["_id"]] = row
    return listed


def entry(project_id: str, created_at: int | None = None, last_activity_at: int | None = None) -> UpdateOne:
    """What enters a project, if it is not there, and moves its last activity on, where that is given."""
    entity, _, name = project_id.partition("/")
    created_at = next((time for time in (created_at, last_activity_at) if time is not None), times.now())
    new = {"id": project_id, "entity": entity, "name": name, "created_at": created_at}
    moved = {} if last_activity_at is None else {"$max": {"last_activity_at": last_activity_at}}
    update: dict[str, Any] = {"$setOnInsert": new, **moved}
    return UpdateOne({"_id": project_id}, update, upsert=True)


async def write(projects: "Collection", entries: list[UpdateOne]) -> int:
    """Write entries; how many of them are new.

    Raises:
        UnavailableError: a majority did not confirm the write.
    """
    try:
        done = await projects.bulk_write(entries, ordered=False)
    except BulkWriteError as error:
        details: dict[str, Any] = dict(error.details or {})
        failures = details.get("writeErrors", [])
        if any(failure["code"] != DUPLICATE_KEY for failure in failures):
            raise
        if details.get("writeConcernErrors"):
            raise UnavailableError("the database did not confirm the write; send it again") from error
        # Another process came between MongoDB's look and its write; the project is there now.
        await projects.bulk_write([entries[failure["index"]] for failure in failures], ordered=False)
        return int(details["nUpserted"])
    return done.upserted_count
