"""Writes of calls: batches of starts and ends, restores, deletes, and upserts that are safe with concurrent writers.

Each start or end becomes a `StoredPart`; the parts of one call become one insert, or updates if the call exists.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from stores.calls import documents
from stores.calls.documents import Document, Pipeline, StoredPart, quick_texts, stored_part
from stores.calls.inputs import CallEnd, CallStart, CallWrite
from stores.concurrency.time_slices import cooperative
from stores.database import Collection, Database
from stores.database.error_translation import DUPLICATE_KEY, TOO_LARGE
from stores.errors import ConflictError, PayloadTooLargeError, StoreError, UnavailableError
from stores.files import NewFile, write_files

_ATTEMPTS: Final = 10
_CHUNK: Final = 10_000
"""Calls of one command while a subtree is deleted."""

_Member = TypeVar("_Member")
_Node = tuple[str, str]
"""A call's trace id and call id."""

Rejected = dict[int, StoreError]
"""The error of each rejected part, by position in the batch."""


class RestoredCall(NamedTuple):
    """A call to restore: its start and, if it has ended, its end."""

    start: CallStart
    end: CallEnd | None = None


@dataclass(slots=True)
class _Call:
    """The fields of the last start and the last end of one call in a batch.

    A start with a display name replaces an earlier rename, even if a later start in the batch has none.
    """

    start: Document | None = None
    end: Document | None = None
    ends_rename: bool = False

    def add(self, fields: Document) -> None:
        if "started_at" in fields:
            self.start = fields
            self.ends_rename = self.ends_rename or "display_name" in fields
        else:
            self.end = fields

    def updates(self) -> Iterator[UpdateOne]:
        """Yield the upserts of a call that may be stored already."""
        if self.start:
            yield upsert(self.start, documents.start_update(self.start, ends_rename=self.ends_rename))
        if self.end:
            yield upsert(self.end, documents.end_update(self.end))

    def additions(self) -> Iterator[UpdateOne]:
        """Yield the updates of a stored call that add its start or its end if it lacks that."""
        if self.start:
            yield _addition(self.start, "started_at", documents.start_update(self.start, ends_rename=False))
        if self.end:
            yield _addition(self.end, "ended_at", documents.end_update(self.end))


async def prepared(write: CallWrite) -> StoredPart:
    """Check a start or an end and convert it to its stored form, in a thread if that takes long.

    Raises:
        StoreError: if the write is invalid or too large; the error names the field.
    """
    write.checked()
    if write.is_large:
        return await asyncio.to_thread(stored_part, write)
    texts, is_quick = quick_texts(write)
    return stored_part(write, texts) if is_quick else await asyncio.to_thread(stored_part, write, texts)


async def write_batch(database: Database, batch: Sequence[CallWrite]) -> None:
    """Validate every start and end, then store all; the last start and the last end of each call win.

    Raises:
        StoreError: if a part is invalid or too large; the error names its position, and nothing is stored.
    """
    parts = []
    async for position, write in cooperative(enumerate(batch)):
        try:
            parts.append(await prepared(write))
        except StoreError as error:
            mode = "start" if isinstance(write, CallStart) else "end"
            raise error.prefixed(f"batch.{position}.{mode}") from None
    await store_parts(database, parts)


async def write_partly(database: Database, batch: Sequence[CallWrite]) -> Rejected:
    """Store the valid parts of a batch; return the errors of the others by position.

    Raises:
        UnavailableError, ConflictError: if the database failed; no part counts as rejected, and the caller may retry
        all.
    """
    parts: dict[int, StoredPart] = {}
    rejected: Rejected = {}
    async for position, write in cooperative(enumerate(batch)):
        try:
            parts[position] = await prepared(write)
        except StoreError as error:
            rejected[position] = error.with_traceback(None)  # the traceback would keep the whole batch in memory
    try:
        await store_parts(database, parts.values())
    except PayloadTooLargeError:
        # A part is too large only together with its call's stored part; the database does not say which.
        for position, part in parts.items():
            try:
                await store_parts(database, [part])
            except PayloadTooLargeError as error:
                rejected[position] = error
    return rejected


async def restore_calls(database: Database, batch: Sequence[RestoredCall]) -> None:
    """Validate every call, then store the missing parts; the first start and the first end of each call win.

    Raises:
        StoreError: if a call is invalid or too large; the error names its position, and nothing is stored.
    """
    parts = []
    async for position, call in cooperative(enumerate(batch)):
        try:
            parts += [await prepared(part) for part in call if part]
        except StoreError as error:
            raise error.prefixed(f"batch.{position}") from None
    await store_parts(database, reversed(parts), keeps_stored=True)


async def store_parts(database: Database, parts: Iterable[StoredPart], *, keeps_stored: bool = False) -> None:
    """Store starts and ends; of each call the last ones win, or with `keeps_stored` those that are stored already.

    Files are stored first, so that no call refers to a missing file. New calls are inserted whole, at a third of the
    cost of an update; existing ones are updated.
    """
    calls: dict[str, _Call] = {}
    files: dict[str, list[NewFile]] = {}
    for part in parts:
        calls.setdefault(part.fields["_id"], _Call()).add(part.fields)
        if part.files:
            files.setdefault(part.fields["project_id"], []).extend(part.files)
    project_ids = {key.partition(":")[0] for key in calls}
    registered = await database.ensure_projects_listed(project_ids)
    for project_id, project_files in files.items():
        await write_files(database, project_id, project_files)
        await database.ensure_projects_listed(project_ids, registered)
    if search_due := database.search_marks(project_ids):
        _mark_for_indexing(calls.values(), search_due)
    existing = await _insert_new(
        database.calls, [documents.whole_call(call.start, call.end) for call in calls.values() if call.start]
    )
    to_update = [call for key, call in calls.items() if key in existing or not call.start]
    if to_update:
        await database.ensure_projects_listed(project_ids, registered if keeps_stored else None)
    updates = [update for call in to_update for update in (call.additions() if keeps_stored else call.updates())]
    await write_upserts(database.calls, updates)


def _mark_for_indexing(calls: Iterable[_Call], search_due: dict[str, str]) -> None:
    """Mark the calls of projects with a text index for the indexer."""
    for call in calls:
        for fields in (call.start, call.end):
            if fields and (due := search_due.get(fields["project_id"])):
                fields["search_due"] = due


async def end_if_running(database: Database, end: CallEnd) -> bool:
    """End a running call; return False and store nothing if it has ended or is gone."""
    fields = (await prepared(end)).fields
    running = {name: fields[name] for name in documents.KEY_FIELDS} | {"status": "running"}
    await database.ensure_not_purging(end.project_id)
    if search_due := database.search_marks([end.project_id]):
        fields["search_due"] = search_due[end.project_id]
    result = await database.calls.update_one(running, documents.end_update(fields))
    return result.modified_count == 1


async def delete_calls(calls: Collection, project_id: str, call_ids: Sequence[str], wb_user_id: str) -> int:
    """Hide calls, their descendants, and any later part of the given ids.

    Returns the number of visible calls that are now hidden.
    """
    deleted_ids = list(dict.fromkeys([*call_ids, *await _descendants(calls, project_id, call_ids)]))
    update = documents.delete_update(wb_user_id)
    hidden = 0
    for chunk in _chunks(deleted_ids):
        match = _key_match(project_id, chunk) | {"visible": True}
        hidden += (await calls.update_many(match, update)).modified_count
    await write_upserts(calls, [upsert(documents.key_fields(project_id, call_id), update) for call_id in set(call_ids)])
    return hidden


def _key_match(project_id: str, call_ids: Sequence[str]) -> dict[str, Any]:
    keys = [documents.key_fields(project_id, call_id)["_id"] for call_id in call_ids]
    return {"_id": {"$in": keys}, "project_id": project_id}


async def _descendants(calls: Collection, project_id: str, call_ids: Sequence[str]) -> list[str]:
    roots = _key_match(project_id, call_ids) | {"trace_id": {"$exists": True}}
    level: list[_Node] = [(root["trace_id"], root["id"]) async for root in calls.find(roots, {"trace_id": 1, "id": 1})]
    known = set(level)
    while level:
        level = [child for child in await _children(calls, project_id, level) if child not in known]
        known.update(level)
    return [call_id for _, call_id in known]


async def _children(calls: Collection, project_id: str, parents: list[_Node]) -> list[_Node]:
    parent_nodes = set(parents)
    children: list[_Node] = []
    for chunk in _chunks(parents):
        parent_ids = [call_id for _, call_id in chunk]
        # Deleted calls may have got new children; naming both values lets MongoDB use the index.
        match = {"project_id": project_id, "visible": {"$in": [True, False]}, "parent_id": {"$in": parent_ids}}
        cursor = calls.find(match, {"trace_id": 1, "id": 1, "parent_id": 1})
        children += [
            (call["trace_id"], call["id"])
            async for call in cursor
            if (call["trace_id"], call["parent_id"]) in parent_nodes
        ]
    return children


def _chunks(members: Sequence[_Member]) -> Iterator[Sequence[_Member]]:
    return (members[start : start + _CHUNK] for start in range(0, len(members), _CHUNK))


async def _insert_new(calls: Collection, new: list[Document]) -> set[str]:
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


def _addition(fields: Document, missing_field: str, pipeline: Pipeline) -> UpdateOne:
    """Build an update of a call's document that applies only while it lacks a field."""
    match = {name: fields[name] for name in documents.KEY_FIELDS}
    return UpdateOne(match | {missing_field: {"$exists": False}}, pipeline)


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
