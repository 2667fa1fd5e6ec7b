"""Reads that return all rows at once, or as many as fit into a memory bound: one hop to a driver thread.

A Motor cursor takes several hops to start, and hands its rows over one by one on the event loop.
"""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pymongo.read_concern import ReadConcern

from stores.database import Collection, Document
from stores.database.driver import open_cursor, run_in_driver_thread
from stores.database.transactions import Session

if TYPE_CHECKING:
    import asyncio

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as DriversCollection
    from pymongo.command_cursor import CommandCursor
    from pymongo.cursor import Cursor

Stages = Sequence[dict[str, Any]]

SNAPSHOT: Final = ReadConcern("snapshot")
"""With a weaker read concern, MongoDB may drop concurrently deleted documents after the limit of an index-only sort.
The page is then short and looks like the last one.
"""

_FIND_STAGES: Final = ("$match", "$sort", "$skip", "$limit", "$project")
"""Stages that `find` can express, in this order."""


async def one_row(collection: Collection, match: dict[str, Any], projection: dict[str, Any]) -> Document | None:
    """Read one matching document with the projected fields; None if none matches."""
    rows = await run_in_driver_thread(_find, collection.delegate, match, projection, 1, limit=1)
    return rows[0] if rows else None


def find_all(
    collection: Collection, match: dict[str, Any], projection: dict[str, Any], max_rows: int
) -> Awaitable[list[Document]]:
    """Read all matching documents with the projected fields; at most `max_rows` may exist."""
    return run_in_driver_thread(_find, collection.delegate, match, projection, max_rows)


def _find(
    collection: "DriversCollection[Document]",
    match: dict[str, Any],
    projection: dict[str, Any],
    max_rows: int,
    limit: int = 0,
) -> list[Document]:
    # One more than can exist, so that MongoDB closes the cursor with the first batch.
    def by_driver() -> "Cursor[Document]":
        return collection.find(match, projection, batch_size=max_rows + 1, limit=limit)

    command = {
        "find": collection.name,
        "filter": match,
        "projection": projection,
        "limit": limit,
        "batchSize": max_rows + 1,
    }
    return open_cursor(collection, command, max_rows + 1, by_driver).to_list()


def all_rows(
    collection: Collection, stages: Stages, batch_size: int, session: Session | None = None
) -> "asyncio.Future[list[Document]]":
    """Read all rows that the stages produce from one snapshot, in one batch if it fits into a reply.

    The read starts now, until it is cancelled.
    """
    driver_session = session.delegate if session else None

    def read() -> list[Document]:
        return _open_snapshot_cursor(collection.delegate, stages, batch_size, driver_session).to_list()

    return run_in_driver_thread(read)


def _open_snapshot_cursor(
    collection: "DriversCollection[Document]", stages: Stages, batch_size: int, session: "ClientSession | None"
) -> "Cursor[Document] | CommandCursor[Document]":
    """Open a snapshot cursor over the stages' rows, in a driver thread."""
    find_arguments = as_find(stages)

    def by_driver() -> "Cursor[Document] | CommandCursor[Document]":
        snapshot = collection.with_options(read_concern=SNAPSHOT)
        if find_arguments is None:
            return snapshot.aggregate(stages, session=session, allowDiskUse=True, batchSize=batch_size)
        return snapshot.find(**find_arguments, session=session, allow_disk_use=True, batch_size=batch_size)

    if session is not None:
        return by_driver()
    command: dict[str, Any]
    if find_arguments is None:
        command = {"aggregate": collection.name, "pipeline": list(stages), "cursor": {"batchSize": batch_size}}
    else:
        command = {"find": collection.name, **find_arguments, "batchSize": batch_size}
    return open_cursor(collection, command | {"allowDiskUse": True}, batch_size, by_driver, SNAPSHOT)


def as_find(stages: Stages) -> dict[str, Any] | None:
    """Convert the stages to arguments of `find`, which is cheaper; None if `find` cannot express them."""
    names = [name for stage in stages for name in stage]
    matches = [stage["$match"] for stage in stages if "$match" in stage]
    arguments = {name: value for stage in stages for name, value in stage.items()}
    if names != ["$match"] * len(matches) + [name for name in _FIND_STAGES[1:] if name in arguments]:
        return None
    return {
        "filter": matches[0] if len(matches) == 1 else {"$and": matches} if matches else {},
        "projection": arguments.get("$project", {}),
        "sort": arguments.get("$sort", {}),
        "skip": arguments.get("$skip", 0),
        "limit": arguments.get("$limit", 0),
    }


def read_rows_up_to(
    collection: Collection, stages: Stages, batch_size: int, max_characters: int, session: Session | None
) -> Awaitable[tuple[list[Document], bool]]:
    """Read rows until they hold `max_characters` of JSON text; return them, and True if more rows follow.

    If more follow, the last returned row lies beyond the bound and only proves that.
    """
    driver_session = session.delegate if session else None

    def read() -> tuple[list[Document], bool]:
        rows, characters = [], 0
        with _open_snapshot_cursor(collection.delegate, stages, batch_size, driver_session) as cursor:
            for row in cursor:
                rows.append(row)
                if characters >= max_characters:
                    return rows, True
                characters += json_characters(row)
        return rows, False

    return run_in_driver_thread(read)


def json_characters(row: Document) -> int:
    """Return the number of characters of JSON text in a row."""
    return sum(map(len, row["json"].values())) if "json" in row else 0
