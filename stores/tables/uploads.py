"""Uploads of tables: rows and chunks first, invisible to readers; then the table document, atomically.

Content that fits into one transaction is written together with the table. Otherwise it is an upload, with a document
from before its first part until its table exists or it is abandoned. Each part is a transaction that requires the
upload to be open, so an abandoned upload writes nothing late. Content that a part writes, or finds while another upload
owns it, is marked with the upload's id. If the process dies, nobody touches the upload's document any more. `sweep`
then discards the upload and the content marked with no other id.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Self

from pymongo.errors import PyMongoError

from stores import ids
from stores.database import Collection, Database, Document, content_store
from stores.database.content_store import ALIVE, UPLOAD_LEASE_SECONDS, is_abandoned
from stores.database.paced_steps import WorkSteps, change_in_batches
from stores.database.project_registry import RegisteredProjects
from stores.database.transactions import Session
from stores.errors import ConflictError, UnavailableError
from stores.tables.documents import Builder, RowContent, sizes_of, total_size

MAX_BYTES_WHOLE: Final = 2 * 1024 * 1024
"""Size of new rows and chunks that fit into one transaction; they take far more in the database's cache."""

_ABANDONED: Final = (
    f"the client sent nothing for {UPLOAD_LEASE_SECONDS} seconds, so the table was cancelled; send it again"
)
_DISCARD_BATCH: Final = 250


class Upload:
    """One upload of a table, as a context manager: it is discarded if its block fails.

    The project is registered before the first write.
    """

    def __init__(self, database: Database, project_id: str, entered: RegisteredProjects | None = None) -> None:
        self._database = database
        self._project_id = project_id
        self._registered = entered or {}
        self._rows: dict[str, content_store.Content] = {}
        self._chunks: dict[str, content_store.Content] = {}
        self._buffered_bytes = 0
        self.id: str | None = None
        """Id of the upload's document; None while everything fits into one transaction."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        # After a failure of the database pending writes may still reach it, so a sweep discards this upload later.
        is_final = isinstance(error, Exception) and not isinstance(error, PyMongoError | UnavailableError)
        if is_final and self.id:
            async for _ in discard(self._database, self._project_id, self.id):
                pass

    async def add(self, rows: Iterable[RowContent]) -> None:
        """Buffer rows, and write full buffers.

        Raises:
            ConflictError: the upload was discarded as abandoned.
        """
        for row in rows:
            await self._add(self._rows, row)

    async def publish(self, builder: Builder, size: int | None, reused: Sequence[str] = ()) -> str:
        """Write the rest and insert the table atomically; return its digest.

        `reused` are all row digests of a table of rows that may already exist; its size is computed from them.

        Raises:
            ConflictError: the upload was discarded as abandoned.
        """
        layout = builder.finish()
        for chunk in builder.new.values():
            await self._add(self._chunks, chunk)

        async def work(session: Session) -> None:
            await self._write(session)
            measured = size
            if reused:
                await self._keep(self._database.table_rows, reused, session)
                sizes = await sizes_of(self._database, self._project_id, reused, session)
                measured = total_size(((digest, 1) for digest in reused), sizes)
            await self._register()
            if self.id:
                result = await self._database.table_uploads.delete_one({"_id": self.id, **ALIVE}, session=session)
                await self._check(result.deleted_count)
            await layout.write(self._database.tables, session, measured)

        await self._database.transaction(work)
        return layout.digest

    async def _add(self, buffer: dict[str, content_store.Content], one: content_store.Content) -> None:
        if one.digest in buffer:
            return
        is_full = len(buffer) >= content_store.BATCH or self._buffered_bytes + one.size_bytes > MAX_BYTES_WHOLE
        if is_full and (self._rows or self._chunks):
            if self.id is None:
                await self._create()
            await self._database.transaction(self._write_part)
            self._rows.clear()
            self._chunks.clear()
            self._buffered_bytes = 0
        buffer[one.digest] = one
        self._buffered_bytes += one.size_bytes

    async def _create(self) -> None:
        """Insert the upload's document."""
        await self._register()
        upload_id = f"{self._project_id}:{ids.new_id()}"
        change = {"$set": {"project_id": self._project_id}, "$currentDate": {"touched_at": True}}
        await self._database.table_uploads.update_one({"_id": upload_id}, change, upsert=True)
        self.id = upload_id

    async def _write_part(self, session: Session) -> None:
        await self._write(session)
        touched = {"$currentDate": {"touched_at": True}}
        result = await self._database.table_uploads.update_one({"_id": self.id, **ALIVE}, touched, session=session)
        await self._check(result.matched_count)

    async def _write(self, session: Session) -> None:
        """Write the buffered content."""
        for collection, buffer in (
            (self._database.table_rows, self._rows),
            (self._database.table_chunks, self._chunks),
        ):
            if buffer:
                await self._register()
                existing = await content_store.add_missing(collection, self._project_id, buffer, session, self.id)
                await self._keep(collection, existing, session)

    async def _keep(self, collection: Collection, digests: Sequence[str], session: Session) -> None:
        # Content marked only by closed uploads belongs to a table, because a discard deletes content first.
        if not digests:
            return
        others = await under_way(self._database, self._project_id, session)
        if others := [one for one in others if one != self.id]:
            await content_store.keep(collection, self._project_id, digests, others, session, self.id)

    async def _check(self, count: int) -> None:
        if not count:
            await self._register()  # raises if a purge deleted the upload
            raise ConflictError(_ABANDONED)

    async def _register(self) -> None:
        self._registered = await self._database.ensure_projects_listed(
            self._registered or [self._project_id], self._registered
        )


async def under_way(database: Database, project_id: str, session: Session) -> list[str]:
    """Return the ids of the open uploads of a project."""
    own = {"_id": {"$gt": f"{project_id}:", "$lt": f"{project_id};"}}
    return [found["_id"] async for found in database.table_uploads.find(own, {"_id": 1}, session=session)]


async def abandoned(database: Database, silent_seconds: float = UPLOAD_LEASE_SECONDS) -> list[Document]:
    """Return the uploads that are silent for `silent_seconds` or marked for discard."""
    return await database.table_uploads.find(is_abandoned(silent_seconds), {"project_id": 1}).to_list(None)


async def discard(database: Database, project_id: str, upload_id: str) -> WorkSteps:
    """Discard an upload in steps; do nothing if its table is published."""
    # The update waits for a transaction that writes for the upload, and no such transaction can commit after it.
    marked = await database.table_uploads.update_one({"_id": upload_id}, {"$set": {"doomed": True}})
    if not marked.matched_count:
        return
    for collection in (database.table_chunks, database.table_rows):
        remove = partial(_remove_content, collection, project_id, upload_id)
        async for _ in change_in_batches(
            database, collection, {content_store.UPLOADS: upload_id}, _DISCARD_BATCH, remove
        ):
            yield
    await database.table_uploads.delete_one({"_id": upload_id})


async def _remove_content(
    collection: Collection, project_id: str, upload_id: str, session: Session, documents: list[Document]
) -> None:
    """Delete content of an upload, or only its mark if another upload needs the content."""
    match = {"_id": {"$in": [document["_id"] for document in documents]}, "project_id": project_id}
    await collection.delete_many({**match, content_store.UPLOADS: [upload_id]}, session=session)
    own = {content_store.UPLOADS: upload_id}
    await collection.update_many({**match, **own}, {"$pull": own}, session=session)
