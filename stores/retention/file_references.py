"""References to files: digests anywhere in the JSON of a project."""

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

import re2

from stores.concurrency.time_slices import TimeSlice
from stores.database import Collection, Database, Document
from stores.database.paced_steps import WorkSteps, key_range

DIGEST_LENGTH: Final = 43
"""Letters and digits of a file's digest (`stores.digests`)."""

_RUN: Final = re.compile(rf"[0-9A-Za-z]{{{DIGEST_LENGTH},}}")
_ANY_RUN: Final = re2.compile(_RUN.pattern)
"""Pattern of a run in RE2, which is ten times as fast for texts without a run, as most are."""

_SLICE_LENGTH: Final = 50_000
_BATCH_SIZE: Final = 500

IsDoomed = Callable[[Document], bool]


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
    for collection, paths in _sources(database):
        after = ""
        while digests:
            previous, after = after, await _search_batch(collection, project_id, after, paths, digests, is_doomed)
            yield
            if after == previous:
                break


def _sources(database: Database) -> list[tuple[Collection, dict[str, Any]]]:
    deciding_fields = {"visible": 1, "trace_id": 1, "deleted_at": 1, "call_id": 1}
    return [
        (database.objects, {"json": 1, **deciding_fields}),
        (database.table_rows, {"json": 1}),
        (database.feedback, {"json": 1, **deciding_fields}),
        (database.calls, {"json": 1, **deciding_fields}),
    ]


async def _search_batch(
    collection: Collection, project_id: str, after: str, paths: dict[str, Any], digests: set[str], is_doomed: IsDoomed
) -> str:
    """Search the next batch of documents; return the key of the last one, or `after` if there are no more."""
    match = {"_id": key_range(project_id, after), "project_id": project_id}
    time_slice = TimeSlice()
    async for document in collection.find(
        match, paths, sort=[("_id", 1)], limit=_BATCH_SIZE, batch_size=_BATCH_SIZE + 1
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
