"""Writing calls: batches of starts and ends, and upserts that hold against other writers."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from stores.calls import documents
from stores.calls.documents import Document, Pipeline
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.payloads import TakesLongError
from stores.concurrency.time_slices import cooperative
from stores.database import Collection, Database
from stores.database.error_translation import DUPLICATE_KEY, TOO_LARGE
from stores.errors import ConflictError, PayloadTooLargeError, StoreError, UnavailableError
from stores.files import NewFile, write_files

_ATTEMPTS = 10


@dataclass(slots=True)
class WholeCall:
    """What the start and the end of one call store, each held to its rules before, and the files in them.

    A call without an end is one that runs.
    """

    start: Document
    end: Document | None = None
    files: list[NewFile] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """What its JSON takes as text."""
        return int(self.start["start_size_bytes"]) + int(self.end["end_size_bytes"] if self.end else 0)


@dataclass(slots=True)
class _Call:
    """The fields of the last start and the last end that a batch holds of one call.

    A start with a name ends what a rename gave before, even where another start comes after it.
    """

    start: Document | None = None
    end: Document | None = None
    ends_rename: bool = False

    def add_start(self, fields: Document) -> None:
        self.start = fields
        self.ends_rename = self.ends_rename or "display_name" in fields

    def mark(self, search_due: dict[str, str]) -> None:
        """Have its text indexed, if its project's are."""
        for part in (self.start, self.end):
            if part and (due := search_due.get(part["project_id"])):
                part["search_due"] = due

    def updates(self) -> Iterator[UpdateOne]:
        if self.start:
            yield upsert(self.start, documents.start_update(self.start, ends_rename=self.ends_rename))
        if self.end:
            yield upsert(self.end, documents.end_update(self.end))


async def write_batch(database: Database, batch: Sequence[CallStart | CallEnd]) -> None:
    """Check every start and end, then store all; of two starts of one call the later counts, and so of two ends.

    The files that are in them are stored first, so that no call lacks its own.

    A call that is new is inserted whole, at a third of an update's cost; one that is there is updated.

    Raises:
        StoreError: a part breaks a rule or is too large; the error names its position, and nothing is stored.
    """
    await _store(database, *await _prepare(batch))


async def end_if_running(database: Database, end: CallEnd) -> bool:
    """End a call that is there and runs; False, and nothing is stored, where it has ended or is gone."""
    fields, _ = await made_ready(end.checked())
    running = {name: fields[name] for name in documents.FOUND_BY} | {"status": "running"}
    await database.ensure_not_purging(end.project_id)
    if due := database.search_marks([end.project_id]):
        fields["search_due"] = due[end.project_id]
    done = await database.calls.update_one(running, documents.end_update(fields))
    return done.modified_count == 1


async def write_whole_calls(database: Database, whole_calls: Sequence[WholeCall]) -> None:
    """Store calls that were made ready before; of one that comes twice the later counts."""
    parts: dict[str, _Call] = {}
    files: dict[str, list[NewFile]] = {}
    for whole in whole_calls:
        call = parts.setdefault(whole.start["_id"], _Call())
        call.add_start(whole.start)
        call.end = whole.end or call.end
        if whole.files:
            files.setdefault(whole.start["project_id"], []).extend(whole.files)
    await _store(database, parts, files)


async def _store(database: Database, parts: dict[str, _Call], files: dict[str, list[NewFile]]) -> None:
    calls = database.calls
    project_ids = {key.partition(":")[0] for key in parts}
    entered = await database.ensure_projects_listed(project_ids)
    for project_id, found in files.items():
        await write_files(database, project_id, found)
        await database.ensure_projects_listed(project_ids, entered)
    if search_due := database.search_marks(project_ids):
        for part in parts.values():
            part.mark(search_due)
    there = await insert_new(
        calls, [documents.whole_call(part.start, part.end) for part in parts.values() if part.start]
    )
    waiting = [part for key, part in parts.items() if key in there or not part.start]
    if waiting:
        await database.ensure_projects_listed(project_ids)
    await write_upserts(calls, [update for part in waiting for update in part.updates()])


async def _prepare(batch: Sequence[CallStart | CallEnd]) -> tuple[dict[str, _Call], dict[str, list[NewFile]]]:
    parts: dict[str, _Call] = {}
    files: dict[str, list[NewFile]] = {}
    async for position, part in cooperative(enumerate(batch)):
        mode = "start" if isinstance(part, CallStart) else "end"
        try:
            fields, found = await made_ready(part.checked())
        except StoreError as error:
            raise error.prefixed(f"batch.{position}.{mode}") from None
        if found:
            files.setdefault(part.project_id, []).extend(found)
        call = parts.setdefault(fields["_id"], _Call())
        if mode == "start":
            call.add_start(fields)
        else:
            call.end = fields
    return parts, files


async def made_ready(part: CallStart | CallEnd) -> tuple[Document, list[NewFile]]:
    """What a checked start or end stores, as by `documents.fields_of`; what is large keeps no one waiting."""
    if part.is_large:
        return await asyncio.to_thread(documents.fields_of, part)
    try:
        return documents.fields_of(part, at_once=True)
    except TakesLongError:
        return await asyncio.to_thread(documents.fields_of, part)


async def insert_new(calls: Collection, new: list[Document]) -> set[str]:
    """Insert the calls that are not there yet; the keys of those that are."""
    if not new:
        return set()
    try:
        await calls.insert_many(new, ordered=False)
    except BulkWriteError as error:
        return {new[position]["_id"] for position in _duplicates(error)}
    return set()


def upsert(found_by: Document, pipeline: Pipeline) -> UpdateOne:
    """A pipeline over the call's document, made if it is not there yet."""
    return UpdateOne({name: found_by[name] for name in documents.FOUND_BY}, pipeline, upsert=True)


async def write_upserts(calls: Collection, updates: list[UpdateOne]) -> None:
    """Run upserts that may come in any order; one that another writer outran in making the document is run again."""
    for _ in range(_ATTEMPTS):
        if not updates:
            return
        try:
            await calls.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            updates = [updates[position] for position in _duplicates(error)]
        else:
            return
    raise ConflictError("too many writers made the same call at once; send it again")


def _duplicates(error: BulkWriteError) -> list[int]:
    """The positions whose key was there already; any other failure in the bulk is the database's.

    Raises:
        UnavailableError: a majority did not confirm the write.
        PayloadTooLargeError: what was there and what came do not fit into one document.
    """
    details: dict[str, Any] = dict(error.details or {})
    failures = details.get("writeErrors", [])
    others = [failure for failure in failures if failure["code"] != DUPLICATE_KEY]
    if any(failure["code"] in TOO_LARGE for failure in others):
        raise PayloadTooLargeError("a call is larger than the database takes at once, its start and end together")
    if others:
        raise error
    if details.get("writeConcernErrors"):
        raise UnavailableError("the database did not confirm the write; send it again") from error
    return [failure["index"] for failure in failures]
