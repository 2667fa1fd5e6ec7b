"""The store of searches: calls by the texts in them, and the indexes that make that quick."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from stores.calls.computed_fields import add_computed_fields
from stores.calls.documents import key
from stores.calls.fields import paths_of
from stores.calls.filters import CallsFilter
from stores.calls.list_query import calls_list_query
from stores.concurrency.scan_slots import in_scan_slot
from stores.database import Database, Document, database_query, database_write
from stores.database.paced_steps import deadline_in, run_paced
from stores.errors import BadInputError, NotFoundError
from stores.ids import check_project_id
from stores.paging import PageRequest, Row
from stores.query import Query
from stores.text_search.highlights import MOST, add_highlights
from stores.text_search.index_state import IndexLease, LostError, SearchIndex, switch
from stores.text_search.indexing import IS_DUE, Indexing, has_work
from stores.text_search.ranked import ranked_count, ranked_page
from stores.text_search.results import FoundPage, Method, Question, refused
from stores.text_search.scan import SECONDS, scanned_count, scanned_page
from stores.text_search.search_terms import Terms, parse
from stores.text_search.searched_fields import PARTS

PAUSE: Final = 0.25
"""After each step of work on an index, how many times as long as it took all others have the database."""


class TextSearchStore:
    """Searches and indexes of texts in MongoDB."""

    def __init__(self, database: Database, scan_seconds: float = SECONDS) -> None:
        self.database = database
        self._scan_seconds = scan_seconds

    @in_scan_slot()
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
        """The wanted fields of a page of the calls that have what a text says, and so many highlights of each.

        Raises:
            BadInputError: the text, the filter, the query or the cursor breaks a rule, or there is no index to go by.
        """
        check_project_id(project_id)
        terms = parse(text)
        _check_highlights(highlights)
        state = await self.database.search_indexes.find_one({"_id": project_id})
        async with calls_list_query(self.database, project_id, calls_filter, query) as search:
            question = Question(self.database, project_id, terms, search)
            gone_on_with = question.method_of(request)
            if gone_on_with is Method.INDEX and not _is_ready(state):
                raise refused(request, "the index that it went by was switched off; begin the search anew, without it")
            generation = _generation(state, terms, gone_on_with or method)
            if generation:
                page = await ranked_page(question, generation, request)
            else:
                page = await scanned_page(question, request, self._scan_seconds)
        read = set(wanted) | ({part.wanted for part in PARTS} if highlights is not None else set())
        if read:
            await self._fill(project_id, page.rows, read)
        if highlights is not None:
            await asyncio.to_thread(add_highlights, page.rows, terms, highlights)
        return page

    async def _fill(self, project_id: str, rows: list[Row], wanted: set[str]) -> None:
        """Read the wanted fields of what was found, which is little of what was looked at."""
        keys = {"_id": {"$in": [key(project_id, row["id"])["_id"] for row in rows]}, "project_id": project_id}
        found = self.database.calls.find(keys, {"_id": 0} | dict.fromkeys(paths_of([*wanted, "id"]), 1))
        calls: dict[str, Document] = {call["id"]: call async for call in found}
        # A call that went just now has nothing more to tell, and its place is not filled by another.
        rows[:] = [calls[row["id"]] | row for row in rows if row["id"] in calls]
        await add_computed_fields(self.database, project_id, rows, wanted)

    @in_scan_slot()
    @database_query
    async def count(
        self,
        project_id: str,
        text: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        method: Method | None = None,
    ) -> int:
        """How many calls have what a text says."""
        check_project_id(project_id)
        terms = parse(text)
        state = await self.database.search_indexes.find_one({"_id": project_id})
        async with calls_list_query(self.database, project_id, calls_filter, query) as search:
            question = Question(self.database, project_id, terms, search)
            generation = _generation(state, terms, method)
            return await (ranked_count(question, generation) if generation else scanned_count(question))

    @database_query
    async def index(self, project_id: str) -> SearchIndex | None:
        """The index of a project's texts, on or off; None where there is no such project."""
        check_project_id(project_id)
        state = await self.database.search_indexes.find_one({"_id": project_id})
        if state is None and not await self.database.projects.find_one({"_id": project_id}, {"_id": 1}):
            return None
        return await self._told(project_id, state)

    @database_write
    async def set_index(self, project_id: str, *, is_on: bool) -> SearchIndex:
        """Have an index of a project's texts from now on, or none; nothing happens where it is so already.

        It is made, or taken away, by whoever works on it.

        Raises:
            NotFoundError: there is no such project.
            UnavailableError: it is being purged.
        """
        check_project_id(project_id)
        document = await switch(self.database, project_id, is_on=is_on)
        if document is None:
            await self.database.ensure_not_purging(project_id)
            raise NotFoundError(
                f"there is no project {project_id}; nothing was ever stored in it, and nothing can be found",
                "project_id",
            )
        return await self._told(project_id, document)

    async def work(self, project_id: str, seconds: float | None = None, pause: float = PAUSE) -> None:
        """Work on a project's index as long as there is anything to do, for so many seconds at most.

        Nothing happens where there is no such index, or another process is at it.

        Raises:
            UnavailableError: the database is away; the work goes on when it is back.
        """
        check_project_id(project_id)
        hold = await self.database.run(IndexLease.take(self.database, project_id))
        if hold is None:
            return
        try:
            await run_paced(self.database, Indexing(self.database, hold).steps(), pause, deadline_in(seconds))
            await self.database.run(hold.leave())
        except LostError:
            return

    @database_query
    async def due(self) -> list[str]:
        """The projects on whose index there is work to do."""
        states = await self.database.search_indexes.find({"is_done": False}).to_list(None)
        return [state["_id"] for state in states if await has_work(self.database, state)]

    async def _told(self, project_id: str, document: Document | None) -> SearchIndex:
        sums = {"cut": {"$sum": "$cut"}, "size": {"$sum": "$size_bytes"}}
        of_project: list[Document] = [{"$match": {"project_id": project_id}}, {"$group": {"_id": None, **sums}}]
        counted = await self.database.search_segments.aggregate(of_project).to_list(1)
        waiting = await self.database.calls.count_documents({"project_id": project_id, "search_due": IS_DUE})
        index = replace(SearchIndex.of(project_id, document), waiting=waiting)
        return replace(index, cut=counted[0]["cut"], size_bytes=counted[0]["size"]) if counted else index


def _check_highlights(highlights: int | None) -> None:
    if highlights is not None and not 0 <= highlights <= MOST:
        raise BadInputError(f"{highlights} is out of range; ask for 0 to {MOST} of each call", "max_highlights")


def _generation(state: Document | None, terms: Terms, method: Method | None) -> str | None:
    """The index to go by; None for a scan.

    Raises:
        BadInputError: there is none, or the terms have no words, and nothing else will do.
    """
    if method is Method.SCAN:
        return None
    if method is Method.INDEX and not _is_ready(state):
        raise BadInputError(
            "the project has no index of texts that is ready; leave it out, or have one made with searchIndexSet",
            "method",
        )
    if method is Method.INDEX and not terms.have_words:
        raise BadInputError("an index leads to words alone, and the text has none; leave it out", "method")
    return str(state["generation"]) if state and _is_ready(state) and terms.have_words else None


def _is_ready(state: Document | None) -> bool:
    return state is not None and "ready_at" in state
