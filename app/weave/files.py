"""Endpoints of the Weave SDK that stream files in and out.

An upload is a form with the field `project_id` and then the part `file`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.auth.permissions import access_of
from app.http.connections import FORM, media_type_of
from app.http.errors import BodyTimeoutError
from app.http.request_body import FileMemory, FormReader, announced_bytes, iter_chunks, never
from app.weave.messages import InvalidRequestError, answer
from app.weave.request_models import DigestReq
from graphql_schema.context import Stores
from stores.concurrency.quotas import Reservation
from stores.errors import StoreError
from stores.files import check_size

_PROJECT_ID: Final = "project_id"
_FILE: Final = "file"
_MAX_FIELD_BYTES: Final = 1024
_MAX_DISCARDED_BYTES: Final = 32 * 1024 * 1024

_RULE: Final = "send multipart/form-data with the field project_id, and after it the file as the part file"


async def create(stores: Stores, request: Request, reservation: Reservation, max_bytes: int) -> Response:
    """Store the file of a form while it arrives; return its digest."""
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != FORM:
        raise InvalidRequestError(f"the body is no form; {_RULE}")
    if not parameters.get("boundary"):
        raise InvalidRequestError("Content-Type names no boundary")
    memory = FileMemory(reservation)
    if length := announced_bytes(request.headers):
        check_size(length - _MAX_FIELD_BYTES, max_bytes)
        await memory.expect(length)
    async with aclosing(iter_chunks(request, never)) as body:
        form = FormReader(parameters["boundary"], body)
        try:
            project_id, name = await _read_head(form)
            access_of(request).check(project_id, _PROJECT_ID)
            digest, _, _ = await stores.files.create(project_id, _content(form, memory), name, max_bytes)
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


async def content(stores: Stores, req: DigestReq) -> Response:
    """Return the content of a file."""
    file = await stores.files.one(req.project_id, req.digest)
    headers = {"Content-Length": str(file.size_bytes), "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(stores.files.content(file), headers=headers, media_type="application/octet-stream")


async def _read_head(form: FormReader) -> tuple[str, str | None]:
    """Read the form up to the start of the file's content; return the project id and the name of the file.

    Raises:
        InvalidRequestError: the project is missing before the file, or there is no file.
    """
    text = bytearray()
    while part := await form.next_part():
        if part.name == _FILE and not text:
            raise InvalidRequestError(f"is required before the file; {_RULE}", _PROJECT_ID)
        if part.name == _FILE:
            return text.decode(errors="replace"), part.file_name or None
        if part.name == _PROJECT_ID:
            async for piece in form.content():
                text += piece
                if len(text) > _MAX_FIELD_BYTES:
                    raise InvalidRequestError("is too long for a project id", _PROJECT_ID)
    raise InvalidRequestError(f"there is no file in the form; {_RULE}")


async def _content(form: FormReader, memory: FileMemory) -> AsyncGenerator[bytes, None]:
    """Yield the content of the file and read the form to its end.

    Raises:
        BadInputError: the form is incomplete; then nothing is stored.
    """
    async for piece in form.content():
        await memory.hold(len(piece))
        yield piece
    while await form.next_part():
        pass
    form.check_end()
