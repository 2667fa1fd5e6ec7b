"""Deletion of a project's files that nothing references any more.

A file stays for a day after it was last stored or read, so that references may arrive later. It also stays while its
digest occurs in a call, object, table row or feedback of its project, tombstones included. Finding out means reading
all of these, so only projects with files of that age are scanned; if a scan takes long, not in every sweep.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterator
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


async def sweep_unused_files(lease: SweepLease, grace_periods: GracePeriods) -> WorkSteps:
    """Delete a project's unused files in steps."""
    database, project_id = lease.database, lease.project_id
    before = times.now() - grace_periods.files

    async def remove_unless_used(session: Session, keys: list[str]) -> None:
        """Delete files, unless they were stored or read meanwhile."""
        match = {"_id": {"$in": keys}, "project_id": project_id, **stored_before(before)}
        files = await database.files.find(match, FIELDS, session=session).to_list(None)
        if files:
            await remove(database, session, files)
            await lease.count({"files": len(files), "file_bytes": sum(file["length"] for file in files)}, session)

    async for _ in discard_removed(database, project_id):
        yield
    last_scan: dict[str, int] = lease.state.get("files_looked_for", {"at": 0, "took": 0})
    started_at = times.now()
    is_long = last_scan["took"] >= _SHORT_MICROS
    if is_long and started_at - last_scan["at"] < _REPEAT_FACTOR * last_scan["took"]:
        return
    async for unused in find_unused(database, project_id, before):
        await lease.advance()
        yield
        for files in batches(unused, _REMOVE_BATCH):
            await database.transaction(partial(remove_unless_used, keys=[key for key, _ in files]))
            yield
        async for _ in discard_removed(database, project_id):
            yield
    now = times.now()
    await lease.advance({"files_looked_for": {"at": now, "took": now - started_at}})


def candidates_match(project_id: str, before: int, after: str = "") -> Document:
    """Return the match for a project's files after a key that were last stored or read before a time."""
    return {"_id": key_range(project_id, after), "project_id": project_id, **stored_before(before)}


async def find_unused(
    database: Database, project_id: str, before: int, is_doomed: IsDoomed = lambda _document: False
) -> AsyncGenerator[list[tuple[str, int]], None]:
    """Search a project's calls, objects, rows and feedback in steps; yield key and size of the unused files found.

    Most steps find none. Documents for which `is_doomed` is True are ignored: it gets a call, version or feedback with
    the fields that decide.
    """
    after = ""
    while True:
        match = candidates_match(project_id, before, after)
        rows = database.files.find(match, {"digest": 1, "length": 1}, sort=[("_id", 1)], limit=_MAX_CANDIDATES)
        candidates = [(row["_id"], row["digest"], row["length"]) async for row in rows]
        if not candidates:
            return
        after = candidates[-1][0]
        digests = {digest for _, digest, _ in candidates}
        for collection in (database.objects, database.table_rows, database.feedback, database.calls):
            position = ""
            while digests and (position := await _search_batch(collection, project_id, position, digests, is_doomed)):
                yield []
        yield [(key, size) for key, digest, size in candidates if digest in digests]


def digests_in(text: str, digests: AbstractSet[str]) -> Iterator[str]:
    """Yield the given digests that occur anywhere in a text, even inside longer words."""
    for run in _RUN.findall(text) if _ANY_RUN.search(text) else ():
        for start in range(len(run) - DIGEST_LENGTH + 1):
            word = run[start : start + DIGEST_LENGTH]
            if word in digests:
                yield word


async def _search_batch(
    collection: Collection, project_id: str, after: str, digests: set[str], is_doomed: IsDoomed
) -> str:
    """Remove the digests that occur in the next documents; return the last one's key, or "" if there is none."""
    match = {"_id": key_range(project_id, after), "project_id": project_id}
    last = ""
    time_slice = TimeSlice()
    async for document in collection.find(
        match, _SEARCHED, sort=[("_id", 1)], limit=_SEARCH_BATCH, batch_size=_SEARCH_BATCH + 1
    ):
        last = document["_id"]
        if is_doomed(document):
            continue
        for slice_ in _slices(document.get("json", {})):
            digests.difference_update(list(digests_in(slice_, digests)))
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()
    return last


def _slices(texts: Document) -> Iterator[str]:
    """Yield the texts, long ones in slices that overlap so that no digest is cut."""
    for text in texts.values():
        for start in range(0, len(text), _SLICE_LENGTH):
            yield text[start : start + _SLICE_LENGTH + DIGEST_LENGTH - 1]
