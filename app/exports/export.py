"""The state of a running export, and its lines as NDJSON: one for each row, and a trailer."""

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

from stores.database import Database
from stores.errors import StoreError, UnavailableError
from stores.exports import LISTS, Columns, RowSelection, pages
from stores.ids import new_id
from stores.json import codec
from stores.paging import Page

TRAILER: Final = "loomql_export"
"""The only member of the last line of an export."""

_STOPPING: Final = "the server stops; resume after the cursor when it runs again"
logger = logging.getLogger("loomql")
NDJSON: Final = "application/x-ndjson"


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


async def ndjson(export: Export, database: Database, *, with_cursors: bool) -> AsyncGenerator[bytes, None]:
    """Yield the lines page by page; a failure is reported in the trailer."""
    failure: Exception | None = None
    try:
        async for page in export.pages(database):
            yield lines(export.columns, page, with_cursors=with_cursors)
    except Exception as error:  # noqa: BLE001 -- the trailer reports any error to the client
        failure = error
    yield trailer(export, failure)


def trailer(export: Export, failure: Exception | None = None) -> bytes:
    """Return the trailer line."""
    return codec.dumps(export.trailer(failure)) + b"\n"


def lines(columns: Columns, page: Page, *, with_cursors: bool) -> bytes:
    """Return the lines of a page, with cursors if requested; a page is too small to need yielding to the event loop."""
    if with_cursors:
        return b"".join([columns.line(row, page.cursor(row)) for row in page.rows])
    return b"".join(map(columns.line, page.rows))
