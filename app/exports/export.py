"""One export under way: the pages of its list, and how far it has come."""

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

from stores.database import Database
from stores.errors import StoreError, UnavailableError
from stores.exports.columns import Columns
from stores.exports.lists import LISTS, RowSelection
from stores.exports.pages import pages
from stores.ids import new_id
from stores.paging import Page

TRAILER: Final = "loomql_export"
"""The one key of the line that ends an export."""

_STOPPING: Final = "the server stops; go on after the cursor when it is there again"

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class Export:
    """A list from a cursor on; `cursor` is that of the last of the `count` rows that were given, if there is one."""

    concept: str
    asked: RowSelection
    cursor: str | None = None
    count: int = 0
    is_resumed: bool = False
    is_stopping: bool = False

    @property
    def columns(self) -> Columns:
        """The columns of its rows."""
        return LISTS[self.concept].columns

    async def pages(self, database: Database) -> AsyncGenerator[Page, None]:
        """The pages from where it stands on, the first even if it is empty; each counts as given when it comes.

        Raises:
            StoreError: the question breaks a rule, the database is away, or the server stops.
        """
        read = LISTS[self.concept].page_reader(database, self.asked)
        async for page in pages(read, self.cursor):
            self.count += len(page.rows)
            if page.rows:
                self.cursor = page.cursor(page.rows[-1])
            yield page
            if self.is_stopping and page.has_next:
                raise UnavailableError(_STOPPING)

    def trailer(self, error: Exception | None = None) -> dict[str, Any]:
        """What the last line says: how many rows this answer has, whether they are all, and where they end."""
        says: dict[str, Any] = {
            "concept": self.concept,
            "project_id": self.asked.project_id,
            "count": self.count,
            "complete": error is None,
            "resumed": self.is_resumed,
            "cursor": self.cursor,
        }
        return {TRAILER: says if error is None else says | {"error": _told(error)}}


def _told(error: Exception) -> dict[str, str]:
    if isinstance(error, StoreError):
        return {"message": error.message, "code": error.code}
    error_id = new_id()
    logger.error("unexpected error %s in an export", error_id, exc_info=error)
    message = f"Something went wrong on the server; its log has the details under {error_id}."
    return {"message": message, "code": "INTERNAL", "id": error_id}
