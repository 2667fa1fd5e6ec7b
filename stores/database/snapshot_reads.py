"""Reads of which every row is wanted: done whole in a thread of the driver, in one step for the event loop.

A cursor of Motor's takes several steps to begin, and hands over its rows one by one on the event loop.
"""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pymongo.read_concern import ReadConcern

from stores.database import Collection, Document
from stores.database.direct_cursor import open_cursor
from stores.database.thread_pool import run_in_driver_thread
from stores.database.transactions import Session

if TYPE_CHECKING:
    import asyncio

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as DriversCollection
    from pymongo.command_cursor import CommandCursor
    from pymongo.cursor import Cursor

Stages = Sequence[dict[str, Any]]

SNAPSHOT: Final = ReadConcern("snapshot")
"""Otherwise MongoDB, sorting by an index alone, drops what is deleted meanwhile after the limit has cut: such a page
comes short and looks like the last."""

_STEPS: Final = ("$match", "$sort", "$skip", "$limit", "$project")
"""What `find` does, too, in this order."""


def one_row(collection: Collection, match: dict[str, Any], shown: dict[str, Any]) -> Awaitable[Document | None]:
    """One of the documents that match, as much of it as is to be shown; None where there is none."""
    return run_in_driver_thread(_one, collection.delegate, match, shown)


def _one(collection: "DriversCollection[Document]", match: dict[str, Any], shown: dict[str, Any]) -> Document | None:
    rows = _find(collection, match, shown, 1, limit=1)
    return rows[0] if rows else None


def find_all(
    collection: Collection, match: dict[str, Any], shown: dict[str, Any], most: int
) -> Awaitable[list[Document]]:
    """All documents that match, of which there are at most so many, as much of them as is to be shown."""
    return run_in_driver_thread(_find, collection.delegate, match, shown, most)


def find_first(collection: Collection, match: dict[str, Any], limit: int) -> "asyncio.Future[list[Document]]":
    """As many of the documents that match, in no order; they are being read from now on, until it is cancelled."""
    return run_in_driver_thread(_find, collection.delegate, match, {}, limit, limit)


def _find(
    collection: "DriversCollection[Document]", match: dict[str, Any], shown: dict[str, Any], most: int, limit: int = 0
) -> list[Document]:
    # One more than there can be, so that MongoDB knows with the first batch that it is the last.
    def otherwise() -> "Cursor[Document]":
        return collection.find(match, shown, batch_size=most + 1, limit=limit)

    command = {
        "find": collection.name,
        "filter": match,
        "projection": shown,
        "limit": limit,
        "batchSize": most + 1,
    }
    return open_cursor(collection, command, most + 1, otherwise).to_list()


def all_rows(
    collection: Collection, stages: Stages, batch_size: int, session: Session | None = None
) -> "asyncio.Future[list[Document]]":
    """All that some stages find, as it was at one moment; in one batch where so many fit into an answer.

    They are being read from now on, until it is cancelled.
    """
    drivers = session.delegate if session else None
    return run_in_driver_thread(_read, collection.delegate, stages, batch_size, drivers)


def _read(
    collection: "DriversCollection[Document]", stages: Stages, batch_size: int, session: "ClientSession | None"
) -> list[Document]:
    return open_snapshot_cursor(collection, stages, batch_size, session).to_list()


def open_snapshot_cursor(
    collection: "DriversCollection[Document]", stages: Stages, batch_size: int, session: "ClientSession | None"
) -> "Cursor[Document] | CommandCursor[Document]":
    """What some stages find, as it was at one moment, for a thread of the driver."""
    plain = as_find(stages)

    def by_driver() -> "Cursor[Document] | CommandCursor[Document]":
        steady = collection.with_options(read_concern=SNAPSHOT)
        if plain is None:
            return steady.aggregate(stages, session=session, allowDiskUse=True, batchSize=batch_size)
        return steady.find(**plain, session=session, allow_disk_use=True, batch_size=batch_size)

    if session is not None:
        return by_driver()
    command: dict[str, Any]
    if plain is None:
        command = {"aggregate": collection.name, "pipeline": list(stages), "cursor": {"batchSize": batch_size}}
    else:
        command = {"find": collection.name, **plain, "batchSize": batch_size}
    return open_cursor(collection, command | {"allowDiskUse": True}, batch_size, by_driver, SNAPSHOT)


def as_find(stages: Stages) -> dict[str, Any] | None:
    """The same as arguments of `find`, which takes MongoDB and the driver less; None where it cannot say it."""
    names = [name for stage in stages for name in stage]
    matches = [stage["$match"] for stage in stages if "$match" in stage]
    given = {name: value for stage in stages for name, value in stage.items()}
    if names != ["$match"] * len(matches) + [name for name in _STEPS[1:] if name in given]:
        return None
    return {
        "filter": matches[0] if len(matches) == 1 else {"$and": matches} if matches else {},
        "projection": given.get("$project", {}),
        "sort": given.get("$sort", {}),
        "skip": given.get("$skip", 0),
        "limit": given.get("$limit", 0),
    }
