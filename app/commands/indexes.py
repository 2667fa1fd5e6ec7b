"""`loomql index`: the operator's own indexes on JSON paths of calls."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from app.commands.database_access import on_database
from app.commands.options import Add, actions_of, data_folder, say, settings_of
from stores.calls.user_indexes import UserIndex, UserIndexes

_ALL: Final = "ALL"
_MIB: Final = 1024 * 1024

_R = TypeVar("_R")


def add_index(add: Add) -> None:
    """Add `index` and its actions."""
    action = actions_of(add("index", help="manage indexes on paths in the JSON of calls"))
    which = ArgumentParser(add_help=False, parents=[data_folder()])
    which.add_argument("project", metavar=f"PROJECT-OR-{_ALL}", help=f"entity/project, or {_ALL} for all projects")
    which.add_argument("path", metavar="PATH", help="path in the JSON of a call, such as inputs.customer_id")
    building = action("add", parents=[which], help="build an index; servers may run")
    building.set_defaults(command=build)
    dropping = action("drop", parents=[which], help="drop an index")
    dropping.set_defaults(command=drop)
    listing = action("list", parents=[data_folder()], help="list the added indexes with their sizes")
    listing.set_defaults(command=list_indexes)


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
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)] if rows else []
    lines = ["  ".join((row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2])) for row in rows]
    return say(*lines or ["No index has been added."])


def _index(options: Namespace) -> UserIndex:
    return UserIndex.parse_field(None if options.project == _ALL else options.project, options.path)


def _on_indexes(options: Namespace, operation: Callable[[UserIndexes], Awaitable[_R]]) -> _R:
    return on_database(settings_of(options), lambda database: operation(UserIndexes(database)))
