"""The store of purges: starts, runs and reports deletions of whole projects."""

import asyncio
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

from stores.database import Database, Document, database_query
from stores.database.leases import LeaseLostError
from stores.database.paced_steps import deadline_in, is_past, run_paced
from stores.errors import BadInputError, NotFoundError
from stores.ids import check_project_id
from stores.purges.purge import Purge, start_purge
from stores.security import audit

PAUSE: Final = 0.5
"""Pause after each step, as a multiple of the step's duration, in which the database serves other requests."""

_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Removed:
    """Number of deleted items per concept; calls, feedback and object versions include those deleted before."""

    calls: int = 0
    feedback: int = 0
    objects: int = 0
    tables: int = 0
    table_rows: int = 0
    files: int = 0
    costs: int = 0


REMOVED = tuple(field.name for field in fields(Removed))


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """The last purge of a project; times are microseconds since the epoch.

    `ended_at` is None while it is running. `waits_until` is the end of its wait for processes that may not have seen
    it; None if it does not wait.
    """

    project_id: str
    started_at: int
    ended_at: int | None
    removed: Removed
    waits_until: int | None = None

    @property
    def is_done(self) -> bool:
        """True if everything is deleted."""
        return self.ended_at is not None

    @classmethod
    def from_document(cls, purge: Document) -> Self:
        """Create the report from a purge's document."""
        removed = Removed(*(int(purge.get(name, 0)) for name in REMOVED))
        return cls(purge["_id"], purge["started_at"], purge.get("ended_at"), removed, purge.get("waits_until"))


class PurgesStore:
    """Purges in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def purge(
        self, project_id: str, confirm: str, seconds: float | None = None, *, waits: bool = True
    ) -> PurgeReport:
        """Delete a project with all its data; return the progress at the end or after `seconds`.

        If a purge of the project is running, this waits for it and deletes nothing stored after it.

        Args:
            project_id: the project.
            confirm: the project's id again.
            seconds: the longest time that this takes; None for no limit.
            waits: wait for processes that may not have seen the purge. If False, this returns when all stored data is
                deleted, and the servers' maintenance job finishes the purge.

        Raises:
            BadInputError: if `confirm` is not the project's id.
            NotFoundError: if there is no such project.
            UnavailableError: if the database is unreachable; the purge continues when it is back.
        """
        check_project_id(project_id)
        if confirm != project_id:
            raise BadInputError(f"must repeat the project id {project_id} to confirm the deletion", "confirm")
        database = self.database
        entry = await database.query(self._find_entry(project_id))
        if entry is None:
            raise _no_project(project_id)
        audit.record_action(
            "project.purge", project_id
        )  # logged first: the purge may start although the response is lost
        if not await database.run(start_purge(database, project_id, entry["created_at"])):
            raise _no_project(project_id)
        return await self.run(project_id, seconds, waits=waits)

    async def _find_entry(self, project_id: str) -> Document | None:
        return await self.database.projects.find_one({"_id": project_id}, {"created_at": 1})

    async def run(self, project_id: str, seconds: float | None = None, *, waits: bool = True) -> PurgeReport:
        """Run the purge of a project, or wait for the process that does, up to `seconds`.

        Without `waits` it returns when the purge starts to wait for other processes.

        Raises:
            NotFoundError: if no purge was ever started.
        """
        deadline = deadline_in(seconds)
        while True:
            purge = await Purge.acquire(self.database, project_id)
            if purge is not None:
                await self._run(project_id, purge, deadline, waits=waits)
            report = await self.last(project_id)
            if report is None:
                raise NotFoundError(f"no purge of {project_id} was ever started", "project_id")
            if report.is_done or is_past(deadline) or (report.waits_until and not waits):
                return report
            await asyncio.sleep(_POLL_SECONDS)

    async def _run(self, project_id: str, purge: Purge, deadline: float | None, *, waits: bool) -> None:
        try:
            is_over = await run_paced(self.database, purge.steps(waits=waits), PAUSE, deadline)
        except LeaseLostError:
            return
        if await purge.lease.release() or not is_over:
            return
        done = await self.last(project_id)
        if done and done.is_done:
            audit.record_action("project.purged", project_id, **asdict(done.removed))

    @database_query
    async def last(self, project_id: str) -> PurgeReport | None:
        """Return the last purge of a project, running or finished; None if there was none."""
        check_project_id(project_id)
        document = await self.database.purges.find_one({"_id": project_id})
        return PurgeReport.from_document(document) if document else None

    @database_query
    async def unfinished(self) -> list[str]:
        """Return the projects with an unfinished purge."""
        return await self.database.purges.distinct("_id", {"is_done": False})


def _no_project(project_id: str) -> NotFoundError:
    return NotFoundError(f"project {project_id} does not exist (any more)", "project_id")
