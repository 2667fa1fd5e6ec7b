"""Files on their way out: what makes them files first, at once; then their content, part by part.

What was removed is remembered until all of its content is gone, so that whoever comes after a kill goes on with it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from stores.database import Database, Document
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session

FIELDS: Final = {"project_id": 1, "length": 1, "chunkSize": 1}
"""What must be known of a file to remove it."""

_CHUNKS_AT_ONCE: Final = 40
"""About 10 MiB."""
_FILES_AT_ONCE: Final = 200


async def remove(database: Database, session: Session, files: Sequence[Document]) -> None:
    """Make files, of which `FIELDS` are given, no files any more; nobody finds their content then."""
    keys = [file["_id"] for file in files]
    projects = list({file["project_id"] for file in files})
    await database.files.delete_many({"_id": {"$in": keys}, "project_id": {"$in": projects}}, session=session)
    doomed = [{"_id": file["_id"], "chunks": -(-file["length"] // file["chunkSize"])} for file in files]
    await database.doomed_files.insert_many(doomed, session=session)


async def discard_removed(database: Database, project_id: str | None = None) -> WorkSteps:
    """Discard the content of files that were removed, of one project or of all, some at a time."""
    match = {} if project_id is None else {"_id": {"$gt": f"{project_id}:", "$lt": f"{project_id};"}}
    while found := await database.doomed_files.find(match, sort=[("_id", 1)], limit=_FILES_AT_ONCE).to_list(None):
        for files in _packed(found):
            keys = {"$in": [file["_id"] for file in files]}
            for last in range(_CHUNKS_AT_ONCE, files[0]["chunks"], _CHUNKS_AT_ONCE):
                await database.file_chunks.delete_many({"files_id": keys, "n": {"$lt": last}})
                yield
            await database.file_chunks.delete_many({"files_id": keys})
            await database.doomed_files.delete_many({"_id": keys})
            yield


def _packed(files: Sequence[Document]) -> Iterator[list[Document]]:
    """The files, as many at once as have so many chunks together; a larger one comes alone."""
    pack: list[Document] = []
    for file in files:
        if pack and sum(each["chunks"] for each in pack) + file["chunks"] > _CHUNKS_AT_ONCE:
            yield pack
            pack = []
        pack.append(file)
    if pack:
        yield pack
