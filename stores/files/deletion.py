"""Deletion of files: the file documents first, atomically; then the content, in steps.

Deleted files stay in a list until all of their content is deleted, so another process can resume after a crash.
"""

from collections.abc import Sequence
from typing import Final

from stores.database import Database, Document
from stores.database.paced_steps import WorkSteps, key_range, weighted_batches
from stores.database.transactions import Session

FIELDS: Final = ("project_id", "length", "chunkSize")
"""Fields that `remove` needs of a file."""

_CHUNK_BATCH: Final = 40
"""Chunks deleted in one step, about 10 MiB."""
_FILE_BATCH: Final = 200


async def remove(database: Database, session: Session, files: Sequence[Document]) -> None:
    """Delete file documents (with `FIELDS`) and queue their content for deletion."""
    keys = [file["_id"] for file in files]
    projects = list({file["project_id"] for file in files})
    await database.files.delete_many({"_id": {"$in": keys}, "project_id": {"$in": projects}}, session=session)
    doomed = [{"_id": file["_id"], "chunks": -(-file["length"] // file["chunkSize"])} for file in files]
    await database.doomed_files.insert_many(doomed, session=session)


async def discard_removed(database: Database, project_id: str | None = None) -> WorkSteps:
    """Delete the content of removed files, of one project or of all, in steps."""
    match = {} if project_id is None else {"_id": key_range(project_id)}
    while removed := await database.doomed_files.find(match, sort=[("_id", 1)], limit=_FILE_BATCH).to_list(None):
        for files in weighted_batches(removed, "chunks", _CHUNK_BATCH):
            keys = {"$in": [file["_id"] for file in files]}
            for last in range(_CHUNK_BATCH, files[0]["chunks"], _CHUNK_BATCH):
                await database.file_chunks.delete_many({"files_id": keys, "n": {"$lt": last}})
                yield
            await database.file_chunks.delete_many({"files_id": keys})
            await database.doomed_files.delete_many({"_id": keys})
            yield
