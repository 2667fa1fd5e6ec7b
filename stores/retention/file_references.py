"""Where files are spoken of: digests that stand anywhere in the JSON of a project."""

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

import re2

from stores.concurrency.time_slices import TimeSlice
from stores.database import Collection, Database, Document
from stores.database.paced_steps import WorkSteps

DIGEST_LENGTH: Final = 43
"""Letters and digits of a file's digest (`stores.digests`)."""

_RUN: Final = re.compile(rf"[0-9A-Za-z]{{{DIGEST_LENGTH},}}")
_ANY_RUN: Final = re2.compile(_RUN.pattern)
"""Tells ten times as fast that there is none, as in most texts."""

_SLICE: Final = 50_000
_STEP: Final = 500

Goes = Callable[[Document], bool]


def mentioned(text: str, digests: AbstractSet[str]) -> Iterator[str]:
    """Those of some digests that a text has in it, in words of any kind: what stands around them does not matter."""
    for run in _RUN.findall(text) if _ANY_RUN.search(text) else ():
        for start in range(len(run) - DIGEST_LENGTH + 1):
            word = run[start : start + DIGEST_LENGTH]
            if word in digests:
                yield word


async def all_mentioned(
    database: Database, project_id: str, digests: set[str], goes: Goes = lambda _document: False
) -> WorkSteps:
    """Take out of some digests those that are spoken of anywhere in a project, a stretch of documents at a time.

    What `goes` (a call, a version, feedback, with what tells so) does not count. It ends early where none is left.
    """
    for collection, paths in _sources(database):
        after = f"{project_id}:"
        while digests:
            before, after = after, await _look_through(collection, project_id, after, paths, digests, goes)
            yield
            if after == before:
                break


def _sources(database: Database) -> list[tuple[Collection, dict[str, Any]]]:
    told_by = {"visible": 1, "trace_id": 1, "deleted_at": 1, "call_id": 1}
    return [
        (database.objects, {"json": 1, **told_by}),
        (database.table_rows, {"json": 1}),
        (database.feedback, {"json": 1, **told_by}),
        (database.calls, {"json": 1, **told_by}),
    ]


async def _look_through(
    collection: Collection, project_id: str, after: str, paths: dict[str, Any], digests: set[str], goes: Goes
) -> str:
    """Look through the documents that come next; the key of the last, or the same where there are no more."""
    match = {"_id": {"$gt": after, "$lt": f"{project_id};"}, "project_id": project_id}
    turn = TimeSlice()
    async for document in collection.find(match, paths, sort=[("_id", 1)], limit=_STEP, batch_size=_STEP + 1):
        after = document["_id"]
        if goes(document):
            continue
        for part in _slices(document.get("json", {})):
            digests.difference_update(list(mentioned(part, digests)))
            if turn.is_used_up():
                await turn.yield_to_loop()
    return after


def _slices(texts: Document) -> Iterator[str]:
    """The texts, long ones in parts that overlap by so much that every digest is in one as a whole."""
    for text in texts.values():
        for start in range(0, len(text), _SLICE):
            yield text[start : start + _SLICE + DIGEST_LENGTH - 1]
