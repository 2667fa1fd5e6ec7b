"""The state of a running export: its list, position and trailer."""

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
"""The only member of the last line of an export."""

_STOPPING: Final = "the server stops; resume after the cursor when it runs again"

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class Export:
    """An export from a cursor on; `cursor` is that of the last of `count` exported rows, or None."""

    concept: str
    selection: RowSelection
    cursor: str | None = None
    count: int = 0
    is_resumed: bool = False
    is_stopping: bool = False

    @property
    def columns(self) -> Columns:
        """Columns of the rows."""
        return LISTS[self.concept].columns

    async def pages(self, database: Database) -> AsyncGenerator[Page, None]:
        """Yield the remaining pages and advance the position; the first page may be empty.

        Raises:
            StoreError: the arguments are invalid, MongoDB is unreachable, or the server stops.
        """
        read = LISTS[self.concept].page_reader(database, self.selection)
        async for page in pages(read, self.cursor):
            self.count += len(page.rows)
            if page.rows:
                self.cursor = page.cursor(page.rows[-1])
            yield page
            if self.is_stopping and page.has_next:
                raise UnavailableError(_STOPPING)

    def trailer(self, error: Exception | None = None) -> dict[str, Any]:
        """Return the last line: the number of rows, whether the export is complete, and the last cursor."""
        content: dict[str, Any] = {
            "concept": self.concept,
            "project_id": self.selection.project_id,
            "count": self.count,
            "complete": error is None,
            "resumed": self.is_resumed,
            "cursor": self.cursor,
        }
        return {TRAILER: content if error is None else content | {"error": _error_body(error)}}


def _error_body(error: Exception) -> dict[str, str]:
    if isinstance(error, StoreError):
        return {"message": error.message, "code": error.code}
    error_id = new_id()
    logger.error("unexpected error %s in an export", error_id, exc_info=error)
    message = f"Something went wrong on the server; its log has the details under {error_id}."
    return {"message": message, "code": "INTERNAL", "id": error_id}
