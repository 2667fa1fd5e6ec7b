"""The store of text searches and text indexes."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from stores.calls.computed_fields import add_computed_fields
from stores.calls.documents import key_fields
from stores.calls.fields import CallsFilter, paths_of
from stores.calls.list_query import CallsQuery
from stores.database import Database, Document, database_query, database_write
from stores.database.connection import always, in_scan_slot
from stores.database.leases import LeaseLostError
from stores.database.paced_steps import deadline_in, run_paced
from stores.errors import BadInputError, NotFoundError
from stores.ids import check_project_id
from stores.paging import PageRequest, Row
from stores.query import Query
from stores.text_search.conditions import SEARCHED_FIELDS, Terms, parse
from stores.text_search.highlights import MAX_HIGHLIGHTS, add_highlights
from stores.text_search.indexing import IS_MARKED, Indexer, SearchIndex, has_work, index_lease, switch
from stores.text_search.pages import (
    FoundPage,
    Method,
    TextQuery,
    cursor_error,
    ranked_count,
    ranked_page,
    scanned_count,
    scanned_page,
)

_PROGRESS: Final = ("set_at", "ready_at", "looked_at", "total", "has_passed")
"""Fields of a state that a `SearchIndex` has by the same name."""

PAUSE: Final = 0.25
"""Pause after each step of index work, as a multiple of the step's duration."""


class TextSearchStore:
    """Text searches and text indexes in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @in_scan_slot(always)
    @database_query
    async def page(
        self,
        project_id: str,
        text: str,
        request: PageRequest,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        method: Method | None = None,
        highlights: int | None = None,
    ) -> FoundPage:
        """Return a page of the calls that match a search text, with the wanted fields.

        Each call gets up to `highlights` highlights; None adds no highlights.

        Raises:
            BadInputError: if the text, filter, query or cursor is invalid, or the index method cannot be used.
        """
        check_project_id(project_id)
        terms = parse(text)
        if highlights is not None and not 0 <= highlights <= MAX_HIGHLIGHTS:
            problem = f"{highlights} is out of range; request 0 to {MAX_HIGHLIGHTS} per call"
            raise BadInputError(problem, "max_highlights")
        state = await self.database.search_indexes.find_one({"_id": project_id})
        calls_query = CallsQuery(self.database, project_id, calls_filter, query)
        async with calls_query.compiled() as list_query:
            text_query = TextQuery(self.database, project_id, terms, list_query)
            cursor_method, position = text_query.position(request)
            if cursor_method is Method.INDEX and not _is_ready(state):
                raise cursor_error(
                    request, "the index of this search was switched off; start the search again without a cursor"
                )
            generation = _generation(state, terms, cursor_method or method)
            if generation:
                page = await ranked_page(text_query, generation, request, position)
            else:
                text_query = replace(text_query, list_query=await calls_query.narrowed(list_query))
                page = await scanned_page(text_query, request, position)
        read = set(wanted) | ({field.wanted for field in SEARCHED_FIELDS} if highlights is not None else set())
        if read:
            await self._fill(project_id, page.rows, read)
        if highlights is not None:
            seconds = self.database.timings.highlight_seconds
            await asyncio.to_thread(add_highlights, page.rows, terms, highlights, seconds)
        return page

    async def _fill(self, project_id: str, rows: list[Row], wanted: set[str]) -> None:
        """Read the wanted fields of the found calls, which are few of those searched."""
        keys = {"_id": {"$in": [key_fields(project_id, row["id"])["_id"] for row in rows]}, "project_id": project_id}
        cursor = self.database.calls.find(keys, {"_id": 0} | dict.fromkeys(paths_of([*wanted, "id"]), 1))
        calls: dict[str, Document] = {call["id"]: call async for call in cursor}
        # A call deleted just now is dropped, and no other takes its position.
        rows[:] = [calls[row["id"]] | row for row in rows if row["id"] in calls]
        await add_computed_fields(self.database, project_id, rows, wanted)

    @in_scan_slot(always)
    @database_query
    async def count(
        self,
        project_id: str,
        text: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        method: Method | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Count the calls that match a search text, up to `limit`."""
        check_project_id(project_id)
        terms = parse(text)
        state = await self.database.search_indexes.find_one({"_id": project_id})
        generation = _generation(state, terms, method)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query)
        async with calls_query.compiled() as list_query:
            if generation:
                return await ranked_count(TextQuery(self.database, project_id, terms, list_query), generation, limit)
            narrowed = await calls_query.narrowed(list_query)
            return await scanned_count(TextQuery(self.database, project_id, terms, narrowed), limit)

    @database_query
    async def index(self, project_id: str) -> SearchIndex | None:
        """Return the state of a project's text index; None if there is no such project."""
        check_project_id(project_id)
        state = await self.database.search_indexes.find_one({"_id": project_id})
        if state is None and not await self.database.projects.find_one({"_id": project_id}, {"_id": 1}):
            return None
        return await self._with_counts(project_id, state)

    @database_write
    async def set_index(self, project_id: str, *, is_on: bool) -> SearchIndex:
        """Switch a project's text index on or off; no effect if it is so already.

        Background workers build or delete it.

        Raises:
            NotFoundError: if there is no such project.
            UnavailableError: if it is being purged.
        """
        check_project_id(project_id)
        document = await switch(self.database, project_id, is_on=is_on)
        if document is None:
            await self.database.ensure_not_purging(project_id)
            raise NotFoundError(f"project {project_id} does not exist: nothing was ever stored in it", "project_id")
        return await self._with_counts(project_id, document)

    async def work(self, project_id: str, seconds: float | None = None, pause: float = PAUSE) -> None:
        """Work on a project's index until nothing is left to do, or for `seconds`.

        Returns at once if there is no such index, or another process works on it.

        Raises:
            UnavailableError: if the database is unreachable; the work continues when it is back.
        """
        check_project_id(project_id)
        lease = index_lease(self.database, project_id)
        if not await lease.acquire():
            return
        try:
            await run_paced(self.database, Indexer(self.database, lease).steps(), pause, deadline_in(seconds))
            await lease.release()
        except LeaseLostError:
            return

    @database_query
    async def due(self) -> list[str]:
        """Return the projects whose index has work to do."""
        states = await self.database.search_indexes.find({"is_done": False}).to_list(None)
        return [state["_id"] for state in states if await has_work(self.database, state)]

    async def _with_counts(self, project_id: str, document: Document | None) -> SearchIndex:
        sums = {"cut": {"$sum": "$cut"}, "size": {"$sum": "$size_bytes"}}
        of_project: list[Document] = [{"$match": {"project_id": project_id}}, {"$group": {"_id": None, **sums}}]
        counted = await self.database.search_segments.aggregate(of_project).to_list(1)
        waiting = await self.database.calls.count_documents({"project_id": project_id, "search_due": IS_MARKED})
        found, state = counted[0] if counted else {}, document or {}
        return SearchIndex(
            project_id,
            is_on=state.get("generation") is not None,
            is_under_way=not state.get("is_done", True) and "ready_at" not in state,
            waiting=waiting,
            cut=found.get("cut", 0),
            size_bytes=found.get("size", 0),
            **{name: state[name] for name in _PROGRESS if name in state},
        )


def _generation(state: Document | None, terms: Terms, method: Method | None) -> str | None:
    """Return the generation of the index to use; None for a scan.

    Raises:
        BadInputError: if `method` demands an index, but none is ready or the terms contain no words.
    """
    if method is Method.SCAN:
        return None
    if method is Method.INDEX and not _is_ready(state):
        raise BadInputError(
            "the project has no text index that is ready; omit the method, or create an index with searchIndexSet",
            "method",
        )
    if method is Method.INDEX and not terms.have_words:
        raise BadInputError("the index contains only words, and the text has none; omit the method", "method")
    return str(state["generation"]) if state and _is_ready(state) and terms.have_words else None


def _is_ready(state: Document | None) -> bool:
    return state is not None and "ready_at" in state
