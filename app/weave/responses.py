"""Responses for the Weave SDK; long ones are JSON lines or a JSON list, sent page by page to limit memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from starlette.responses import Response, StreamingResponse

from stores.json import codec

Rows = AsyncGenerator[bytes, None]
"""Chunks of JSON, each a row or a section of one; a row ends in a newline."""

_CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Cache-Control": "no-store"}


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
