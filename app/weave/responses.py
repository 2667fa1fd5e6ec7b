"""Responses for the Weave SDK. Lists are found page by page, read in parts that fit into memory, and streamed."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from app.weave.request_models import Filter, Listing, StoreInput
from stores import times
from stores.errors import BadInputError
from stores.json import codec
from stores.paging import Page, PageRequest, Row, drop_parsed

Rows = AsyncGenerator[bytes, None]
"""Chunks of JSON, each a row or a section of one; a row ends in a newline."""

ReadPage = Callable[..., Awaitable[Page]]
"""Reads a page, as `DocumentList.page` does."""

_CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Cache-Control": "no-store"}

FOUND_AT_ONCE: Final = 1_000
READ_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Limits of a page and of a part of one; a single larger row is a part of its own."""

_TIMES: Final = frozenset(
    ("started_at", "ended_at", "created_at", "effective_date", "start_time", "last_updated"),
)


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
    read: ReadPage,
    listing: Listing,
    wanted: Iterable[str],
    chosen: StoreInput[Any] | Filter | None = None,
    size: int | None = None,
) -> AsyncGenerator[Page, None]:
    """Yield the pages of a list from its offset up to its limit.

    Args:
        read: reads a page.
        listing: the request.
        wanted: names of the fields to read.
        chosen: filter of the list.
        size: maximum number of rows of a page.
    """
    size, list_filter = size or FOUND_AT_ONCE, chosen.to_store() if chosen else None
    left, cursor, offset = listing.limit, None, listing.offset or 0
    while left is None or left > 0:
        request = PageRequest(size if left is None else min(left, size), cursor, offset=offset)
        page = await read(listing.project_id, request, wanted, list_filter, listing.sort_keys, listing.where)
        yield page
        if not page.has_next or not page.rows:
            return
        left = None if left is None else left - len(page.rows)
        cursor, offset = page.cursor(page.rows[-1]), 0


async def encoded(found: AsyncIterator[Page], encode: Callable[[Row], dict[str, Any]]) -> Rows:
    """Yield each row of the pages as JSON; `encode` returns its fields."""
    async for page in found:
        for row in page.rows:
            yield codec.dumps(encode(row)) + b"\n"
            drop_parsed(row)


def plain(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return the named fields of a row, null where it has none, with times in ISO 8601."""
    fields = {name: row.get(name) for name in names}
    return fields | {name: times.to_text(row[name]) for name in _TIMES & fields.keys() if fields[name] is not None}


def selected(fields: Sequence[str] | None, known: Sequence[str], paths_into: str | None = None) -> Sequence[str]:
    """Return the selected fields, all of them if none are; `paths_into` names the field into which paths may lead.

    Raises:
        BadInputError: a field is unknown.
    """
    for position, name in enumerate(fields or ()):
        if name not in known and not (paths_into and name.startswith(f"{paths_into}.")):
            raise BadInputError(f"there is no field {name[:100]!r}; there are {', '.join(known)}", f"fields.{position}")
    return fields or known
