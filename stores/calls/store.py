"""The store of calls: every question and change that concerns them, each within one project."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from stores import paging
from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields, needs_computed_fields, prefetch_costs
from stores.calls.deletes import delete_calls
from stores.calls.events import (
    MAX_EVENT_BYTES,
    MAX_SUBSCRIBERS,
    CallEvent,
    CallEvents,
    Cursors,
    EventFilter,
    FanOut,
    Lookups,
)
from stores.calls.fields import INDEXED_CALL_FIELDS, TOTAL_STORAGE_SIZE, paths_of, shown_of
from stores.calls.filters import CallsFilter
from stores.calls.inputs import MAX_DISPLAY_NAME, CallEnd, CallStart
from stores.calls.list_query import calls_list_query, explain_query, fetch_page
from stores.calls.partial_batches import Refused, write_partly
from stores.calls.ref_expansion import Expansion
from stores.calls.relations import calls_by
from stores.calls.restore import RestoredCall, restore_calls
from stores.calls.trace_sizes import total_size
from stores.calls.writes import WholeCall, upsert, write_batch, write_upserts, write_whole_calls
from stores.concurrency.scan_slots import in_scan_slot
from stores.database import Database, database_query, database_write
from stores.database.snapshot_reads import find_all, one_row
from stores.errors import BadInputError, StoreError
from stores.ids import LOCAL_USER, check_call_id, check_project_id, new_id
from stores.input_checks import MAX_NAME, check_length
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.explain import Plan
from stores.query.sort import SortBy
from stores.refs.targets import TargetReader
from stores.security import audit

MAX_DELETED_AT_ONCE = 1000

Key = tuple[str, str]
"""A project and the id of a call."""


@dataclass(frozen=True, slots=True)
class CallsStats:
    """How many calls matched, and the sum of the total sizes of the roots among them, in bytes; None if not asked."""

    count: int | None = None
    total_storage_size_bytes: int | None = None


class CallsStore:
    """Calls in MongoDB.

    Rows are dicts of the document's own fields, only those that were asked for: times are microseconds since the
    epoch, JSON is text under `json`, and what is null is absent.
    """

    def __init__(
        self,
        database: Database,
        max_watchers: int = MAX_SUBSCRIBERS,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_watchers_each: int | None = None,
    ) -> None:
        self.database = database
        self._calls = database.calls
        self._sources = TargetReader(database)
        self.taking = calls_by(database, "input_refs")
        """From a project and the ref of an object in it to the calls that took just that as an input."""
        self.children = calls_by(database, "parent_id")
        """From a project and the id of a call in it to the calls that it made."""
        cursors = Cursors(database)
        fan_out = FanOut(self._calls, cursors, max_watchers, max_event_bytes, max_each=max_watchers_each)
        self._watching = CallEvents(database, fan_out, cursors)
        self._lookups = Lookups(database)

    @property
    def fan_out(self) -> FanOut:
        """The events of calls for all who watch them, as far as that is to be told of."""
        return self._watching.fan_out

    async def close(self) -> None:
        """End every subscription to events; the store must not be used afterwards."""
        await self._watching.close()

    @database_write
    async def write(self, batch: Sequence[CallStart | CallEnd]) -> None:
        """Store starts and ends, all or none; ids left out are filled in. Nothing happens for an empty batch.

        Raises:
            BadInputError: a part breaks a rule; the error names it as `batch.<position>.start` or `.end`.
            PayloadTooLargeError: the JSON of a part does not fit into a document.
        """
        await write_batch(self.database, batch)

    @database_write
    async def write_whole(self, whole_calls: Sequence[WholeCall]) -> None:
        """Store calls that were made ready, and held to their rules, before. Nothing happens where there are none."""
        await write_whole_calls(self.database, whole_calls)

    @database_write
    async def write_partly(self, batch: Sequence[CallStart | CallEnd]) -> Refused:
        """Store those starts and ends that break no rule, whatever the others do; the errors of these by position."""
        return await write_partly(self.database, batch)

    @database_write
    async def restore(self, batch: Sequence[RestoredCall]) -> None:
        """Store calls that were stored before, here or elsewhere; what is there of them stays as it is.

        A call that runs here gets the end that it has there. Nothing happens for an empty batch.

        Raises:
            BadInputError: a call breaks a rule; the error names it as `batch.<position>`.
            PayloadTooLargeError: its JSON does not fit into a document.
        """
        await restore_calls(self.database, batch)

    @database_write
    async def write_one(self, part: CallStart | CallEnd) -> None:
        """Store one start or end; an error names its field as `start.<field>` or `end.<field>`."""
        try:
            await write_batch(self.database, [part])
        except StoreError as error:
            raise error.relative_to("batch.0") from None

    @database_write
    async def write_call(self, start: CallStart, end: CallEnd) -> None:
        """Store the start and the end of one call, both or none; the end gets the id of the start.

        Raises:
            BadInputError: a field breaks a rule; the error names it as `call.<field>`.
            PayloadTooLargeError: the JSON of either part does not fit into a document.
        """
        start.id = end.id = new_id() if start.id is None else start.id
        try:
            await write_batch(self.database, [start, end])
        except StoreError as error:
            inner = error.relative_to("batch.0.start").relative_to("batch.1.end")
            raise inner.prefixed("call") if inner.argument else inner from None

    @database_write
    async def rename(
        self, project_id: str, call_id: str, display_name: str | None, wb_user_id: str | None = None
    ) -> int:
        """Give a call another display name, or with "" none. Returns 1, or 0 where no such call is visible.

        Raises:
            BadInputError: the id can be no call's, there is no name, or a text is too long.
        """
        check_project_id(project_id)
        check_call_id(call_id, "call_id")
        if display_name is None:
            raise BadInputError('is required; send "" to take the name away', "display_name")
        check_length(display_name, MAX_DISPLAY_NAME, "display_name")
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        await self.database.ensure_not_purging(project_id)
        found, due = documents.key(project_id, call_id), self.database.search_marks([project_id]).get(project_id)
        await write_upserts(
            self._calls, [upsert(found, documents.rename_update(display_name, wb_user_id or LOCAL_USER, due))]
        )
        return await self._calls.count_documents({**found, "visible": True})

    @database_write
    async def delete(self, project_id: str, call_ids: Sequence[str], wb_user_id: str | None = None) -> int:
        """Delete calls with their descendants in the same trace; for good, even where a start comes later.

        Returns how many calls were there and are gone; unknown and deleted ids are not counted.

        Raises:
            BadInputError: there are more than 1,000 ids, one can be no call's, or the user's is too long.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        if len(call_ids) > MAX_DELETED_AT_ONCE:
            raise BadInputError(f"has {len(call_ids):,} ids; the limit is {MAX_DELETED_AT_ONCE:,}", "call_ids")
        for position, call_id in enumerate(call_ids):
            check_call_id(call_id, f"call_ids.{position}")
        await self.database.ensure_not_purging(project_id)
        with audit.record_removal("calls.delete", project_id, done="calls.deleted", call_ids=list(call_ids)) as outcome:
            deleted = await delete_calls(self._calls, project_id, call_ids, wb_user_id or LOCAL_USER)
            outcome["num_deleted"] = deleted
        return deleted

    @database_query
    async def one(self, project_id: str, call_id: str, wanted: Iterable[str]) -> Row | None:
        """The wanted fields of one call, or None where no such call is visible."""
        check_project_id(project_id)
        wanted = frozenset(wanted)
        match = {**documents.key(project_id, call_id), "visible": True}
        row = await one_row(self._calls, match, shown_of(wanted | {"id"}))
        if row:
            await add_computed_fields(self.database, project_id, [row], wanted)
        return row

    @database_query
    async def by_keys(
        self, keys: Sequence[Key], wanted: frozenset[str], expansion: Expansion | None = None
    ) -> dict[Key, Row | None]:
        """For each project and id of a call in it the wanted fields of that, or None where no such call is visible."""
        among = {
            "_id": {"$in": [documents.key(*key)["_id"] for key in keys]},
            "project_id": {"$in": list({project_id for project_id, _ in keys})},
            "visible": True,
        }
        paths = dict.fromkeys(paths_of([*wanted, "project_id", "id"]), 1)
        rows = await find_all(self._calls, among, {"_id": 0} | paths, len(keys))
        if needs_computed_fields(wanted) or expansion:
            for project_id in {row["project_id"] for row in rows}:
                of_project = [row for row in rows if row["project_id"] == project_id]
                if expansion:
                    await expansion.expand(self._sources, project_id, of_project, wanted)
                await add_computed_fields(self.database, project_id, of_project, wanted)
        found = {(row["project_id"], row["id"]): row for row in rows}
        return {key: found.get(key) for key in keys}

    @in_scan_slot(INDEXED_CALL_FIELDS.needs_scan)
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> Page:
        """The wanted fields of a page of calls; without a sort the oldest come first.

        Raises:
            BadInputError: the filter, the query, the sort, the expansion or the cursor breaks a rule.
        """
        check_project_id(project_id)
        wanted = set(wanted)
        asked = project_id, calls_filter, query, sort_by, expansion
        found = calls_list_query(self.database, *asked, is_hasty=True, is_page=True)
        with prefetch_costs(self.database, project_id, wanted) as costs:
            async with found as search:
                page = await fetch_page(self._calls, search, request, paths_of(wanted))
            if expansion:
                await expansion.expand(self._sources, project_id, page.rows, wanted)
            await add_computed_fields(self.database, project_id, page.rows, wanted, costs)
        return page

    @in_scan_slot(INDEXED_CALL_FIELDS.needs_scan)
    @database_query
    async def explain(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> Plan:
        """How the first page of such a list is found, by finding it.

        Raises:
            BadInputError: the filter, the query, the sort or the expansion breaks a rule.
        """
        check_project_id(project_id)
        asked = project_id, calls_filter, query, sort_by, expansion
        async with calls_list_query(self.database, *asked, is_page=True) as search:
            return await explain_query(self._calls, search)

    def events(
        self,
        project_id: str,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        after: str | None = None,
        payer: str = "",
    ) -> AsyncGenerator[CallEvent, None]:
        """What happens to calls, with the wanted fields at least: after a cursor, or from now on; close it to end it.

        It is told on the account of a payer, who may have a share of all that watch.
        A deleted call passes the filter and the query as it was; conditions on feedback and costs look at what there is
        of these when the event is told.

        Raises:
            BadInputError: the filter, the query or the cursor breaks a rule.
            RateLimitedError: too many watch already, all together or on this account.
            UnavailableError: the database is away or went away for good, or whoever asks for the events lags.
        """
        try:
            question, fields = EventFilter(project_id, calls_filter, query), frozenset(wanted)
        except BadInputError as error:
            return _raising(error)  # where the events are asked for, as all else that ends them is
        if question.looked_up or needs_computed_fields(fields):
            return self._looked_up(question, after, fields, payer)
        return self._watching.events(question, after, payer)

    async def _looked_up(
        self, question: EventFilter, after: str | None, wanted: frozenset[str], payer: str
    ) -> AsyncGenerator[CallEvent, None]:
        async with aclosing(self._watching.events(question, after, payer)) as events:
            async for event in events:
                found = await self._lookups.found(event, question, wanted, after)
                if found:
                    yield found
                after = event.cursor

    async def events_cursor(self, project_id: str) -> str:
        """The cursor after all that happened to the project's calls so far: from there `events` tells the rest."""
        check_project_id(project_id)
        return await self._watching.cursor(project_id)

    @in_scan_slot(INDEXED_CALL_FIELDS.needs_scan)
    @database_query
    async def count(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> int:
        """How many calls pass the filter and the query."""
        check_project_id(project_id)
        async with calls_list_query(self.database, project_id, calls_filter, query, expansion=expansion) as search:
            return await paging.count(self._calls, search.stages, session=search.session)

    @in_scan_slot(INDEXED_CALL_FIELDS.needs_scan)
    @database_query
    async def stats(
        self,
        project_id: str,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        limit: int | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> CallsStats:
        """The wanted ones of: how many calls pass, at most `limit`, and the size of the traces that they are roots of.

        Raises:
            BadInputError: the limit is negative, or the filter, the query or the expansion breaks a rule.
        """
        check_project_id(project_id)
        if limit is not None and limit < 0:
            raise BadInputError(f"{limit} is negative; it counts from 0", "limit")
        wanted = set(wanted)
        async with calls_list_query(self.database, project_id, calls_filter, query, expansion=expansion) as search:
            if limit == 0:
                return CallsStats(0, 0)
            size = TOTAL_STORAGE_SIZE in wanted
            stages, session = search.stages, search.session
            return CallsStats(
                await paging.count(self._calls, stages, limit, session) if "count" in wanted else None,
                await total_size(self._calls, project_id, stages, limit, session) if size else None,
            )


async def _raising(error: BadInputError) -> AsyncGenerator[CallEvent, None]:
    raise error
    yield
