"""The store of purges: removing whole projects, and what came of that."""

import asyncio
from contextlib import aclosing
from dataclasses import asdict
from typing import Final

from stores.database import Database, Document, database_query
from stores.database.paced_steps import WorkSteps, deadline_in, is_past, run_paced
from stores.errors import BadInputError, NotFoundError
from stores.ids import check_project_id
from stores.purges.purge import LostError, Purge, begin
from stores.purges.reports import PurgeReport
from stores.security import audit

PAUSE: Final = 0.5
"""After each step, how many times as long as it took all others have the database for themselves."""

_POLL_SECONDS: Final = 0.2


class PurgesStore:
    """Purges in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def purge(
        self, project_id: str, confirm: str, seconds: float | None = None, *, waits: bool = True
    ) -> PurgeReport:
        """Remove a project with all that is in it, waiting for so many seconds at most; how far that is then.

        Who asks while a purge of the project is under way waits for that one: nothing that is stored after it goes.

        Args:
            project_id: the project.
            confirm: the project's id again.
            seconds: the longest time that this takes; None for no limit.
            waits: whether this waits for processes that may not have noticed the purge. If not, it returns when all
                that was stored is removed, and the servers' upkeep ends the purge.

        Raises:
            BadInputError: `confirm` is not the project's id.
            NotFoundError: there is no such project.
            UnavailableError: the database is away; the purge goes on when it is back.
        """
        check_project_id(project_id)
        if confirm != project_id:
            raise BadInputError(f"repeat the id {project_id} to remove all that is in the project", "confirm")
        database = self.database
        entry = await database.query(self._entry(project_id))
        if entry is None:
            raise _no_project(project_id)
        audit.record_action("project.purge", project_id)  # before: it may begin although its answer is lost
        if not await database.run(begin(database, project_id, entry["created_at"])):
            raise _no_project(project_id)
        return await self.go_on(project_id, seconds, waits=waits)

    async def _entry(self, project_id: str) -> Document | None:
        return await self.database.projects.find_one({"_id": project_id}, {"created_at": 1})

    async def go_on(self, project_id: str, seconds: float | None = None, *, waits: bool = True) -> PurgeReport:
        """See the purge of a project through, by this process or by another, for so many seconds at most.

        Without `waits` this ends where the purge begins to wait for other processes.

        Raises:
            NotFoundError: none was ever begun.
        """
        deadline = deadline_in(seconds)
        while True:
            purge = await self.database.run(Purge.take(self.database, project_id))
            if purge is not None:
                await self._run(project_id, purge, deadline, waits=waits)
            report = await self.last(project_id)
            if report is None:
                raise NotFoundError(f"{project_id} was never purged", "project_id")
            if report.is_done or is_past(deadline) or (report.waits_until and not waits):
                return report
            await asyncio.sleep(_POLL_SECONDS)

    async def _run(self, project_id: str, purge: Purge, deadline: float | None, *, waits: bool) -> None:
        steps = purge.steps() if waits else _until_waiting(purge)
        try:
            if not await run_paced(self.database, steps, PAUSE, deadline) or purge.is_waiting:
                await self.database.run(purge.leave())
                return
        except LostError:
            return
        done = await self.last(project_id)
        if done and done.is_done:
            audit.record_action("project.purged", project_id, **asdict(done.removed))

    @database_query
    async def last(self, project_id: str) -> PurgeReport | None:
        """The last purge of a project, under way or done; None where there was none."""
        check_project_id(project_id)
        found = await self.database.purges.find_one({"_id": project_id})
        return PurgeReport.of(found) if found else None

    @database_query
    async def unfinished(self) -> list[str]:
        """The projects whose purge is under way, or was left."""
        return await self.database.purges.distinct("_id", {"is_done": False})


async def _until_waiting(purge: Purge) -> WorkSteps:
    """Take the steps of a purge before it waits for other processes; all of them if it does not."""
    async with aclosing(purge.steps()) as steps:
        async for _ in steps:
            if purge.is_waiting:
                return
            yield


def _no_project(project_id: str) -> NotFoundError:
    return NotFoundError(f"there is no project {project_id} (any more)", "project_id")
