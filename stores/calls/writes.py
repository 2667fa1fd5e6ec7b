"""Writes of calls: batches of starts and ends, and upserts that are safe with concurrent writers."""

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
class PreparedCall:
    """The validated fields of one call's start and end, with their files; without an end the call is running."""

    start: Document
    end: Document | None = None
    files: list[NewFile] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Bytes of the call's JSON as text."""
        return int(self.start["start_size_bytes"]) + int(self.end["end_size_bytes"] if self.end else 0)


@dataclass(slots=True)
class _Call:
    """The fields of the last start and the last end of one call in a batch.

    A start with a display name replaces an earlier rename, even if a later start in the batch has none.
    """

    start: Document | None = None
    end: Document | None = None
    ends_rename: bool = False

    def add_start(self, fields: Document) -> None:
        self.start = fields
        self.ends_rename = self.ends_rename or "display_name" in fields

    def mark_for_indexing(self, search_due: dict[str, str]) -> None:
        """Mark the call for the text indexer if its project has an index."""
        for part in (self.start, self.end):
            if part and (due := search_due.get(part["project_id"])):
                part["search_due"] = due

    def updates(self) -> Iterator[UpdateOne]:
        if self.start:
            yield upsert(self.start, documents.start_update(self.start, ends_rename=self.ends_rename))
        if self.end:
            yield upsert(self.end, documents.end_update(self.end))


async def write_batch(database: Database, batch: Sequence[CallStart | CallEnd]) -> None:
    """Validate every start and end, then store all; the last start and the last end of each call win.

    Files are stored first, so that no call refers to a missing file. New calls are inserted whole, at a third of the
    cost of an update; existing ones are updated.

    Raises:
        StoreError: if a part is invalid or too large; the error names its position, and nothing is stored.
    """
    await _store(database, *await _prepare(batch))


async def end_if_running(database: Database, end: CallEnd) -> bool:
    """End a running call; return False and store nothing if it has ended or is gone."""
    fields, _ = await prepare_fields(end.checked())
    running = {name: fields[name] for name in documents.KEY_FIELDS} | {"status": "running"}
    await database.ensure_not_purging(end.project_id)
    if search_due := database.search_marks([end.project_id]):
        fields["search_due"] = search_due[end.project_id]
    result = await database.calls.update_one(running, documents.end_update(fields))
    return result.modified_count == 1


async def write_prepared_calls(database: Database, whole_calls: Sequence[PreparedCall]) -> None:
    """Store prepared calls; if a call occurs twice, the later one wins."""
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
    registered = await database.ensure_projects_listed(project_ids)
    for project_id, project_files in files.items():
        await write_files(database, project_id, project_files)
        await database.ensure_projects_listed(project_ids, registered)
    if search_due := database.search_marks(project_ids):
        for part in parts.values():
            part.mark_for_indexing(search_due)
    existing = await insert_new(
        calls, [documents.whole_call(part.start, part.end) for part in parts.values() if part.start]
    )
    to_update = [part for key, part in parts.items() if key in existing or not part.start]
    if to_update:
        await database.ensure_projects_listed(project_ids)
    await write_upserts(calls, [update for part in to_update for update in part.updates()])


async def _prepare(batch: Sequence[CallStart | CallEnd]) -> tuple[dict[str, _Call], dict[str, list[NewFile]]]:
    parts: dict[str, _Call] = {}
    files: dict[str, list[NewFile]] = {}
    async for position, part in cooperative(enumerate(batch)):
        mode = "start" if isinstance(part, CallStart) else "end"
        try:
            fields, part_files = await prepare_fields(part.checked())
        except StoreError as error:
            raise error.prefixed(f"batch.{position}.{mode}") from None
        if part_files:
            files.setdefault(part.project_id, []).extend(part_files)
        call = parts.setdefault(fields["_id"], _Call())
        if mode == "start":
            call.add_start(fields)
        else:
            call.end = fields
    return parts, files


async def prepare_fields(part: CallStart | CallEnd) -> tuple[Document, list[NewFile]]:
    """Return the stored fields of a checked start or end (`stored_fields`); large ones are prepared in a thread."""
    if part.is_large:
        return await asyncio.to_thread(documents.stored_fields, part)
    try:
        return documents.stored_fields(part, fast_only=True)
    except TakesLongError:
        return await asyncio.to_thread(documents.stored_fields, part)


async def insert_new(calls: Collection, new: list[Document]) -> set[str]:
    """Insert the new ones among some calls; return the `_id`s of those that exist already."""
    if not new:
        return set()
    try:
        await calls.insert_many(new, ordered=False)
    except BulkWriteError as error:
        return {new[position]["_id"] for position in _duplicates(error)}
    return set()


def upsert(key_fields: Document, pipeline: Pipeline) -> UpdateOne:
    """Build an upsert that runs a pipeline on a call's document."""
    return UpdateOne({name: key_fields[name] for name in documents.KEY_FIELDS}, pipeline, upsert=True)


async def write_upserts(calls: Collection, updates: list[UpdateOne]) -> None:
    """Run upserts in any order; retry those that lost a race to create the document."""
    for _ in range(_ATTEMPTS):
        if not updates:
            return
        try:
            await calls.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            updates = [updates[position] for position in _duplicates(error)]
        else:
            return
    raise ConflictError("too many concurrent writers of the same call; retry")


def _duplicates(error: BulkWriteError) -> list[int]:
    """Return the positions of duplicate-key failures in a bulk write.

    Raises:
        UnavailableError: if a majority did not confirm the write.
        PayloadTooLargeError: if a call's stored part and new part together exceed a document.
    """
    details: dict[str, Any] = dict(error.details or {})
    failures = details.get("writeErrors", [])
    others = [failure for failure in failures if failure["code"] != DUPLICATE_KEY]
    if any(failure["code"] in TOO_LARGE for failure in others):
        raise PayloadTooLargeError("a call's start and end together exceed the database's document limit")
    if others:
        raise error
    if details.get("writeConcernErrors"):
        raise UnavailableError("the database did not confirm the write; retry") from error
    return [failure["index"] for failure in failures]
