"""Endpoints of the Weave SDK that stream files in and out.

An upload is a form with the field `project_id` and then the part `file`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.auth.permissions import access_of
from app.graphql_http.multipart import is_multipart
from app.http.errors import BodyTimeoutError
from app.http.media_types import media_type_of
from app.http.multipart_parser import Head, PartParser
from app.http.request_body import FileMemory, announced_bytes, iter_chunks, never
from app.weave.request_body import Body, InvalidRequestError
from app.weave.request_models import FileReq
from app.weave.responses import answer
from graphql_schema.context import Stores
from stores.concurrency.byte_budget import Reservation
from stores.errors import BadInputError, StoreError
from stores.files import check_size

_PROJECT_ID: Final = "project_id"
_FILE: Final = "file"
_MAX_FIELD_BYTES: Final = 1024
_MAX_DISCARDED_BYTES: Final = 32 * 1024 * 1024

_RULE: Final = "send multipart/form-data with the field project_id, and after it the file as the part file"


async def create(stores: Stores, request: Request, reservation: Reservation, max_bytes: int) -> Response:
    """Store the file of a form while it arrives; return its digest."""
    if not is_multipart(request.headers):
        raise InvalidRequestError(f"the body is no form; {_RULE}")
    memory = FileMemory(reservation)
    if length := announced_bytes(request.headers):
        check_size(length - _MAX_FIELD_BYTES, max_bytes)
        await memory.expect(length)
    async with aclosing(iter_chunks(request, never)) as body:
        form = _Form(body, _parser(request), memory)
        try:
            await form.read_head()
            access_of(request).check(form.project_id, _PROJECT_ID)
            digest, _, _ = await stores.files.create(form.project_id, form.content(), form.name, max_bytes)
        except BodyTimeoutError:
            raise
        except StoreError:
            await _discard(body)
            raise
    return answer({"digest": digest})


async def _discard(body: AsyncGenerator[bytes, None]) -> None:
    """Discard the rest of a rejected form, up to a limit: the client reads the error only after it sent the body."""
    size = 0
    async for piece in body:
        size += len(piece)
        if size > _MAX_DISCARDED_BYTES:
            return


async def content(stores: Stores, body: Body) -> Response:
    """Return the content of a file."""
    parsed = await body.read(FileReq)
    file = await stores.files.one(parsed.project_id, parsed.digest)
    headers = {"Content-Length": str(file.size_bytes), "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(stores.files.content(file), headers=headers, media_type="application/octet-stream")


def _parser(request: Request) -> PartParser:
    _, parameters = media_type_of(request.headers["content-type"])
    if not parameters.get("boundary"):
        raise InvalidRequestError("Content-Type names no boundary")
    return PartParser(parameters["boundary"])


@dataclass
class _Form:
    """A form with one field and one file, parsed while it arrives."""

    body: AsyncGenerator[bytes, None]
    parser: PartParser
    memory: FileMemory
    project_id: str = ""
    name: str | None = None
    _events: list[Head | bytes | None] = field(default_factory=list)

    async def read_head(self) -> None:
        """Read the form up to the start of the file's content.

        Raises:
            InvalidRequestError: the project is missing before the file, or there is no file.
        """
        reading, text = "", bytearray()
        while (event := await self._next()) is not _END:
            match event:
                case Head(name, file_name):
                    reading = name
                    if reading == _FILE:
                        self.project_id, self.name = _text(text), file_name or None
                        return
                case bytes() as piece if reading == _PROJECT_ID:
                    text += piece
                    if len(text) > _MAX_FIELD_BYTES:
                        raise InvalidRequestError("is too long for a project id", _PROJECT_ID)
        raise InvalidRequestError(f"there is no file in the form; {_RULE}")

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content of the file and read the form to its end.

        Raises:
            BadInputError: the form is incomplete; then nothing is stored.
        """
        is_over = False
        while (event := await self._next()) is not _END:
            if event is None:
                is_over = True
            elif isinstance(event, bytes) and not is_over:
                await self.memory.hold(len(event))
                yield event
        if not self.parser.ended:
            raise BadInputError("the body ends before its last boundary")

    async def _next(self) -> "Head | bytes | _End | None":
        while not self._events:
            piece = await anext(self.body, None)
            if piece is None:
                return _END
            self._events = self.parser.feed(piece)[::-1]
        return self._events.pop()


class _End:
    """Marks the end of the body."""


_END: Final = _End()


def _text(text: bytearray) -> str:
    if not text:
        raise InvalidRequestError(f"is required before the file; {_RULE}", _PROJECT_ID)
    return text.decode(errors="replace")
