"""`loomql index`: indexes for the operator's own paths, made while the server runs or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from app.mongodb import shared_mongodb
from app.settings import Settings
from stores import versions
from stores.database import Database
from stores.user_indexes import UserIndex, UserIndexes

EVERY_PROJECT: Final = "ALL"
_MIB: Final = 1024 * 1024

_R = TypeVar("_R")


def add_index(settings: Settings, project: str, path: str) -> str:
    """Build an index unless it is there; what was done, for people."""
    index = _index(project, path)
    with Console(stderr=True).status(Text(f"Indexing {index.field} …")):
        added = _on_database(settings, lambda indexes: indexes.add(index))
    return f"{index.field} is {'indexed' if added else 'already indexed'} {index.scope}."


def drop_index(settings: Settings, project: str, path: str) -> str:
    """Take an index away; what was done, for people."""
    index = _index(project, path)
    _on_database(settings, lambda indexes: indexes.drop(index))
    return f"{index.field} is no longer indexed {index.scope}."


def index_lines(settings: Settings) -> list[str]:
    """A line for each index: its project, its path, and its size on disk."""
    sizes = _on_database(settings, lambda indexes: indexes.sizes())
    rows = [(index.project_id or EVERY_PROJECT, index.field, f"{size / _MIB:.1f} MiB") for index, size in sizes.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)] if rows else []
    return ["  ".join((row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2])) for row in rows]


def _index(project: str, path: str) -> UserIndex:
    return UserIndex.of(None if project == EVERY_PROJECT else project, path)


def _on_database(settings: Settings, work: Callable[[UserIndexes], Awaitable[_R]]) -> _R:
    async def run(uri: str) -> _R:
        database = Database.open(uri, settings.mongodb_database, settings.database_timeout_seconds)
        try:
            await versions.require(database)
            return await work(UserIndexes(database))
        finally:
            database.close()

    with shared_mongodb(settings) as uri:
        return asyncio.run(run(uri))
