"""Reads with a memory bound: they stop once their rows hold a given amount of JSON text."""

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from stores.database import Collection, Document
from stores.database.snapshot_reads import Stages, open_snapshot_cursor
from stores.database.thread_pool import run_in_driver_thread
from stores.database.transactions import Session

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as DriversCollection


def read_rows_up_to(
    collection: Collection, stages: Stages, batch_size: int, max_characters: int, session: Session | None
) -> Awaitable[tuple[list[Document], bool]]:
    """Read rows until they hold `max_characters` of JSON text; return them, and True if more rows follow.

    If more follow, the last returned row lies beyond the bound and only proves that.
    """
    driver_session = session.delegate if session else None
    return run_in_driver_thread(_read, collection.delegate, stages, batch_size, max_characters, driver_session)


def _read(
    collection: "DriversCollection[Document]",
    stages: Stages,
    batch_size: int,
    max_characters: int,
    session: "ClientSession | None",
) -> tuple[list[Document], bool]:
    with open_snapshot_cursor(collection, stages, batch_size, session) as cursor:
        return _rows_up_to(cursor, max_characters)


def _rows_up_to(cursor: Iterable[Document], max_characters: int) -> tuple[list[Document], bool]:
    rows: list[Document] = []
    characters = 0
    for row in cursor:
        rows.append(row)
        if characters >= max_characters:
            return rows, True
        characters += json_characters(row)
    return rows, False


def json_characters(row: Document) -> int:
    """Return the number of characters of JSON text in a row."""
    return sum(map(len, row["json"].values())) if "json" in row else 0
