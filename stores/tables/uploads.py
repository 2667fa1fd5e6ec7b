"""Tables on their way in: their rows and chunks first, which nobody reads yet; then, at once, what makes them a table.

What fits into one transaction is written in it together with the table. What is more, or larger, is an upload: it has a
document of its own from before its first part until its table is there or it is given up. Each part is a transaction
in which the upload is still under way, so that nothing of one that was given up comes late. Content that a part writes,
or finds there while it is still another upload's, bears the upload's name. One whose process was killed is left behind
with its document, which nobody touches any more: `sweep` finds it by that, and takes back what bears no other name.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pymongo.errors import PyMongoError

from stores import ids
from stores.database import Collection, Database, Document, content_store
from stores.database.paced_steps import WorkSteps
from stores.database.project_registry import RegisteredProjects
from stores.database.transactions import Session
from stores.database.uploads import ALIVE, LEASE_SECONDS, is_abandoned
from stores.errors import ConflictError, UnavailableError
from stores.tables.layout import Builder
from stores.tables.rows import RowContent

MAX_BYTES_WHOLE: Final = 2 * 1024 * 1024
"""The JSON of new rows that are stored in one transaction, which is far more in the database's cache."""

_LOST: Final = f"nothing came for {LEASE_SECONDS} seconds, so that the table was given up; send it again"
_AT_ONCE: Final = 250


@dataclass(slots=True)
class _Waiting:
    """Content that waits to be written, as much as fits into one transaction."""

    collection: Collection
    contents: dict[str, content_store.Content] = field(default_factory=dict)
    size_bytes: int = 0

    def has_room_for(self, one: content_store.Content) -> bool:
        """Whether one more fits in, as the first of all does."""
        is_small = len(self.contents) < content_store.BATCH and self.size_bytes + one.size_bytes <= MAX_BYTES_WHOLE
        return not self.contents or one.digest in self.contents or is_small

    def put(self, one: content_store.Content) -> None:
        """Put one in, once."""
        if one.digest not in self.contents:
            self.contents[one.digest] = one
            self.size_bytes += one.size_bytes

    def empty(self) -> None:
        """Let go of all."""
        self.contents, self.size_bytes = {}, 0


class Upload:
    """One table on its way into a project, which was entered already or is before the first write."""

    def __init__(self, database: Database, project_id: str, entered: RegisteredProjects | None = None) -> None:
        self._database = database
        self._project_id = project_id
        self._entered = entered or {}
        self._rows, self._chunks = _Waiting(database.table_rows), _Waiting(database.table_chunks)
        self.id: str | None = None
        """Its name, once it is one."""

    async def add(self, rows: Iterable[RowContent]) -> None:
        """Write rows, sooner or later.

        Raises:
            ConflictError: it was given up.
        """
        for row in rows:
            await self._add(self._rows, row)

    async def publish(
        self, builder: Builder, size: int | None, measure: Callable[[Session], Awaitable[int | None]] | None = None
    ) -> str:
        """Make a table of it, all at once; its digest. What tells its size only then may be given in place of that.

        Raises:
            ConflictError: it was given up.
        """
        layout = builder.finish(size)
        for chunk in builder.new.values():
            await self._add(self._chunks, chunk)

        async def work(session: Session) -> None:
            await self._write(session)
            found = layout.sized(await measure(session)) if measure else layout
            await self._enter()
            await self._end(session)
            await found.write(self._database.tables, session)

        await self._database.transaction(work)
        return layout.digest

    async def keep(self, rows: Sequence[str], session: Session) -> None:
        """Let those of some rows that are there stay, whatever becomes of other uploads."""
        await self._keep(self._database.table_rows, rows, session)

    async def discard(self) -> None:
        """Take everything back."""
        if self.id:
            async for _ in discard(self._database, self._project_id, self.id):
                pass

    async def _add(self, waiting: _Waiting, one: content_store.Content) -> None:
        if not waiting.has_room_for(one):
            if self.id is None:
                await self._begin()
            await self._database.transaction(self._write_part)
            self._rows.empty()
            self._chunks.empty()
        waiting.put(one)

    async def _begin(self) -> None:
        """Make it known."""
        await self._enter()
        upload_id = f"{self._project_id}:{ids.new_id()}"
        change = {"$set": {"project_id": self._project_id}, "$currentDate": {"touched_at": True}}
        await self._database.table_uploads.update_one({"_id": upload_id}, change, upsert=True)
        self.id = upload_id

    async def _write_part(self, session: Session) -> None:
        await self._write(session)
        touched = {"$currentDate": {"touched_at": True}}
        done = await self._database.table_uploads.update_one({"_id": self.id, **ALIVE}, touched, session=session)
        await self._check(done.matched_count)

    async def _write(self, session: Session) -> None:
        """Write what waits."""
        for waiting in (self._rows, self._chunks):
            if contents := waiting.contents:
                await self._enter()
                there = await content_store.add_missing(
                    waiting.collection, self._project_id, contents, session, self.id
                )
                await self._keep(waiting.collection, there, session)

    async def _keep(self, collection: Collection, digests: Sequence[str], session: Session) -> None:
        # Content of uploads that are not under way any more is a table's: that of those given up went before them.
        if not digests:
            return
        others = await under_way(self._database, self._project_id, session)
        if others := [one for one in others if one != self.id]:
            await content_store.keep(collection, self._project_id, digests, others, session, self.id)

    async def _end(self, session: Session) -> None:
        if self.id:
            taken = await self._database.table_uploads.delete_one({"_id": self.id, **ALIVE}, session=session)
            await self._check(taken.deleted_count)

    async def _check(self, count: int) -> None:
        if not count:
            await self._enter()  # a purge takes uploads along, and says so
            raise ConflictError(_LOST)

    async def _enter(self) -> None:
        self._entered = await self._database.ensure_projects_listed(self._entered or [self._project_id], self._entered)


@asynccontextmanager
async def upload(
    database: Database, project_id: str, entered: RegisteredProjects | None = None
) -> AsyncIterator[Upload]:
    """An upload that is taken back where the block fails."""
    upload = Upload(database, project_id, entered)
    try:
        yield upload
    except (PyMongoError, UnavailableError):
        raise  # what is on its way to the database may still get there: this is left to a sweep
    except Exception:
        await upload.discard()
        raise


async def under_way(database: Database, project_id: str, session: Session) -> list[str]:
    """The uploads into a project whose content may go."""
    own = {"_id": {"$gt": f"{project_id}:", "$lt": f"{project_id};"}}
    return [found["_id"] async for found in database.table_uploads.find(own, {"_id": 1}, session=session)]


async def abandoned(database: Database, silent_seconds: float = LEASE_SECONDS) -> list[Document]:
    """The uploads of which nothing came for so long, and those that are being taken back."""
    return await database.table_uploads.find(is_abandoned(silent_seconds), {"project_id": 1}).to_list(None)


async def discard(database: Database, project_id: str, upload_id: str) -> WorkSteps:
    """Take back an upload, some content at a time; nothing happens where it has become a table."""
    # Who marks it waits for a transaction that writes for it, and none can end after that.
    marked = await database.table_uploads.update_one({"_id": upload_id}, {"$set": {"doomed": True}})
    if not marked.matched_count:
        return
    for collection in (database.table_chunks, database.table_rows):
        while await database.transaction(partial(_take_back, collection, project_id, upload_id)):
            yield
    await database.table_uploads.delete_one({"_id": upload_id})


async def _take_back(collection: Collection, project_id: str, upload_id: str, session: Session) -> bool:
    """Take back some content of an upload; False where there is no more."""
    own = {content_store.UPLOADS: upload_id}
    found = await collection.find(own, {"_id": 1}, limit=_AT_ONCE, session=session).to_list(None)
    if not found:
        return False
    among = {"_id": {"$in": [document["_id"] for document in found]}, "project_id": project_id}
    await collection.delete_many({**among, content_store.UPLOADS: [upload_id]}, session=session)
    await collection.update_many({**among, **own}, {"$pull": own}, session=session)
    return True
