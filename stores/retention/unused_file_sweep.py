"""Files of a project that nothing speaks of any more.

A file stays for a day after it was last stored or asked for (`stores.files.touch`), so that what refers to it may
come later; and as long as its digest stands anywhere in a call, an object, a table's row or feedback of its project,
deleted ones included while they are there. To know that, all of these are looked through, in projects that have files
of that age; where it takes long, not in every sweep.
"""

from functools import partial
from typing import Final

from stores import times
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.paced_steps import WorkSteps
from stores.database.transactions import Session
from stores.files.deletion import FIELDS, discard_removed, remove
from stores.files.touch import stored_before
from stores.retention.file_references import all_mentioned
from stores.retention.rules import GracePeriods
from stores.retention.sweep_state import SweepLease

_CANDIDATES: Final = 100_000
"""Digests that are looked for at once: some ten megabytes."""

_AT_ONCE: Final = 200

_SHORT: Final = times.SECOND
"""What takes less, in microseconds, can be done at any time."""
_SELDOM: Final = 20
"""What takes longer is done again after so many times as long."""


class UnusedFilesSweep:
    """The removal of a project's unused files."""

    def __init__(self, database: Database, hold: SweepLease, patience: GracePeriods) -> None:
        self._database = database
        self._hold = hold
        self._before = times.now() - patience.files

    async def steps(self) -> WorkSteps:
        """Remove them, some at a time."""
        async for _ in discard_removed(self._database, self._hold.project_id):
            yield
        if not self._is_due():
            return
        began, last = times.now(), ""
        while candidates := await some_files(self._database, self._hold.project_id, self._before, last):
            last = max(candidates)
            async for _ in self._remove_unused({digest for digest, _ in candidates.values()}, candidates):
                yield
        now = times.now()
        await self._hold.advance(files_looked_for={"at": now, "took": now - began})

    def _is_due(self) -> bool:
        last: dict[str, int] = self._hold.state.get("files_looked_for", {"at": 0, "took": 0})
        return last["took"] < _SHORT or times.now() - last["at"] >= _SELDOM * last["took"]

    async def _remove_unused(self, digests: set[str], candidates: dict[str, tuple[str, int]]) -> WorkSteps:
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
