"""NDJSON exports: one line for each row, and a trailer."""

from collections.abc import AsyncGenerator
from typing import Final

from app.exports.export import Export
from stores.database import Database
from stores.exports.columns import Columns
from stores.json import codec
from stores.paging import Page

MEDIA_TYPE: Final = "application/x-ndjson"


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
