"""Whole lists page by page, in memory that does not grow with them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

from stores.database.bounded_reads import json_characters
from stores.paging import Page, PageRequest, Row

Read = Callable[[PageRequest], Awaitable[Page]]
"""What reads a page of a list."""

_FIRST_ROWS: Final = 50
_MOST_ROWS: Final = 5_000
_GROWTH: Final = 4
_CHARACTERS: Final = 700_000
"""Of JSON text that a page should have."""

_MOST_CHARACTERS: Final = 4_000_000
_SLOW_SECONDS: Final = 0.25
"""A page that takes longer, as where all that matches is sorted for each, should have more."""


async def pages(read: Read, after: str | None = None) -> AsyncGenerator[Page, None]:
    """The pages of a list from a cursor on, the first even if it is empty; the next is read while one is looked at.

    How many rows they have goes by what rows take, and by how long they take to be found.

    Raises:
        StoreError: whatever reading raises.
    """
    request = PageRequest(_FIRST_ROWS, after, max_characters=_CHARACTERS)
    reading = asyncio.ensure_future(_timed(read, request))
    try:
        while True:
            page, seconds = await reading
            if page.has_next:
                request = _next_request(request, page, seconds)
                reading = asyncio.ensure_future(_timed(read, request))
            yield page
            if not page.has_next:
                return
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        _ = reading.cancelled() or reading.exception()  # what went wrong with it is of no interest any more


async def _timed(read: Read, request: PageRequest) -> tuple[Page, float]:
    began = time.monotonic()
    page = await read(request)
    return page, time.monotonic() - began


def _next_request(request: PageRequest, page: Page, seconds: float) -> PageRequest:
    if not page.rows:
        return request
    characters = _next_characters(request.max_characters or _CHARACTERS, seconds)
    size = _next_size(page.rows, request.size, characters)
    return PageRequest(size, page.cursor(page.rows[-1]), max_characters=characters)


def _next_characters(characters: int, seconds: float) -> int:
    if seconds > _SLOW_SECONDS:
        return min(2 * characters, _MOST_CHARACTERS)
    return max(characters // 2, _CHARACTERS)


def _next_size(rows: Sequence[Row], size: int, characters: int) -> int:
    mean = 1 + sum(map(json_characters, rows)) / len(rows)
    return max(1, min(int(characters / mean), _GROWTH * size, _MOST_ROWS))
