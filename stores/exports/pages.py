"""Reading of whole lists page by page, with bounded memory."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

from stores.database.reads import json_characters
from stores.paging import Page, PageRequest, Row

ReadPage = Callable[[PageRequest], Awaitable[Page]]
"""Reads one page of a list."""

_FIRST_ROWS: Final = 50
_MAX_ROWS: Final = 5_000
_GROWTH: Final = 4
_TARGET_CHARACTERS: Final = 700_000
"""Target size of a page in characters of JSON text."""

_MAX_CHARACTERS: Final = 4_000_000
_SLOW_SECONDS: Final = 0.25
"""Duration above which pages grow: for example, each page of an unindexed sort sorts all matches again."""


async def pages(read_page: ReadPage, after: str | None = None) -> AsyncGenerator[Page, None]:
    """Yield the pages of a list from a cursor on, the first even if empty; the next page is read ahead.

    The page size adapts to the size of rows and to the duration of reads.

    Raises:
        StoreError: as `read_page` raises it.
    """
    request = PageRequest(_FIRST_ROWS, after, max_characters=_TARGET_CHARACTERS)
    next_read = asyncio.ensure_future(_timed(read_page, request))
    try:
        while True:
            page, seconds = await next_read
            if page.has_next:
                request = _next_request(request, page, seconds)
                next_read = asyncio.ensure_future(_timed(read_page, request))
            yield page
            if not page.has_next:
                return
    finally:
        next_read.cancel()
        await asyncio.wait({next_read})
        _ = next_read.cancelled() or next_read.exception()  # a failed read-ahead no longer matters


async def _timed(read_page: ReadPage, request: PageRequest) -> tuple[Page, float]:
    started_at = time.monotonic()
    page = await read_page(request)
    return page, time.monotonic() - started_at


def _next_request(request: PageRequest, page: Page, seconds: float) -> PageRequest:
    if not page.rows:
        return request
    characters = _next_characters(request.max_characters or _TARGET_CHARACTERS, seconds)
    size = _next_size(page.rows, request.size, characters)
    return PageRequest(size, page.cursor(page.rows[-1]), max_characters=characters)


def _next_characters(characters: int, seconds: float) -> int:
    if seconds > _SLOW_SECONDS:
        return min(2 * characters, _MAX_CHARACTERS)
    return max(characters // 2, _TARGET_CHARACTERS)


def _next_size(rows: Sequence[Row], size: int, characters: int) -> int:
    mean = 1 + sum(map(json_characters, rows)) / len(rows)
    return max(1, min(int(characters / mean), _GROWTH * size, _MAX_ROWS))
