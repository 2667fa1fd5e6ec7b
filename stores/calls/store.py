"""Store of calls: all reads and writes of calls within one project, of which lists are inherited.

Writes are batches of starts and ends, restores, deletes, and upserts that are safe with concurrent writers. Each start
or end becomes a `StoredPart`; the parts of one call become one insert, or updates if the call exists.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields, calls_by_keys
from stores.calls.documents import Document, Pipeline, StoredPart, quick_texts, stored_part
from stores.calls.events import MAX_EVENT_BYTES, MAX_SUBSCRIBERS, CallEvent, CallEvents
from stores.calls.fields import CallsFilter, projection_of
from stores.calls.inputs import MAX_DISPLAY_NAME, CallEnd, CallStart, CallWrite
from stores.calls.list_query import CallLists, calls_by
from stores.calls.ref_expansion import Expansion
from stores.concurrency.time_slices import cooperative
from stores.database import Collection, Database, database_query, database_write
from stores.database.content_store import batches
from stores.database.driver import one_row
from stores.database.error_translation import TOO_LARGE, duplicate_writes
from stores.database.project_registry import RegisteredProjects
from stores.document_list import Key
from stores.errors import BadInputError, ConflictError, ErrorsAt, PayloadTooLargeError, StoreError
from stores.files import NewFile, write_files
from stores.ids import LOCAL_USER, check_call_id, check_project_id, group_by_project, new_id
from stores.input_checks import MAX_NAME, check_count, check_length
from stores.paging import Row
from stores.query import Query
from stores.rollups.marks import marked_hours
from stores.security import audit

MAX_DELETED_IDS: Final = 1000

_ATTEMPTS: Final = 10
_CHUNK: Final = 10_000
"""Calls of one command while a subtree is deleted."""

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
            self.ends_rename = self.ends_rename or fields["display_name"] is not None
        else:
            self.end = fields

    def updates(self, *, keeps_stored: bool) -> Iterator[UpdateOne]:
        """Yield the updates of a call that may be stored already; with `keeps_stored` they only add a missing part."""
        if self.start:
            pipeline = documents.start_update(self.start, ends_rename=self.ends_rename and not keeps_stored)
            yield upsert(self.start, pipeline, "started_at" if keeps_stored else None)
        if self.end:
            yield upsert(self.end, documents.part_update(self.end), "ended_at" if keeps_stored else None)


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


async def _prepare(writes: Iterable[tuple[str, CallWrite]]) -> list[StoredPart]:
    """Check starts and ends and convert them; each comes with the argument that its errors name."""
    parts = []
    async for argument, write in cooperative(writes):
        with ErrorsAt(argument):
            parts.append(await prepared(write))
    return parts


def _mode(write: CallWrite) -> str:
    return "start" if isinstance(write, CallStart) else "end"


async def store_parts(database: Database, parts: Iterable[StoredPart], *, keeps_stored: bool = False) -> set[str]:
    """Store starts and ends; of each call the last ones win, or with `keeps_stored` those that are stored already.

    Files are stored first, so that no call refers to a missing file. New calls are inserted whole, at a third of the
    cost of an update; existing ones are updated. Returns the `_id`s of calls whose documents may have existed before.
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
        for fields in (fields for call in calls.values() for fields in (call.start, call.end) if fields):
            if due := search_due.get(fields["project_id"]):
                fields["search_due"] = due
    starts = [(call.start["project_id"], call.start["started_at"]) for call in calls.values() if call.start]
    async with marked_hours(database, registered, starts):
        existing = await _insert_new(
            database.calls, [documents.whole_call(call.start, call.end) for call in calls.values() if call.start]
        )
        to_update = {key: call for key, call in calls.items() if key in existing or not call.start}
        if to_update:
            registered = await database.ensure_projects_listed(project_ids, registered if keeps_stored else None)
            updates = [update for call in to_update.values() for update in call.updates(keeps_stored=keeps_stored)]
            async with marked_hours(database, registered, stored=with_keys(to_update)):
                await write_updates(database.calls, updates)
    return set(to_update)


def with_keys(keys: Iterable[str]) -> Document:
    """Return the match for calls by their `_id`s."""
    keys = list(keys)
    return {"_id": {"$in": keys}, "project_id": {"$in": list({key.partition(":")[0] for key in keys})}}


class RankedPart(NamedTuple):
    """Fields of a call that one of its registers keeps; of several parts, the register keeps that of the highest rank.

    The registers `start`, `end` and `output` share no fields, so parts of one call may come from several senders or
    requests, in any order.
    """

    register: str
    rank: int
    part: StoredPart

    @classmethod
    def of_start(cls, part: StoredPart, rank: int = 0) -> "RankedPart":
        """Return the part of a start."""
        return cls("start", rank, part)

    @classmethod
    def of_end(cls, part: StoredPart, rank: int = 0) -> "RankedPart":
        """Return the part of an end without its output."""
        fields = documents.with_single_columns(part.fields)
        fields = {name: value for name, value in fields.items() if name not in documents.OUTPUT_FIELDS}
        texts = {name: text for name, text in part.fields["json"].items() if name != "output"}
        size = fields["end_size_bytes"] - documents.length_of(part.fields["json"]["output"])
        return cls("end", rank, StoredPart(fields | {"json": texts, "end_size_bytes": size}, []))

    @classmethod
    def of_output(cls, part: StoredPart, rank: int = 0) -> "RankedPart":
        """Return the part of an end's output alone."""
        names = (*documents.KEY_FIELDS, *documents.OUTPUT_FIELDS)
        given = documents.with_single_columns(part.fields)
        text = part.fields["json"]["output"]
        own = {"output_size_bytes": documents.length_of(text), "json": {"output": text}}
        return cls("output", rank, StoredPart({name: given[name] for name in names} | own, part.files))


async def store_ranked(database: Database, parts: Iterable[RankedPart]) -> None:
    """Store parts of calls; the result does not depend on their order or number."""
    winners: dict[tuple[str, str], RankedPart] = {}
    files: dict[str, list[NewFile]] = {}
    for new in parts:
        key, fields = (new.part.fields["_id"], new.register), new.part.fields
        old = winners.get(key)
        winner = new if old is None or new.rank >= old.rank else old
        if old and "ended_at" in fields:
            latest = max(fields["ended_at"], old.part.fields["ended_at"])
            winner = winner._replace(part=StoredPart(winner.part.fields | {"ended_at": latest}, []))
        winners[key] = winner
        if new.part.files:
            files.setdefault(fields["project_id"], []).extend(new.part.files)
    project_ids = {ranked.part.fields["project_id"] for ranked in winners.values()}
    registered = await database.ensure_projects_listed(project_ids)
    for project_id, project_files in files.items():
        await write_files(database, project_id, project_files)
        await database.ensure_projects_listed(project_ids, registered)
    due = database.search_marks(project_ids)
    for ranked in winners.values():
        if mark := due.get(ranked.part.fields["project_id"]):
            ranked.part.fields["search_due"] = mark
    updates = [
        upsert(ranked.part.fields, documents.ranked_update(ranked.part.fields, ranked.register, ranked.rank))
        for ranked in winners.values()
    ]
    starts = [
        (ranked.part.fields["project_id"], ranked.part.fields["started_at"])
        for ranked in winners.values()
        if "started_at" in ranked.part.fields
    ]
    async with marked_hours(database, registered, starts, with_keys({key for key, _ in winners})):
        await write_updates(database.calls, updates)


async def end_if_running(database: Database, end: CallEnd) -> bool:
    """End a running call; return False and store nothing if it has ended or is gone."""
    fields = (await prepared(end)).fields
    running = _key_of(fields) | {"status": "running"}
    registered = await database.ensure_not_purging(end.project_id)
    if search_due := database.search_marks([end.project_id]):
        fields["search_due"] = search_due[end.project_id]
    async with marked_hours(database, registered, stored=with_keys([running["_id"]])):
        result = await database.calls.update_one(running, documents.part_update(fields))
    return result.modified_count == 1


async def delete_calls(
    database: Database, registered: RegisteredProjects, project_id: str, call_ids: Sequence[str], wb_user_id: str
) -> int:
    """Hide calls, their descendants, and any later part of the given ids.

    Returns the number of visible calls that are now hidden.
    """
    calls = database.calls
    deleted_ids = list(dict.fromkeys([*call_ids, *await _descendants(calls, project_id, call_ids)]))
    update = documents.delete_update(wb_user_id)
    hidden = 0
    for chunk in batches(deleted_ids, _CHUNK):
        match = _key_match(project_id, chunk)
        async with marked_hours(database, registered, stored=match):
            hidden += (await calls.update_many(match | {"visible": True}, update)).modified_count
    async with marked_hours(database, registered, stored=_key_match(project_id, call_ids)):
        # Each may have arrived only now.
        tombstones = [upsert(documents.key_fields(project_id, call_id), update) for call_id in set(call_ids)]
        await write_updates(calls, tombstones)
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
    for chunk in batches(parents, _CHUNK):
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


async def _insert_new(calls: Collection, new: list[Document]) -> set[str]:
    """Insert the new ones among some calls; return the `_id`s of those that exist already."""
    if not new:
        return set()
    try:
        await calls.insert_many(new, ordered=False)
    except BulkWriteError as error:
        return {new[position]["_id"] for position in _duplicates(error)}
    return set()


def _key_of(fields: Document) -> Document:
    return {name: fields[name] for name in documents.KEY_FIELDS}


def upsert(fields: Document, pipeline: Pipeline, missing: str | None = None) -> UpdateOne:
    """Build an update of a call's document, which it creates if needed.

    With `missing`, the update applies only to an existing document while that lacks the field.
    """
    match = _key_of(fields)
    return UpdateOne(match | {missing: {"$exists": False}} if missing else match, pipeline, upsert=not missing)


async def write_updates(calls: Collection, updates: list[UpdateOne]) -> None:
    """Run updates in any order; repeat upserts that lost a race to create the document."""
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
        PayloadTooLargeError: if a call's stored part and new part together exceed a document.
        BulkWriteError, UnavailableError: as `duplicate_writes` raises them.
    """
    details: dict[str, Any] = dict(error.details or {})
    if any(failure["code"] in TOO_LARGE for failure in details.get("writeErrors", ())):
        raise PayloadTooLargeError("a call's start and end together exceed the database's document limit")
    return duplicate_writes(error)


class CallsStore(CallLists):
    """Calls in MongoDB.

    Rows are dicts of the requested document fields only: times are microseconds since the epoch, JSON is text under
    `json`, and null fields are absent.
    """

    def __init__(
        self,
        database: Database,
        max_subscribers: int = MAX_SUBSCRIBERS,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_subscribers_per_caller: int | None = None,
    ) -> None:
        self.database = database
        self._calls = database.calls
        self.consumers = calls_by(database, "input_refs")
        """From a project and an object's ref to the calls with exactly this ref among their inputs."""
        self.children = calls_by(database, "parent_id")
        """From a project and a call id to the call's children."""
        self._call_events = CallEvents(database, max_subscribers, max_event_bytes, max_subscribers_per_caller)
        self.fan_out = self._call_events.fan_out
        """The shared change stream, for metrics."""

    async def close(self) -> None:
        """End every subscription to events; the store cannot be used afterwards."""
        await self.fan_out.close()

    @database_query
    async def one(self, project_id: str, call_id: str, wanted: Iterable[str]) -> Row | None:
        """Return the selected fields of one call, or None if no such call is visible."""
        check_project_id(project_id)
        wanted = frozenset(wanted)
        match = {**documents.key_fields(project_id, call_id), "visible": True}
        row = await one_row(self._calls, match, projection_of(wanted | {"id"}))
        if row:
            await add_computed_fields(self.database, project_id, [row], wanted)
        return row

    @database_query
    async def by_keys(
        self, keys: Sequence[Key], wanted: frozenset[str], expansion: Expansion | None = None
    ) -> dict[Key, Row | None]:
        """Return the selected fields of each call, or None if no such call is visible."""
        found = await calls_by_keys(self.database, keys, wanted)
        if expansion:
            for project_id, call_ids in group_by_project(keys):
                rows = [row for call_id in call_ids if (row := found[project_id, call_id])]
                await expansion.expand(self.database, project_id, rows, wanted)
        return found

    def events(
        self,
        project_id: str,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        after: str | None = None,
        quota_key: str = "",
    ) -> AsyncGenerator[CallEvent, None]:
        """Stream events of calls with the selected fields, after a cursor or from now on; close to unsubscribe.

        The event of a deleted call passes the filter and the query by the call's last state. Conditions on feedback and
        costs use their state at delivery.

        Args:
            project_id: the project.
            wanted: the selected fields.
            calls_filter: the filter of calls.
            query: the query over calls.
            after: the cursor to resume after; None for new events only.
            quota_key: the caller whose subscription quota counts.

        Raises:
            BadInputError: if the filter, the query or the cursor is invalid.
            RateLimitedError: if the process or the caller has too many subscriptions.
            UnavailableError: if the database is unreachable or the stream broke, or if the subscriber lags.
        """
        return self._call_events.events(project_id, frozenset(wanted), calls_filter, query, after, quota_key)

    async def events_cursor(self, project_id: str) -> str:
        """Return the cursor after everything that happened in the project so far, for `after` of `events`."""
        check_project_id(project_id)
        return await self._call_events.cursor(project_id)

    @database_write
    async def write(self, batch: Sequence[CallWrite]) -> None:
        """Store starts and ends, all or none, and fill in missing ids. An empty batch does nothing.

        Raises:
            BadInputError: if a part is invalid; the error names it as `batch.<position>.start` or `.end`.
            PayloadTooLargeError: if the JSON of a part does not fit into a document.
        """
        writes = ((f"batch.{position}.{_mode(write)}", write) for position, write in enumerate(batch))
        await store_parts(self.database, await _prepare(writes))

    @database_write
    async def write_parts(self, parts: Sequence[StoredPart]) -> set[str]:
        """Store starts and ends in their stored form. An empty list does nothing.

        Returns the `_id`s of calls whose documents may have existed before.
        """
        return await store_parts(self.database, parts)

    @database_write
    async def write_ranked(self, parts: Sequence[RankedPart]) -> None:
        """Store parts of calls of which the registers keep the highest ranks. An empty list does nothing."""
        await store_ranked(self.database, parts)

    @database_write
    async def write_partly(self, batch: Sequence[CallWrite]) -> Rejected:
        """Store the valid starts and ends; return the errors of the others by position.

        Raises:
            UnavailableError, ConflictError: if the database failed; no part counts as rejected, and the caller may
                retry all.
        """
        parts: dict[int, StoredPart] = {}
        rejected: Rejected = {}
        async for position, write in cooperative(enumerate(batch)):
            try:
                parts[position] = await prepared(write)
            except StoreError as error:
                rejected[position] = error.with_traceback(None)  # the traceback would keep the whole batch in memory
        try:
            await store_parts(self.database, parts.values())
        except PayloadTooLargeError:
            # A part is too large only together with its call's stored part; the database does not say which.
            for position, part in parts.items():
                try:
                    await store_parts(self.database, [part])
                except PayloadTooLargeError as error:
                    rejected[position] = error
        return rejected

    @database_write
    async def restore(self, batch: Sequence[RestoredCall]) -> None:
        """Store the missing parts of exported calls, all or none; stored parts stay unchanged.

        A call that is still running gets the restored end. In the batch, the first start and the first end of each call
        win. An empty batch does nothing.

        Raises:
            BadInputError: if a call is invalid; the error names it as `batch.<position>`.
            PayloadTooLargeError: if the JSON of a call does not fit into a document.
        """
        writes = ((f"batch.{position}", part) for position, call in enumerate(batch) for part in call if part)
        await store_parts(self.database, reversed(await _prepare(writes)), keeps_stored=True)

    @database_write
    async def write_one(self, part: CallWrite) -> None:
        """Store one start or end; an error names its field as `start.<field>` or `end.<field>`."""
        await store_parts(self.database, await _prepare([(_mode(part), part)]))

    @database_write
    async def write_call(self, start: CallStart, end: CallEnd) -> None:
        """Store the start and the end of one call, both or none; the end gets the start's id.

        Raises:
            BadInputError: if a field is invalid; the error names it as `call.<field>`.
            PayloadTooLargeError: if the JSON of either part does not fit into a document.
        """
        start.id = end.id = new_id() if start.id is None else start.id
        await store_parts(self.database, await _prepare([("call", start), ("call", end)]))

    @database_write
    async def rename(
        self, project_id: str, call_id: str, display_name: str | None, wb_user_id: str | None = None
    ) -> int:
        """Set a call's display name; "" removes it. Return 1, or 0 if no such call is visible.

        Raises:
            BadInputError: if the id is invalid, if the name is missing, or if a text is too long.
        """
        check_project_id(project_id)
        check_call_id(call_id, "call_id")
        if display_name is None:
            raise BadInputError('is required; send "" to remove the name', "display_name")
        check_length(display_name, MAX_DISPLAY_NAME, "display_name")
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        registered = await self.database.ensure_not_purging(project_id)
        key_fields = documents.key_fields(project_id, call_id)
        due = self.database.search_marks([project_id]).get(project_id)
        update = documents.rename_update(display_name, wb_user_id or LOCAL_USER, due)
        async with marked_hours(self.database, registered, stored=with_keys([key_fields["_id"]])):
            await write_updates(self._calls, [upsert(key_fields, update)])
        return await self._calls.count_documents({**key_fields, "visible": True})

    @database_write
    async def delete(self, project_id: str, call_ids: Sequence[str], wb_user_id: str | None = None) -> int:
        """Delete calls and their descendants in the same trace permanently; later starts do not restore them.

        Returns the number of deleted calls; unknown and already deleted ids do not count.

        Raises:
            BadInputError: if there are more than 1,000 ids, if an id is invalid, or if the user's id is too long.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        check_count(len(call_ids), MAX_DELETED_IDS, "ids", "call_ids")
        for position, call_id in enumerate(call_ids):
            check_call_id(call_id, f"call_ids.{position}")
        registered = await self.database.ensure_not_purging(project_id)
        with audit.record_removal("calls.delete", project_id, done="calls.deleted", call_ids=list(call_ids)) as outcome:
            deleted = await delete_calls(self.database, registered, project_id, call_ids, wb_user_id or LOCAL_USER)
            outcome["num_deleted"] = deleted
        return deleted
