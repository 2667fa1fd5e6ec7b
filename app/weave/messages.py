"""Requests and responses of the Weave SDK.

A request is JSON with any Content-Type, kept in memory once, and parsed in time slices. Lists are found page by page,
read in parts that fit into memory, and streamed.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.auth.permissions import ACCESS, RouteAccess, access_of
from app.http.errors import HttpError
from app.http.request_body import BodyRules, is_encoded, read_body
from app.weave.request_models import Filter, Listing, StoreInput
from stores import times
from stores.concurrency.quotas import Reservation
from stores.errors import BadInputError, ForbiddenError, PayloadTooLargeError
from stores.json import AnyJson, codec, incremental
from stores.paging import Page, PageRequest, Row, drop_parsed

LARGE: Final = 4 * incremental.SMALL
_SHOWN: Final = 5
"""Number of invalid fields that one error names."""

_Model = TypeVar("_Model", bound=BaseModel)


class InvalidRequestError(HttpError, BadInputError):
    """A required field of the request is missing or has the wrong type."""

    status = 422


@dataclass
class Body:
    """The body of a request, and what its URL and headers say."""

    text: bytearray
    access: RouteAccess
    reservation: Reservation
    path: dict[str, Any] = field(default_factory=dict)
    retry_id: str | None = None
    """Id that all retries of a request share; None if the client sends none."""

    @property
    def is_large(self) -> bool:
        """True if the body is so large that a thread should process it."""
        return len(self.text) > LARGE

    @property
    def project_id(self) -> str | None:
        """The project in the URL; None if the URL has none."""
        return f"{self.path['entity']}/{self.path['project']}" if self.path else None

    async def read(self, model: type[_Model]) -> _Model:
        """Validate the body as a model; unknown fields are ignored.

        Raises:
            InvalidRequestError: the body is not valid JSON, or a field is missing or has the wrong type.
        """
        return self.validated(model, await self._decoded())

    async def items(self, *path: str) -> "Items":
        """Return the list at a path of keys, without parsing the members of a large body.

        Raises:
            InvalidRequestError: the body is not valid JSON, or has no list at the path.
        """
        name = ".".join(path)
        found: AnyJson
        if not self.is_large:
            # One invalid member makes the whole body invalid; then the members are parsed one by one.
            with suppress(BadInputError):
                around = found = await incremental.loads_request(self.text, self.reservation.reserve)
                for key in path:
                    found = found.get(key) if isinstance(found, dict) else None
                if isinstance(found, list):
                    return Items(self, name, found, around)
        try:
            spans = await incremental.find_array(self.text, path)
            around = None if spans is None else await incremental.loads(spans.around, reserve=self.reservation.reserve)
        except BadInputError as error:
            raise InvalidRequestError(f"the body cannot be read: {error.message}") from None
        if spans is None:
            await self._decoded()
            raise InvalidRequestError("is required: a list", name)
        return Items(self, name, spans, around)

    async def _decoded(self) -> object:
        try:
            return await incremental.loads(self.text, incremental.MAX_VALUES, reserve=self.reservation.reserve)
        except BadInputError as error:
            raise InvalidRequestError(f"the body cannot be read: {error.message}") from None

    def validated(self, model: type[_Model], value: object, at: str = "") -> _Model:
        """Validate a value at the location `at` as a model.

        Raises:
            InvalidRequestError: a field is missing or has the wrong type.
            ForbiddenError: the caller lacks the role in the project that the value names.
        """
        try:
            return model.model_validate(value, context={ACCESS: self.access})
        except ValidationError as error:
            raise _invalid(error, at) from None
        except ForbiddenError as error:
            raise error.prefixed(at) if at else error from None


@dataclass(frozen=True)
class Items:
    """The members of a list, each parsed on demand, and the JSON around the list."""

    body: Body
    name: str
    members: incremental.ArraySpans | list[object]
    around: object = None

    def __len__(self) -> int:
        return len(self.members)

    def at(self, position: int) -> str:
        """Return the location of a member in the request, for error messages."""
        return f"{self.name}.{position}"

    def size(self, position: int) -> int:
        """Return the length of a member's text in bytes; 0 if the body was parsed as a whole."""
        return self.members.size(position) if isinstance(self.members, incremental.ArraySpans) else 0

    async def value(self, position: int, max_values: int = incremental.MAX_VALUES) -> object:
        """Parse and return a member.

        Raises:
            BadInputError: the member is not valid JSON.
            PayloadTooLargeError: it has more than `max_values` values.
            RateLimitedError: the caller has used its half of the memory.
            UnavailableError: the memory for request bodies is full.
        """
        if isinstance(self.members, list):
            return self.members[position]
        try:
            span = self.members.span(position)
            return await incremental.loads(self.members.text, max_values, span, self.body.reservation.reserve)
        except (BadInputError, PayloadTooLargeError) as error:
            raise error.prefixed(self.at(position)) from None

    async def read(self, position: int, model: type[_Model]) -> _Model:
        """Parse a member and validate it as a model; raises as `value` and `Body.validated`."""
        return self.body.validated(model, await self.value(position), self.at(position))

    def has(self, position: int, part: bytes) -> bool:
        """True if a member's text contains `part`; False if the body was parsed as a whole."""
        return (
            isinstance(self.members, incremental.ArraySpans)
            and self.members.text.find(part, *self.members.span(position)) >= 0
        )


def _invalid(error: ValidationError, at: str = "") -> InvalidRequestError:
    """Convert pydantic's validation error; its argument is the first invalid field.

    Args:
        error: the validation error.
        at: location of the validated value in the request.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [f"{_location(problem['loc'], at)}: {problem['msg']}" for problem in problems[:_SHOWN]]
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    first = messages[0].partition(": ")
    return InvalidRequestError("; ".join([first[2], *messages[1:]]) + more, first[0])


def _location(steps: tuple[int | str, ...], at: str) -> str:
    return ".".join(map(str, (*([at] if at else ()), *steps))) or "the body"


async def read_sdk_body(request: Request, max_bytes: int, reservation: Reservation) -> Body:
    """Read the body of a request, and reserve its memory until the reservation is closed; raises as `read_body`."""
    if is_encoded(request.headers):
        raise InvalidRequestError("send the body without Content-Encoding; it is not decompressed")
    # The SDK reads an error only after it sent the whole body.
    text = await read_body(request, BodyRules(max_bytes, "send less at once", discards=4), reservation)
    return Body(text, access_of(request), reservation, request.path_params, request.headers.get("x-weave-retry-id"))


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

_TIMES: Final = frozenset({"started_at", "ended_at", "created_at", "effective_date", "start_time", "last_updated"})


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
