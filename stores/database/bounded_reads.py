"""Reads that end early where their rows hold much: what is in memory at once is bounded, however large rows are."""

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
    """The rows until they hold so many characters of JSON text; and whether there are more, of which one comes, too."""
    drivers = session.delegate if session else None
    return run_in_driver_thread(_read, collection.delegate, stages, batch_size, max_characters, drivers)


def _read(
    collection: "DriversCollection[Document]",
    stages: Stages,
    batch_size: int,
    max_characters: int,
    session: "ClientSession | None",
) -> tuple[list[Document], bool]:
    with open_snapshot_cursor(collection, stages, batch_size, session) as found:
        return _until(found, max_characters)


def _until(found: Iterable[Document], max_characters: int) -> tuple[list[Document], bool]:
    rows: list[Document] = []
    characters = 0
    for row in found:
        rows.append(row)
        if characters >= max_characters:
            return rows, True
        characters += json_characters(row)
    return rows, False


def json_characters(row: Document) -> int:
    """How much JSON text a row holds."""
    return sum(map(len, row["json"].values())) if "json" in row else 0
