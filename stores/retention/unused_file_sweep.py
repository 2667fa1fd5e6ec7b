"""Deletion of a project's files that nothing references any more.

A file stays for a day after it was last stored or read, so that references may arrive later. It also stays while its
digest occurs in a call, object, table row or feedback of its project, tombstones included. Finding out means reading
all of these, so only projects with files of that age are scanned; if a scan takes long, not in every sweep.
"""

from functools import partial
from typing import Final

from stores import times
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.paced_steps import WorkSteps, key_range
from stores.database.transactions import Session
from stores.files.deletion import FIELDS, discard_removed, remove
from stores.files.uploads import stored_before
from stores.retention.file_references import remove_referenced
from stores.retention.rules import GracePeriods
from stores.retention.sweep_state import SweepLease

_MAX_CANDIDATES: Final = 100_000
"""Maximum digests searched for in one scan: about ten megabytes."""

_BATCH_SIZE: Final = 200

_SHORT_MICROS: Final = times.SECOND
"""Duration below which a scan runs in every sweep, in microseconds."""
_REPEAT_FACTOR: Final = 20
"""Interval between longer scans, as a multiple of their duration."""


class UnusedFilesSweep:
    """Deletes a project's unused files."""

    def __init__(self, lease: SweepLease, grace_periods: GracePeriods) -> None:
        self._database = lease.database
        self._lease = lease
        self._before = times.now() - grace_periods.files

    async def steps(self) -> WorkSteps:
        """Delete them in steps."""
        async for _ in discard_removed(self._database, self._lease.project_id):
            yield
        if not self._is_due():
            return
        started_at, last = times.now(), ""
        while candidates := await next_files(self._database, self._lease.project_id, self._before, last):
            last = max(candidates)
            async for _ in self._remove_unused({digest for digest, _ in candidates.values()}, candidates):
                yield
        now = times.now()
        await self._lease.advance({"files_looked_for": {"at": now, "took": now - started_at}})

    def _is_due(self) -> bool:
        last: dict[str, int] = self._lease.state.get("files_looked_for", {"at": 0, "took": 0})
        return last["took"] < _SHORT_MICROS or times.now() - last["at"] >= _REPEAT_FACTOR * last["took"]

    async def _remove_unused(self, digests: set[str], candidates: dict[str, tuple[str, int]]) -> WorkSteps:
        async for _ in remove_referenced(self._database, self._lease.project_id, digests):
            await self._lease.advance()
            yield
        unused = [key for key, (digest, _) in candidates.items() if digest in digests]
        for keys in batches(unused, _BATCH_SIZE):
            await self._database.transaction(partial(self._remove, keys=list(keys)))
            yield
        async for _ in discard_removed(self._database, self._lease.project_id):
            yield

    async def _remove(self, session: Session, keys: list[str]) -> None:
        """Delete files of a batch, unless they were stored or read meanwhile."""
        match = {"_id": {"$in": keys}, "project_id": self._lease.project_id, **stored_before(self._before)}
        files = await self._database.files.find(match, FIELDS, session=session).to_list(None)
        if files:
            await remove(self._database, session, files)
            counts = {"files": len(files), "file_bytes": sum(file["length"] for file in files)}
            await self._lease.count(counts, session)


async def next_files(database: Database, project_id: str, before: int, after: str = "") -> dict[str, tuple[str, int]]:
    """Return digest and size by key of a project's next files after a key, last stored or read before a time."""
    match: Document = {"_id": key_range(project_id, after), "project_id": project_id, **stored_before(before)}
    rows = database.files.find(match, {"digest": 1, "length": 1}, sort=[("_id", 1)], limit=_MAX_CANDIDATES)
    return {row["_id"]: (row["digest"], row["length"]) async for row in rows}
