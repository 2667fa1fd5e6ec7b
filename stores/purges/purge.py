"""The purge of one project: marked, held by one process at a time, and removed step by step.

The mark is in the project's entry in the register, where all who write look before each write, though really only now
and then (`project_registry`). So the purge removes everything, waits until nobody can have overlooked the mark, and
removes what was stored meanwhile. Each step removes something only in a transaction in which the purge is still under
way and held by the one who removes: whoever was slow, and comes when the purge is over and the project is there anew,
touches nothing of that.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from pymongo import ReturnDocument

from stores import ids, times
from stores.database import Collection, Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.errors import ConflictError
from stores.files.deletion import FIELDS, discard_removed, remove

_AT_ONCE: Final = 250

QUIET_SECONDS: Final = 120
"""In a project in which nothing was stored for so long no process writes before it looks, whatever its clock says."""
_MARGIN_SECONDS: Final = 30
"""What one write takes at most: one bulk of some thousand documents, or one attempt at a transaction."""


class LostError(Exception):
    """The purge is over, or somebody else goes on with it."""


async def begin(database: Database, project_id: str, created_at: int) -> bool:
    """Mark a project to be purged, as it was when it was first listed at a time; False where it is another by now.

    A purge that is under way is all there is to be.
    """
    purge_id = ids.new_id()

    async def work(session: Session) -> bool:
        entry = await database.projects.find_one({"_id": project_id, "created_at": created_at}, session=session)
        if entry is None or project_registry.PURGING in entry:
            return entry is not None
        await database.projects.update_one(
            {"_id": project_id}, {"$set": {project_registry.PURGING: purge_id}}, session=session
        )
        new = {"purge_id": purge_id, "started_at": times.now(), "is_done": False}
        await database.purges.replace_one({"_id": project_id}, new, upsert=True, session=session)
        return True

    return await database.transaction(work)


class Purge:
    """A purge under way, as held by one process."""

    def __init__(self, database: Database, document: Document, holder: str) -> None:
        self._database = database
        self._started_at: int = document["started_at"]
        self.project_id: str = document["_id"]
        self.purge_id: str = document["purge_id"]
        self._holder = holder
        self._own = {"_id": self.project_id, "purge_id": self.purge_id, "holder": holder, "is_done": False}
        self.is_waiting = False

    @classmethod
    async def take(cls, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS) -> "Purge | None":
        """Go on with the purge of a project; None where none is under way, or another is at it."""
        holder = new_holder()
        document = await database.purges.find_one_and_update(
            {"_id": project_id, "is_done": False, **available_to(holder)},
            [{"$set": lease_update(holder, lease_seconds)}],
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else cls(database, document, holder)

    async def leave(self) -> None:
        """Let others go on with it, at once."""
        await self._database.purges.update_one(self._own, {"$unset": {"holder": "", "held_until": ""}})

    async def steps(self) -> WorkSteps:
        """Remove everything, some at a time, until there is nothing, and then the entry in the register.

        Raises:
            LostError: it is over, or somebody else goes on with it.
        """
        if until := await self._last_writes_at():
            with suppress(ConflictError):  # with a writer who has not seen the mark; the second pass meets none
                async for _ in self._remove_all():
                    yield
            async for _ in self._wait_for_writers(until):
                yield
        while True:
            async for _ in self._remove_all():
                yield
            if await self._database.transaction(self._end):
                return

    async def _remove_all(self) -> WorkSteps:
        """Remove everything once, in the order of keys; what is stored behind it meanwhile stays."""
        for name, collection in self._collections():
            after = f"{self.project_id}:"
            while last := await self._database.transaction(
                partial(self._remove_some, name=name, collection=collection, after=after)
            ):
                after = last  # MongoDB steps over what was removed lately, key by key
                yield
        async for _ in discard_removed(self._database, self.project_id):
            await self._advance()
            yield

    def _collections(self) -> list[tuple[str, Collection]]:
        """All that is of a project, by what it is counted as: what refers comes before what it refers to."""
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

    @property
    def _keys(self) -> Document:
        """What every key of the project lies between."""
        return {"$gt": f"{self.project_id}:", "$lt": f"{self.project_id};"}

    @property
    def _match(self) -> Document:
        return {"_id": self._keys, "project_id": self.project_id}

    async def _last_writes_at(self) -> int | None:
        """Return the time after which no process writes that has not seen the mark; None if that is over."""
        entry = await self._database.projects.find_one({"_id": self.project_id}) or {}
        if entry.get("last_activity_at", 0) < self._started_at - QUIET_SECONDS * times.SECOND:
            return None
        until = int(self._started_at + (project_registry.LAG_SECONDS + _MARGIN_SECONDS) * times.SECOND)
        return until if until > times.now() else None

    async def _wait_for_writers(self, until: int) -> WorkSteps:
        """Wait until no process can write that has not seen the mark."""
        while (left := (until - times.now()) / times.SECOND) > 0:
            await self._advance(waits_until=until)
            self.is_waiting = True
            yield
            await asyncio.sleep(min(left, 1))
        self.is_waiting = False
        await self._advance(waits_until=None)

    async def _remove_some(self, session: Session, name: str, collection: Collection, after: str) -> str | None:
        """Remove some documents, those whose keys come next after one; the last key, None where there are no more."""
        match = {**self._match, "_id": {**self._keys, "$gt": after}}
        paths = FIELDS if name == "files" else {"_id": 1}
        found = collection.find(match, paths, sort=[("_id", 1)], limit=_AT_ONCE, session=session)
        documents: list[Document] = await found.to_list(None)
        if not documents:
            return None
        if name == "files":
            await remove(self._database, session, documents)
        else:
            keys = {"_id": {"$in": [document["_id"] for document in documents]}, "project_id": self.project_id}
            await collection.delete_many(keys, session=session)
        await self._advance({name: len(documents)}, session)
        last: str = documents[-1]["_id"]
        return last

    async def _end(self, session: Session) -> bool:
        """End it, if nothing is left; from then on the project may be made anew."""
        for _, collection in self._collections():
            if await collection.find_one(self._match, {"_id": 1}, session=session):
                return False
        await self._database.retention.delete_one({"_id": self.project_id}, session=session)
        await self._database.search_indexes.delete_one({"_id": self.project_id}, session=session)
        entry = {"_id": self.project_id, project_registry.PURGING: self.purge_id}
        await self._database.projects.delete_one(entry, session=session)
        await self._advance(session=session, is_done=True, ended_at=times.now(), waits_until=None)
        return True

    async def _advance(
        self, counts: dict[str, int] | None = None, session: Session | None = None, **changes: object
    ) -> None:
        """Count what went, as long as the purge is ours."""
        added = {name: {"$add": [{"$ifNull": [f"${name}", 0]}, number]} for name, number in (counts or {}).items()}
        update = [{"$set": {**lease_update(self._holder), **added, **changes}}]
        if not (await self._database.purges.update_one(self._own, update, session=session)).matched_count:
            raise LostError
