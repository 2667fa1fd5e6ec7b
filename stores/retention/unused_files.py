"""Files of a project that nothing speaks of any more.

A file stays for a day after it was last stored or asked for (`stores.files.presence`), so that what refers to it may
come later; and as long as its digest stands anywhere in a call, an object, a table's row or feedback of its project,
deleted ones included while they are there. To know that, all of these are looked through: after something went that
may have spoken of files, and once a day, in projects that have files of that age.
"""

from functools import partial
from typing import Final

from stores import times
from stores.database import Database, Document
from stores.files.presence import stored_before
from stores.files.removal import FIELDS, discard_removed, remove
from stores.retention.mentions import all_mentioned
from stores.retention.rules import DAY, Patience
from stores.retention.states import Hold
from stores.steps import Steps
from stores.tables.content import batches
from stores.transactions import Session

_CANDIDATES: Final = 100_000
"""Digests that are looked for at once: some ten megabytes."""

_AT_ONCE: Final = 200


class UnusedFilesSweep:
    """The removal of a project's unused files."""

    def __init__(self, database: Database, hold: Hold, patience: Patience) -> None:
        self._database = database
        self._hold = hold
        self._before = times.now() - patience.files

    async def steps(self) -> Steps:
        """Remove them, some at a time."""
        async for _ in discard_removed(self._database, self._hold.project_id):
            yield
        if not await self._is_due():
            return
        last = ""
        while candidates := await some_files(self._database, self._hold.project_id, self._before, last):
            last = max(candidates)
            async for _ in self._remove_unused({digest for digest, _ in candidates.values()}, candidates):
                yield
        await self._hold.advance(files_checked_at=times.now(), files_unchecked=False)

    async def _is_due(self) -> bool:
        state = await self._database.retention.find_one({"_id": self._hold.project_id}) or {}
        last = state.get("files_checked_at", 0)
        return bool(state.get("files_unchecked", True)) or last < times.now() - DAY

    async def _remove_unused(self, digests: set[str], candidates: dict[str, tuple[str, int]]) -> Steps:
        async for _ in all_mentioned(self._database, self._hold.project_id, digests):
            await self._hold.advance()
            yield
        unused = [key for key, (digest, _) in candidates.items() if digest in digests]
        for keys in batches(unused, _AT_ONCE):
            await self._database.transaction(partial(self._remove, keys=list(keys)))
            yield
        async for _ in discard_removed(self._database, self._hold.project_id):
            yield

    async def _remove(self, session: Session, keys: list[str]) -> None:
        """Remove those of some files that nobody stored again or asked for meanwhile."""
        match = {"_id": {"$in": keys}, "project_id": self._hold.project_id, **stored_before(self._before)}
        files = await self._database.files.find(match, FIELDS, session=session).to_list(None)
        if files:
            await remove(self._database, session, files)
            counts = {"files": len(files), "file_bytes": sum(file["length"] for file in files)}
            await self._hold.advance(counts, session)


async def some_files(database: Database, project_id: str, before: int, after: str = "") -> dict[str, tuple[str, int]]:
    """The digests and sizes of a project's files that were last stored or asked for before a time, by their keys.

    They are those whose keys come next after one.
    """
    keys = {"$gt": after or f"{project_id}:", "$lt": f"{project_id};"}
    match: Document = {"_id": keys, "project_id": project_id, **stored_before(before)}
    rows = database.files.find(match, {"digest": 1, "length": 1}, sort=[("_id", 1)], limit=_CANDIDATES)
    return {row["_id"]: (row["digest"], row["length"]) async for row in rows}
