"""Long answers of the Weave SDK's door: JSON lines and JSON lists, page by page, so that few rows are held at once."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse

Rows = AsyncGenerator[bytes, None]
"""Pieces of JSON, each a row or a part of one; a row ends in a newline."""

_AT_ONCE: Final = 64 * 1024
_HEADERS: Final = {"Cache-Control": "no-store"}


async def lines(rows: Rows) -> StreamingResponse:
    """An answer of a JSON text in each line.

    Whatever is refused is raised before the answer begins; what fails later cuts it off, which its client notices.
    """
    return StreamingResponse(await _begun(rows), headers=_HEADERS, media_type="application/jsonl")


async def listed(name: str, rows: Rows) -> StreamingResponse:
    """An answer of a JSON object whose one member is the list of the rows; raises as `lines` does."""
    return StreamingResponse(_as_list(name, await _begun(rows)), headers=_HEADERS, media_type="application/json")


async def _begun(rows: Rows) -> AsyncIterator[bytes]:
    """The rows, of which the first is there already."""
    first = await anext(rows, None)
    return _gathered(first, rows)


async def _gathered(first: bytes | None, rows: Rows) -> AsyncIterator[bytes]:
    """The same in fewer and larger pieces, since each that is sent takes its time."""
    async with aclosing(rows):
        if first is None:
            return
        waiting = bytearray(first)
        async for piece in rows:
            waiting += piece
            if len(waiting) >= _AT_ONCE:
                yield bytes(waiting)
                waiting = bytearray()
        if waiting:
            yield bytes(waiting)


async def _as_list(name: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Rows, in whose JSON there is no newline but at the end, as a list."""
    yield b'{"' + name.encode() + b'":['
    comma = b""
    async for piece in pieces:
        is_whole = piece.endswith(b"\n")
        yield comma + piece.removesuffix(b"\n").replace(b"\n", b",")
        comma = b"," if is_whole else b""
    yield b"]}"
