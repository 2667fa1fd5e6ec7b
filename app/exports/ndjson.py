"""Exports as NDJSON: a line for each row, and one that ends it."""

from collections.abc import AsyncGenerator
from typing import Final

from app.exports.export import Export
from stores.database import Database
from stores.exports.columns import Columns
from stores.json import codec
from stores.paging import Page

MEDIA_TYPE: Final = "application/x-ndjson"


async def ndjson(export: Export, database: Database, *, with_cursors: bool) -> AsyncGenerator[bytes, None]:
    """The lines, page by page; whatever goes wrong is told by the last one."""
    failure: Exception | None = None
    try:
        async for page in export.pages(database):
            yield lines(export.columns, page, with_cursors=with_cursors)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the client is told
        failure = error
    yield trailer(export, failure)


def trailer(export: Export, failure: Exception | None = None) -> bytes:
    """The line that ends an export."""
    return codec.dumps(export.trailer(failure)) + b"\n"


def lines(columns: Columns, page: Page, *, with_cursors: bool) -> bytes:
    """The lines of a page, each with its cursor if these are asked for; a page is small enough to do it at once."""
    if with_cursors:
        return b"".join([columns.line(row, page.cursor(row)) for row in page.rows])
    return b"".join(map(columns.line, page.rows))
