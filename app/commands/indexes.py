"""`loomql index`: the operator's own indexes on JSON paths of calls. `loomql search`: the text index of a project."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rich.console import Console
from rich.status import Status
from rich.text import Text

from app.commands.common import Add, actions_of, aligned, data_folder, on_database, project, say, settings_of
from stores.calls.user_indexes import UserIndex, UserIndexes
from stores.database import Database
from stores.errors import NotFoundError
from stores.text_search import SearchIndex, TextSearchStore

_ALL: Final = "ALL"
_POLL_SECONDS: Final = 0.5
_MIB: Final = 1024 * 1024

_R = TypeVar("_R")


def add_commands(add: Add) -> None:
    """Add `index` and `search`."""
    action = actions_of(add, "index", "manage indexes on paths in the JSON of calls")
    which = ArgumentParser(add_help=False, parents=[data_folder()])
    which.add_argument("project", metavar=f"PROJECT-OR-{_ALL}", help=f"entity/project, or {_ALL} for all projects")
    which.add_argument("path", metavar="PATH", help="path in the JSON of a call, such as inputs.customer_id")
    action("add", build, parents=[which], help="build an index; servers may run")
    action("drop", drop, parents=[which], help="drop an index")
    action("list", list_indexes, parents=[data_folder()], help="list the added indexes with their sizes")
    searching = actions_of(add, "search", "manage the text search index of a project")
    flags = [project(), data_folder()]
    searching("on", set_index, parents=flags, help="build the index; servers may run").set_defaults(is_on=True)
    searching("off", set_index, parents=flags, help="drop the index; searches then scan").set_defaults(is_on=False)
    searching("status", show_index, parents=flags, help="show the state of the index")


def build(options: Namespace) -> int:
    """Build an index unless it exists."""
    index = _index(options)
    with Console(stderr=True).status(Text(f"Indexing {index.field} …")):
        added = _on_indexes(options, lambda indexes: indexes.add(index))
    return say(f"{index.field} is {'indexed' if added else 'already indexed'} {index.scope}.")


def drop(options: Namespace) -> int:
    """Drop an index."""
    index = _index(options)
    _on_indexes(options, lambda indexes: indexes.drop(index))
    return say(f"{index.field} is no longer indexed {index.scope}.")


def list_indexes(options: Namespace) -> int:
    """Print each index on a line: its project, path and size on disk."""
    sizes = _on_indexes(options, lambda indexes: indexes.sizes())
    rows = [(index.project_id or _ALL, index.field, f"{size / _MIB:.1f} MiB") for index, size in sizes.items()]
    return say(*aligned(rows) or ["No index has been added."])


def _index(options: Namespace) -> UserIndex:
    return UserIndex.parse_field(None if options.project == _ALL else options.project, options.path)


def _on_indexes(options: Namespace, operation: Callable[[UserIndexes], Awaitable[_R]]) -> _R:
    return on_database(settings_of(options), lambda database: operation(UserIndexes(database)))


def set_index(options: Namespace) -> int:
    """Build or remove a project's text index, wait until that is done, and print the result."""
    with Console(stderr=True).status("") as status:
        index = _on_store(options, lambda store: _finished(store, options.project, is_on=options.is_on, status=status))
    return say(*_lines(index))


def show_index(options: Namespace) -> int:
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
