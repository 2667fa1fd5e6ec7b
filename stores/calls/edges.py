"""Edges to calls: for many values of one of their fields at once the calls that have it, page by page."""

from collections.abc import Iterable, Sequence
from typing import Any

from stores import paging
from stores.calls.additions import add_rest
from stores.calls.fields import CALL_FIELDS, paths_of
from stores.calls.filters import calls_match
from stores.calls.search import OLDEST_FIRST
from stores.database import Database
from stores.paging import Page, PageRequest
from stores.query.sort import compile_sort

Match = dict[str, Any]


async def calls_of_each(
    database: Database,
    project_id: str,
    field: str,
    values: Sequence[str],
    request: PageRequest,
    wanted: Iterable[str],
    also: Match | None = None,
) -> dict[str, Page]:
    """For each value of a field (or of a member of it) the page of a project's calls that have it, the oldest first.

    Raises:
        BadInputError: the cursor is none of a value's page.
    """
    order, wanted = compile_sort(OLDEST_FIRST, CALL_FIELDS), set(wanted)
    match = calls_match(project_id) | (also or {})
    pages = await paging.find_pages(database.calls, field, values, match, order, request, paths_of(wanted))
    await add_rest(database, project_id, [row for page in pages.values() for row in page.rows], wanted)
    return pages


async def count_of_each(
    database: Database, project_id: str, field: str, values: Sequence[str], also: Match | None = None
) -> dict[str, int]:
    """For each value of a field (or of a member of it) how many of a project's calls have it."""
    return await paging.count_each(database.calls, field, values, calls_match(project_id) | (also or {}))
