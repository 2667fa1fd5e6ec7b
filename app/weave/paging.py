"""Paging for list endpoints of the Weave SDK: find rows page by page, and read them in batches that fit into memory."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Final

from app.weave.request_models import Listing
from stores.paging import Page, PageRequest, Row

FOUND_AT_ONCE: Final = 1_000
READ_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Limit of a batch of rows; a single larger row is a batch of its own."""


async def pages(
    read: Callable[[PageRequest], Awaitable[Page]], parsed: Listing, size: int | None = None
) -> AsyncGenerator[Page, None]:
    """Yield the pages of a list from its offset up to its limit; `size` is the maximum number of rows of a page."""
    size = size or FOUND_AT_ONCE
    left, cursor, offset = parsed.limit, None, parsed.offset or 0
    while left is None or left > 0:
        page = await read(PageRequest(size if left is None else min(left, size), cursor, offset=offset))
        yield page
        if not page.has_next or not page.rows:
            return
        left = None if left is None else left - len(page.rows)
        cursor, offset = page.cursor(page.rows[-1]), 0


def in_parts(rows: Sequence[Row], size_field: str, max_rows: int | None = None) -> Iterator[list[Row]]:
    """Yield the rows in batches, limited by their number and by the sum of `size_field`, in bytes."""
    part: list[Row] = []
    size = 0
    for row in rows:
        size += row.get(size_field, 0)
        if part and (size > BYTES_AT_ONCE or len(part) == (max_rows or READ_AT_ONCE)):
            yield part
            part, size = [], row.get(size_field, 0)
        part.append(row)
    if part:
        yield part
