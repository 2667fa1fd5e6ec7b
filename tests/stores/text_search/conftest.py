"""Fixtures of a store of searches over the test's database, and of a finished text index."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from stores.database import Database
from stores.paging import PageRequest
from stores.text_search import FoundPage, Method, TextSearchStore, indexing
from stores.timings import Timings
from tests.stores.calls.builders import PROJECT

Search = Callable[..., Awaitable[FoundPage]]
Found = Callable[..., Awaitable[list[int]]]
Index = Callable[..., Awaitable[None]]


@pytest.fixture
def timings(timings: Timings, request: pytest.FixtureRequest) -> Timings:
    """Let each write check if an index exists, if the test uses `index`."""
    is_indexed = "index" in request.fixturenames
    return replace(timings, registry_lag_seconds=0, write_margin_seconds=0) if is_indexed else timings


@pytest.fixture
def store(database: Database) -> TextSearchStore:
    """Return a store of searches over `database`."""
    return TextSearchStore(database)


@pytest.fixture
def index(store: TextSearchStore, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Return a function that builds a project's index completely."""
    monkeypatch.setattr(indexing, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(indexing, "CHUNK", 2)

    async def index(project_id: str = PROJECT) -> None:
        await store.set_index(project_id, is_on=True)
        while project_id in await store.due():
            await store.work(project_id, pause=0)

    return index


@pytest.fixture
def search(store: TextSearchStore) -> Search:
    """Return a function that reads a page of search results."""

    async def search(
        text: str, method: Method | None = None, size: int = 100, cursor: str | None = None, *, backward: bool = False
    ) -> FoundPage:
        request = PageRequest(size, cursor, backward)
        return await store.page(PROJECT, text, request, ["display_name"], method=method)

    return search


@pytest.fixture
def found(search: Search) -> Found:
    """Return a function that returns the numbers of the found calls, in order."""

    async def found(text: str, method: Method | None = None) -> list[int]:
        return [int(row["id"][-12:], 16) for row in (await search(text, method)).rows]

    return found
