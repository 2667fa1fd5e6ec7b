"""`loomql search`: indexes of texts, for the operator, beside a server or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from app.mongodb import shared_mongodb
from app.settings import Settings
from stores import versions
from stores.database import Database
from stores.errors import NotFoundError
from stores.text_search import SearchIndex, TextSearchStore

_POLL_SECONDS: Final = 0.5
_MIB: Final = 1024 * 1024


def set_index(settings: Settings, project: str, *, is_on: bool) -> list[str]:
    """Switch a project's index on or off, and see it made or taken away; what is so now, for people."""
    with Console(stderr=True).status("") as status:
        index = _on_store(settings, lambda store: _finished(store, project, is_on=is_on, status=status))
    return _lines(index)


def show(settings: Settings, project: str) -> list[str]:
    """Whether a project has an index, and how far it is, for people."""

    async def read(store: TextSearchStore) -> SearchIndex:
        return await _read(store, project)

    return _lines(_on_store(settings, read))


async def _finished(store: TextSearchStore, project: str, *, is_on: bool, status: Status) -> SearchIndex:
    """Work on the index, or wait for a server that does, until it is ready or gone."""
    index = await store.set_index(project, is_on=is_on)
    while index.is_on == is_on and index.is_under_way:
        status.update(Text(f"{'Indexing' if is_on else 'Tidying up'} {project}: {_progress(index)} …"))
        await store.work(project, _POLL_SECONDS)
        await asyncio.sleep(_POLL_SECONDS / 10)
        index = await _read(store, project)
    return index


async def _read(store: TextSearchStore, project: str) -> SearchIndex:
    index = await store.index(project)
    if index is None:
        raise NotFoundError(f"there is no project {project}", "project")
    return index


def _progress(index: SearchIndex) -> str:
    if index.has_passed and not index.looked_at:
        return "waiting for servers to hear of it, for less than a minute"
    return f"{index.looked_at:,} of about {max(index.total, index.looked_at):,} calls"


def _lines(index: SearchIndex) -> list[str]:
    if not index.is_on:
        rest = f"; its marks are being taken from the calls: {_progress(index)}" if index.is_under_way else ""
        return [f"{index.project_id} has no index: searches scan its calls{rest}."]
    if not index.is_ready:
        return [f"The index of {index.project_id} is being made: {_progress(index)}. Until then searches scan."]
    size = f"{index.size_bytes / _MIB:.1f} MiB"
    lines = [f"{index.project_id} has an index of {size}; {index.waiting:,} calls wait to be in it."]
    if index.cut:
        lines.append(f"  {index.cut:,} calls have more different words than are indexed of one text (2,000).")
    return lines


def _on_store(settings: Settings, work: Callable[[TextSearchStore], Awaitable[SearchIndex]]) -> SearchIndex:
    async def run(uri: str) -> SearchIndex:
        database = Database.open(uri, settings.mongodb_database, settings.database_timeout_seconds)
        try:
            await versions.require(database)
            await database.ensure_indexes()
            return await work(TextSearchStore(database))
        finally:
            database.close()

    with shared_mongodb(settings) as uri:
        return asyncio.run(run(uri))
