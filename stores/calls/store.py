"""Store of calls: all reads and writes of calls within one project."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass

from stores import paging
from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields, calls_by_keys, total_size
from stores.calls.events import MAX_EVENT_BYTES, MAX_SUBSCRIBERS, CallEvent, CallEvents
from stores.calls.fields import (
    COMPUTED_FIELDS,
    INDEXED_CALL_FIELDS,
    TOTAL_STORAGE_SIZE,
    CallsFilter,
    paths_of,
    projection_of,
)
from stores.calls.list_query import CallsQuery, calls_by
from stores.calls.ref_expansion import Expansion
from stores.calls.writes import CallWrites
from stores.database import Database, database_query
from stores.database.connection import in_scan_slot
from stores.database.driver import one_row
from stores.document_list import Key
from stores.errors import BadInputError
from stores.ids import check_project_id, group_by_project
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.explain import Plan
from stores.query.sort import SortBy


@dataclass(frozen=True, slots=True)
class CallsStats:
    """Number of matching calls, and bytes of the traces of their roots; None if not selected."""

    count: int | None = None
    total_storage_size_bytes: int | None = None


class CallsStore(CallWrites):
    """Calls in MongoDB.

    Rows are dicts of the requested document fields only: times are microseconds since the epoch, JSON is text under
    `json`, and null fields are absent.
    """

    indexed = INDEXED_CALL_FIELDS

    def __init__(
        self,
        database: Database,
        max_subscribers: int = MAX_SUBSCRIBERS,
        max_event_bytes: int = MAX_EVENT_BYTES,
        max_subscribers_per_caller: int | None = None,
    ) -> None:
        super().__init__(database)
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

    @in_scan_slot()
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
        """Return a page of calls with the selected fields; by default the oldest come first.

        Raises:
            BadInputError: if the filter, the query, the sort, the expansion or the cursor is invalid.
        """
        check_project_id(project_id)
        wanted = set(wanted)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query, sort_by, expansion)
        page = await calls_query.page(request, paths_of(wanted))
        if expansion and expansion.names:
            await expansion.expand(self.database, project_id, page.rows, wanted)
        if not COMPUTED_FIELDS.isdisjoint(wanted):
            await add_computed_fields(self.database, project_id, page.rows, wanted)
        return page

    @in_scan_slot()
    @database_query
    async def explain(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> Plan:
        """Run the list query for its first page and return MongoDB's plan.

        Raises:
            BadInputError: if the filter, the query, the sort or the expansion is invalid.
        """
        check_project_id(project_id)
        return await CallsQuery(self.database, project_id, calls_filter, query, sort_by, expansion).explain()

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

    @in_scan_slot()
    @database_query
    async def count(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> int:
        """Count the calls that pass the filter and the query."""
        check_project_id(project_id)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query, expansion=expansion)
        async with calls_query.compiled() as list_query:
            return await paging.count(self._calls, list_query.stages, session=list_query.session)

    @in_scan_slot()
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
        """Return the selected ones of: the number of matching calls, up to `limit`, and the size of their traces.

        Raises:
            BadInputError: if the limit is negative, or if the filter, the query or the expansion is invalid.
        """
        check_project_id(project_id)
        if limit is not None and limit < 0:
            raise BadInputError(f"{limit} is negative; use 0 or more", "limit")
        wanted = set(wanted)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query, expansion=expansion)
        async with calls_query.compiled() as list_query:
            if limit == 0:
                return CallsStats(0, 0)
            size = TOTAL_STORAGE_SIZE in wanted
            stages, session = list_query.stages, list_query.session
            return CallsStats(
                await paging.count(self._calls, stages, limit, session) if "count" in wanted else None,
                await total_size(self._calls, project_id, stages, limit, session) if size else None,
            )
