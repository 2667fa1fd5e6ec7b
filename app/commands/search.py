"""`loomql search`: the text index of a project."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from app.commands.database_access import on_database
from app.commands.options import Add, actions_of, data_folder, project, say, settings_of
from stores.database import Database
from stores.errors import NotFoundError
from stores.text_search import SearchIndex, TextSearchStore

_POLL_SECONDS: Final = 0.5
_MIB: Final = 1024 * 1024


def add_search(add: Add) -> None:
    """Add `search` and its actions."""
    action = actions_of(add("search", help="manage the text search index of a project"))
    flags = [project(), data_folder()]
    on = action("on", parents=flags, help="build the index; servers may run")
    on.set_defaults(command=set_index, is_on=True)
    off = action("off", parents=flags, help="drop the index; searches then scan")
    off.set_defaults(command=set_index, is_on=False)
    status = action("status", parents=flags, help="show the state of the index")
    status.set_defaults(command=show)


def set_index(options: Namespace) -> int:
    """Build or remove a project's text index, wait until that is done, and print the result."""
    with Console(stderr=True).status("") as status:
        index = _on_store(options, lambda store: _finished(store, options.project, is_on=options.is_on, status=status))
    return say(*_lines(index))


def show(options: Namespace) -> int:
    """Print the state of a project's text index."""
    return say(*_lines(_on_store(options, lambda store: _read(store, options.project))))


async def _finished(store: TextSearchStore, project_id: str, *, is_on: bool, status: Status) -> SearchIndex:
    """Work on the index, or wait for a server that does, until it is ready or removed."""
    index = await store.set_index(project_id, is_on=is_on)
    while index.is_on == is_on and index.is_under_way:
        status.update(Text(f"{'Indexing' if is_on else 'Cleaning up'} {project_id}: {_progress(index)} …"))
        await store.work(project_id, _POLL_SECONDS)
        await asyncio.sleep(_POLL_SECONDS / 10)
        index = await _read(store, project_id)
    return index


async def _read(store: TextSearchStore, project_id: str) -> SearchIndex:
    index = await store.index(project_id)
    if index is None:
        raise NotFoundError(f"project {project_id} does not exist", "project")
    return index


def _progress(index: SearchIndex) -> str:
    if index.has_passed and not index.looked_at:
        return "waiting less than a minute until all servers know of it"
    return f"{index.looked_at:,} of about {max(index.total, index.looked_at):,} calls"


def _lines(index: SearchIndex) -> list[str]:
    if not index.is_on:
        rest = f"; removal from the calls in progress: {_progress(index)}" if index.is_under_way else ""
        return [f"{index.project_id} has no text index, so searches scan its calls{rest}."]
    if not index.is_ready:
        return [f"The text index of {index.project_id} is being built: {_progress(index)}. Until then searches scan."]
    size = f"{index.size_bytes / _MIB:.1f} MiB"
    lines = [f"{index.project_id} has a text index of {size}; {index.waiting:,} calls are not indexed yet."]
    if index.cut:
        lines.append(
            f"  {index.cut:,} calls have a text with more than 2,000 different words, which are not all indexed."
        )
    return lines


def _on_store(options: Namespace, operation: Callable[[TextSearchStore], Awaitable[SearchIndex]]) -> SearchIndex:
    async def with_indexes(database: Database) -> SearchIndex:
        await database.ensure_indexes()
        return await operation(TextSearchStore(database))

    return on_database(settings_of(options), with_indexes)
