"""Responses for the Weave SDK. Lists are found page by page, read in batches that fit into memory, and streamed."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from starlette.responses import Response, StreamingResponse

from app.weave.request_models import Listing
from stores.json import codec
from stores.paging import Page, PageRequest, Row

Rows = AsyncGenerator[bytes, None]
"""Chunks of JSON, each a row or a section of one; a row ends in a newline."""

_CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Cache-Control": "no-store"}

FOUND_AT_ONCE: Final = 1_000
READ_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Limit of a batch of rows; a single larger row is a batch of its own."""


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(codec.dumps(content), status, {**_HEADERS, **(headers or {})}, "application/json")


async def lines(rows: Rows) -> StreamingResponse:
    """Return a response with one JSON text in each line.

    Errors before the first row are raised. A later error truncates the response, which its client notices.
    """
    return StreamingResponse(await _started(rows), headers=_HEADERS, media_type="application/jsonl")


async def listed(name: str, rows: Rows) -> StreamingResponse:
    """Return a JSON object whose only member is the list of rows; raises as `lines` does."""
    return StreamingResponse(_as_list(name, await _started(rows)), headers=_HEADERS, media_type="application/json")


async def _started(rows: Rows) -> AsyncIterator[bytes]:
    """Return the rows after waiting for the first one, so that early errors are raised."""
    first = await anext(rows, None)
    return _buffered(first, rows)


async def _buffered(first: bytes | None, rows: Rows) -> AsyncIterator[bytes]:
    """Yield the rows in fewer and larger chunks, because each send has a cost."""
    async with aclosing(rows):
        if first is None:
            return
        waiting = bytearray(first)
        async for piece in rows:
            waiting += piece
            if len(waiting) >= _CHUNK_BYTES:
                yield bytes(waiting)
                waiting = bytearray()
        if waiting:
            yield bytes(waiting)


async def _as_list(name: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield rows as a JSON list; each row has one newline, at its end."""
    yield b'{"' + name.encode() + b'":['
    comma = b""
    async for piece in pieces:
        is_whole = piece.endswith(b"\n")
        yield comma + piece.removesuffix(b"\n").replace(b"\n", b",")
        comma = b"," if is_whole else b""
    yield b"]}"


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
