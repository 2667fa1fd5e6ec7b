"""Purges of whole projects: marked, leased to one process at a time (`stores.database.leases`), and done in steps.

The mark lies in the project's registry entry, which writers check only every few seconds (`project_registry`). The
purge therefore deletes everything, waits until no writer can have missed the mark, and deletes what was stored
meanwhile. Each step deletes in a transaction that also checks that the purge is unfinished and leased to this process.
A slow process therefore cannot touch a project that was created anew after the purge.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Final, Self

from stores import ids, times
from stores.database import Collection, Database, Document, database_query, project_registry
from stores.database.indexes import BY_ID
from stores.database.leases import LEASE_SECONDS, Lease, LeaseLostError
from stores.database.paced_steps import Order, WorkSteps, change_in_batches, deadline_in, is_past, key_range, run_paced
from stores.database.transactions import Session
from stores.errors import BadInputError, ConflictError, NotFoundError
from stores.files.uploads import REMOVAL_FIELDS, discard_removed, remove
from stores.security import audit

_BATCH_SIZE: Final = 500

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


async def start_purge(database: Database, project_id: str, created_at: int) -> bool:
    """Mark a project for a purge, if it is still the one first listed at `created_at`; False otherwise.

    If a purge is already running, it continues unchanged.
    """
    purge_id = ids.new_id()

    async def operation(session: Session) -> bool:
        entry = await database.projects.find_one({"_id": project_id, "created_at": created_at}, session=session)
        if entry is None or project_registry.PURGING in entry:
            return entry is not None
        await database.projects.update_one(
            {"_id": project_id}, {"$set": {project_registry.PURGING: purge_id}}, session=session
        )
        new = {"purge_id": purge_id, "started_at": times.now(), "is_done": False}
        await database.purges.replace_one({"_id": project_id}, new, upsert=True, session=session)
        return True

    return await database.transaction(operation)


class Purge(Lease):
    """The lease on a running purge, and its steps."""

    def __init__(self, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS) -> None:
        super().__init__(database, database.purges, {"_id": project_id, "is_done": False}, lease_seconds)
        self._project_id = project_id
        self._of_project = {"_id": key_range(project_id), "project_id": project_id}

    async def steps(self, *, waits: bool = True) -> WorkSteps:
        """Delete everything in steps, and the registry entry last.

        Without `waits` it ends where it would wait for processes that may not have seen the mark.

        Raises:
            LeaseLostError: if the purge is finished, or another process took it over.
        """
        entry = await self.database.projects.find_one({"_id": self._project_id}) or {}
        until = project_registry.settled_at(entry, self.state["started_at"], self.database.timings)
        if until > times.now():
            with suppress(ConflictError):  # a writer has not seen the mark; the second pass meets no writers
                async for _ in self._remove_all():
                    yield
            while (remaining := (until - times.now()) / times.SECOND) > 0:
                await self.advance({"waits_until": until})
                if not waits:
                    return
                yield
                await asyncio.sleep(min(remaining, 1))
            await self.advance({"waits_until": None})
        while True:
            async for _ in self._remove_all():
                yield
            if await self.database.transaction(self._finish):
                return

    async def _remove_all(self) -> WorkSteps:
        """Delete everything once, each collection in order; documents stored meanwhile before the position remain."""
        for name, collection in self._collections():
            change = partial(self._remove, name=name, collection=collection)
            for match, order in self._parts(name):
                paths = REMOVAL_FIELDS if name == "files" else ("_id", *dict(order))
                async for _ in change_in_batches(self.database, collection, match, _BATCH_SIZE, change, paths, order):
                    yield
        async for _ in discard_removed(self.database, self._project_id):
            await self.advance()
            yield

    def _collections(self) -> list[tuple[str, Collection]]:
        """Return the project's collections and counter names; referring documents precede referenced ones."""
        database = self.database
        return [
            ("hour_marks", database.hour_marks),  # without the state among them, no query reads roll-ups
            ("rollups", database.rollups),
            ("trace_totals", database.trace_totals),
            ("due_threads", database.due_threads),
            ("thread_totals", database.thread_totals),
            ("term_segments", database.term_segments),
            ("term_blocks", database.term_blocks),
            ("evaluation_runs", database.evaluation_runs),
            ("feedback", database.feedback),
            ("calls", database.calls),
            ("objects", database.objects),
            ("heads", database.object_heads),
            ("tables", database.tables),
            ("table_uploads", database.table_uploads),
            ("chunks", database.table_chunks),
            ("table_rows", database.table_rows),
            ("files", database.files),
            ("costs", database.costs),
            ("search_segments", database.search_segments),
            ("search_words", database.search_words),
        ]

    def _parts(self, name: str) -> Iterator[tuple[Document, Order]]:
        """Yield matches for the documents of a collection, and the order in which to delete those.

        Most indexes of calls are by time. In the order of ids, nearly every deleted key would be on another page.
        """
        if name != "calls":
            yield self._of_project, (("_id", 1),)
            return
        for is_visible in (True, False):
            yield {"project_id": self._project_id, "visible": is_visible}, (("started_at", 1), ("id", 1))
        yield {"project_id": self._project_id, "visible": {"$nin": [True, False]}}, ()  # stored by other programs

    async def _remove(self, session: Session, documents: list[Document], name: str, collection: Collection) -> None:
        if name == "files":
            await remove(self.database, session, documents)
        else:
            keys = {"_id": {"$in": [document["_id"] for document in documents]}, "project_id": self._project_id}
            await collection.delete_many(keys, session=session, hint=BY_ID)
        await self.advance(counts={name: len(documents)}, session=session)

    async def _finish(self, session: Session) -> bool:
        """Finish the purge if nothing is left; from then on the project can be created anew."""
        for name, collection in self._collections():
            for match, order in self._parts(name):
                if await collection.find_one(match, {"_id": 1}, sort=list(order) or None, session=session):
                    return False
        await self.database.retention.delete_one({"_id": self._project_id}, session=session)
        await self.database.search_indexes.delete_one({"_id": self._project_id}, session=session)
        entry = {"_id": self._project_id, project_registry.PURGING: self.state["purge_id"]}
        await self.database.projects.delete_one(entry, session=session)
        await self.advance({"is_done": True, "ended_at": times.now(), "waits_until": None}, session=session)
        return True


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
        ids.check_project_id(project_id)
        if confirm != project_id:
            raise BadInputError(f"must repeat the project id {project_id} to confirm the deletion", "confirm")
        database = self.database
        entry = await database.query(database.projects.find_one({"_id": project_id}, {"created_at": 1}))
        if entry is not None:
            # Logged first: the purge may start although the response is lost.
            audit.record_action("project.purge", project_id)
        if entry is None or not await database.run(start_purge(database, project_id, entry["created_at"])):
            raise NotFoundError(f"project {project_id} does not exist (any more)", "project_id")
        return await self.run(project_id, seconds, waits=waits)

    async def run(self, project_id: str, seconds: float | None = None, *, waits: bool = True) -> PurgeReport:
        """Run the purge of a project, or wait for the process that does, up to `seconds`.

        Without `waits` it returns when the purge starts to wait for other processes.

        Raises:
            NotFoundError: if no purge was ever started.
        """
        deadline = deadline_in(seconds)
        while True:
            purge = Purge(self.database, project_id)
            if await purge.acquire():
                with suppress(LeaseLostError):
                    is_over = await run_paced(self.database, purge.steps(waits=waits), PAUSE, deadline)
                    is_released = await purge.release()
                    done = await self.last(project_id) if is_over and not is_released else None
                    if done and done.is_done:
                        audit.record_action("project.purged", project_id, **asdict(done.removed))
            report = await self.last(project_id)
            if report is None:
                raise NotFoundError(f"no purge of {project_id} was ever started", "project_id")
            if report.is_done or is_past(deadline) or (report.waits_until and not waits):
                return report
            await asyncio.sleep(_POLL_SECONDS)

    @database_query
    async def last(self, project_id: str) -> PurgeReport | None:
        """Return the last purge of a project, running or finished; None if there was none."""
        ids.check_project_id(project_id)
        document = await self.database.purges.find_one({"_id": project_id})
        return PurgeReport.from_document(document) if document else None

    @database_query
    async def unfinished(self) -> list[str]:
        """Return the projects with an unfinished purge."""
        return await self.database.purges.distinct("_id", {"is_done": False})
