"""Files on their way out: what makes them files first, at once; then their content, part by part.

What was removed is remembered until all of its content is gone, so that whoever comes after a kill goes on with it.
"""

from collections.abc import Sequence
from typing import Any, Final

from stores.database import Database, Document
from stores.steps import Steps
from stores.transactions import Session

_CHUNKS_AT_ONCE: Final = 40
"""About 10 MiB."""


async def remove(database: Database, session: Session, files: Sequence[Document]) -> None:
    """Make files of which `_id` and `project_id` are given no files any more; nobody reads their content then."""
    keys = [file["_id"] for file in files]
    projects = list({file["project_id"] for file in files})
    await database.files.delete_many({"_id": {"$in": keys}, "project_id": {"$in": projects}}, session=session)
    await database.doomed_files.insert_many([{"_id": key} for key in keys], session=session)


async def discard_removed(database: Database, project_id: str | None = None) -> Steps:
    """Discard the content of files that were removed, of one project or of all, some at a time."""
    within: dict[str, Any] = {} if project_id is None else {"$gt": f"{project_id}:", "$lt": f"{project_id};"}
    match = {"_id": within} if within else {}
    while doomed := await database.doomed_files.find_one(match, {"_id": 1}):
        first = 0
        while await database.file_chunks.find_one({"files_id": doomed["_id"]}, {"_id": 1}):
            some = {"files_id": doomed["_id"], "n": {"$lt": first + _CHUNKS_AT_ONCE}}
            await database.file_chunks.delete_many(some)
            first += _CHUNKS_AT_ONCE
            yield
        await database.doomed_files.delete_one({"_id": doomed["_id"]})
        yield
