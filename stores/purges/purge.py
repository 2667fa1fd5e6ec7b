"""The purge of one project: marked, leased to one process at a time (`stores.database.leases`), and done in steps.

The mark lies in the project's registry entry, which writers check only every few seconds (`project_registry`). The
purge therefore deletes everything, waits until no writer can have missed the mark, and deletes what was stored
meanwhile. Each step deletes in a transaction that also checks that the purge is unfinished and leased to this process.
A slow process therefore cannot touch a project that was created anew after the purge.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from stores import ids, times
from stores.database import Collection, Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, Lease
from stores.database.paced_steps import WorkSteps, key_range
from stores.database.transactions import Session
from stores.errors import ConflictError
from stores.files.deletion import FIELDS, discard_removed, remove

_BATCH_SIZE: Final = 250


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


class Purge:
    """A running purge, leased to this process."""

    def __init__(self, database: Database, project_id: str, lease: Lease) -> None:
        self._database = database
        self._project_id = project_id
        self._started_at: int = lease.state["started_at"]
        self.lease = lease

    @classmethod
    async def acquire(cls, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS) -> "Purge | None":
        """Acquire the lease on a project's purge; None if no purge is running, or another process has the lease."""
        lease = Lease(database, database.purges, {"_id": project_id, "is_done": False}, lease_seconds)
        return cls(database, project_id, lease) if await lease.acquire() else None

    async def steps(self, *, waits: bool = True) -> WorkSteps:
        """Delete everything in steps, and the registry entry last.

        Without `waits` it ends where it would wait for processes that may not have seen the mark.

        Raises:
            LeaseLostError: if the purge is finished, or another process took it over.
        """
        entry = await self._database.projects.find_one({"_id": self._project_id}) or {}
        until = project_registry.settled_at(entry, self._started_at)
        if until > times.now():
            with suppress(ConflictError):  # a writer has not seen the mark; the second pass meets no writers
                async for _ in self._remove_all():
                    yield
            while (remaining := (until - times.now()) / times.SECOND) > 0:
                await self.lease.advance({"waits_until": until})
                if not waits:
                    return
                yield
                await asyncio.sleep(min(remaining, 1))
            await self.lease.advance({"waits_until": None})
        while True:
            async for _ in self._remove_all():
                yield
            if await self._database.transaction(self._finish):
                return

    async def _remove_all(self) -> WorkSteps:
        """Delete everything once, in the order of keys; documents stored meanwhile at smaller keys remain."""
        for name, collection in self._collections():
            after = ""
            while last := await self._database.transaction(
                partial(self._remove_batch, name=name, collection=collection, after=after)
            ):
                after = last  # continue behind deleted keys, which MongoDB would skip one by one
                yield
        async for _ in discard_removed(self._database, self._project_id):
            await self.lease.advance()
            yield

    def _collections(self) -> list[tuple[str, Collection]]:
        """Return the project's collections and counter names; referring documents precede referenced ones."""
        database = self._database
        return [
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

    def _match(self, after: str = "") -> Document:
        return {"_id": key_range(self._project_id, after), "project_id": self._project_id}

    async def _remove_batch(self, session: Session, name: str, collection: Collection, after: str) -> str | None:
        """Delete the next documents after a key; return the last deleted key, None if there are no more."""
        match = self._match(after)
        paths = FIELDS if name == "files" else {"_id": 1}
        cursor = collection.find(match, paths, sort=[("_id", 1)], limit=_BATCH_SIZE, session=session)
        documents: list[Document] = await cursor.to_list(None)
        if not documents:
            return None
        if name == "files":
            await remove(self._database, session, documents)
        else:
            keys = {"_id": {"$in": [document["_id"] for document in documents]}, "project_id": self._project_id}
            await collection.delete_many(keys, session=session)
        await self.lease.advance(counts={name: len(documents)}, session=session)
        last: str = documents[-1]["_id"]
        return last

    async def _finish(self, session: Session) -> bool:
        """Finish the purge if nothing is left; from then on the project can be created anew."""
        for _, collection in self._collections():
            if await collection.find_one(self._match(), {"_id": 1}, session=session):
                return False
        await self._database.retention.delete_one({"_id": self._project_id}, session=session)
        await self._database.search_indexes.delete_one({"_id": self._project_id}, session=session)
        entry = {"_id": self._project_id, project_registry.PURGING: self.lease.state["purge_id"]}
        await self._database.projects.delete_one(entry, session=session)
        await self.lease.advance({"is_done": True, "ended_at": times.now(), "waits_until": None}, session=session)
        return True
