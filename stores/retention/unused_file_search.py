"""Search for the files of a project that nothing references: it reads all calls, objects, table rows and feedback."""

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final

import re2

from stores.concurrency.time_slices import TimeSlice
from stores.database import Collection, Database, Document
from stores.database.paced_steps import key_range
from stores.files.uploads import stored_before

_MAX_CANDIDATES: Final = 100_000
"""Maximum digests searched for in one scan: about ten megabytes."""

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
