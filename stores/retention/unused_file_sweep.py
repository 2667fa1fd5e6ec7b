"""Deletion of a project's files that nothing references any more.

A file stays for a day after it was last stored or read, so that references may arrive later. It also stays while its
digest occurs in a call, object, table row or feedback of its project, tombstones included. Finding out means reading
all of these, so only projects with files of that age are scanned; if a scan takes long, not in every sweep.
"""

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

import re2

from stores import times
from stores.concurrency.time_slices import TimeSlice
from stores.database import Collection, Database, Document
from stores.database.content_store import batches
from stores.database.paced_steps import WorkSteps, key_range
from stores.database.transactions import Session
from stores.files.deletion import FIELDS, discard_removed, remove
from stores.files.uploads import stored_before
from stores.retention.rules import GracePeriods
from stores.retention.sweep_state import SweepLease

_MAX_CANDIDATES: Final = 100_000
"""Maximum digests searched for in one scan: about ten megabytes."""

_REMOVE_BATCH: Final = 200

_SHORT_MICROS: Final = times.SECOND
"""Duration below which a scan runs in every sweep, in microseconds."""
_REPEAT_FACTOR: Final = 20
"""Interval between longer scans, as a multiple of their duration."""

DIGEST_LENGTH: Final = 43
"""Letters and digits of a file's digest (`stores.digests`)."""

_RUN: Final = re.compile(rf"[0-9A-Za-z]{{{DIGEST_LENGTH},}}")
_ANY_RUN: Final = re2.compile(_RUN.pattern)
"""Pattern of a run in RE2, which is ten times as fast for texts without a run, as most are."""

_SLICE_LENGTH: Final = 50_000
_SEARCH_BATCH: Final = 500

_SEARCHED: Final = dict.fromkeys(("json", "visible", "trace_id", "deleted_at", "call_id"), 1)
"""Fields to read: the texts, and those that decide if a document is deleted, too."""

IsDoomed = Callable[[Document], bool]


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
        last_scan: dict[str, int] = self._lease.state.get("files_looked_for", {"at": 0, "took": 0})
        is_long = last_scan["took"] >= _SHORT_MICROS
        if is_long and times.now() - last_scan["at"] < _REPEAT_FACTOR * last_scan["took"]:
            return
        started_at, last = times.now(), ""
        while candidates := await next_files(self._database, self._lease.project_id, self._before, last):
            last = max(candidates)
            digests = {digest for digest, _ in candidates.values()}
            async for _ in remove_referenced(self._database, self._lease.project_id, digests):
                await self._lease.advance()
                yield
            unused = [key for key, (digest, _) in candidates.items() if digest in digests]
            for keys in batches(unused, _REMOVE_BATCH):
                await self._database.transaction(partial(self._remove, keys=list(keys)))
                yield
            async for _ in discard_removed(self._database, self._lease.project_id):
                yield
        now = times.now()
        await self._lease.advance({"files_looked_for": {"at": now, "took": now - started_at}})

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


def digests_in(text: str, digests: AbstractSet[str]) -> Iterator[str]:
    """Yield the given digests that occur anywhere in a text, even inside longer words."""
    for run in _RUN.findall(text) if _ANY_RUN.search(text) else ():
        for start in range(len(run) - DIGEST_LENGTH + 1):
            word = run[start : start + DIGEST_LENGTH]
            if word in digests:
                yield word


async def remove_referenced(
    database: Database, project_id: str, digests: set[str], is_doomed: IsDoomed = lambda _document: False
) -> WorkSteps:
    """Remove from `digests` those that occur anywhere in a project, one batch of documents per step.

    Documents for which `is_doomed` is True are ignored: it gets a call, version or feedback with the fields that
    decide. It ends early if no digest is left.
    """
    for collection in (database.objects, database.table_rows, database.feedback, database.calls):
        after = ""
        while digests:
            previous, after = after, await _search_batch(collection, project_id, after, digests, is_doomed)
            yield
            if after == previous:
                break


async def _search_batch(
    collection: Collection, project_id: str, after: str, digests: set[str], is_doomed: IsDoomed
) -> str:
    """Search the next batch of documents; return the key of the last one, or `after` if there are no more."""
    match = {"_id": key_range(project_id, after), "project_id": project_id}
    time_slice = TimeSlice()
    async for document in collection.find(
        match, _SEARCHED, sort=[("_id", 1)], limit=_SEARCH_BATCH, batch_size=_SEARCH_BATCH + 1
    ):
        after = document["_id"]
        if is_doomed(document):
            continue
        for slice_ in _slices(document.get("json", {})):
            digests.difference_update(list(digests_in(slice_, digests)))
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()
    return after


def _slices(texts: Document) -> Iterator[str]:
    """Yield the texts, long ones in slices that overlap so that no digest is cut."""
    for text in texts.values():
        for start in range(0, len(text), _SLICE_LENGTH):
            yield text[start : start + _SLICE_LENGTH + DIGEST_LENGTH - 1]
