"""File endpoints: `PUT /files/{entity}/{project}` and `GET /files/{entity}/{project}/{digest}`, both streamed.

A response never acts as a page of this server: browsers show images, audio, video and text, download everything else,
and run no scripts.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.admission import quota_key_of
from app.http.errors import RequestError, error_boundary, plain_error
from app.http.request_body import FileMemory, announced_bytes, is_encoded, iter_chunks, never
from graphql_schema.files import file_url
from stores.concurrency.quotas import RequestBudget
from stores.errors import BadInputError
from stores.files import FilesStore, StoredFile, check_size

_INLINE_TYPES: Final = re.compile(r"(image|audio|video|text)/")
_UNSAFE_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._ -]")
_PARAMETER: Final = re.compile(r"""(?:^|;)\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)""", re.DOTALL)
_CHARSETS: Final = frozenset({"utf-8", "iso-8859-1"})
"""The charsets of RFC 5987. Other Python codecs raise errors of many types, and some import modules by name."""
_CONTENT_HEADERS: Final = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Accept-Ranges": "bytes",
}


@dataclass(frozen=True, slots=True)
class FileEndpoints:
    """File endpoints with a size limit per file; `request_budget` bounds the memory of uploads."""

    max_file_bytes: int
    request_budget: RequestBudget

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/files/{entity}/{project}", error_boundary(self.put, plain_error), methods=["PUT"]),
            Route("/files/{entity}/{project}/{digest}", error_boundary(self.get, plain_error), methods=["GET"]),
        ]

    async def put(self, request: Request) -> Response:
        """Store the body as a file; return its digest, with 201 if it is new and 200 if the content already existed.

        Its name is that in the URL (`?name=`), else in the Content-Disposition header.
        """
        project_id = _project_id(request)
        if is_encoded(request.headers):
            raise RequestError("Send the file without Content-Encoding; it is not decompressed.", 415)
        announced = announced_bytes(request.headers)
        largest = self.max_file_bytes if announced is None else announced
        check_size(largest, self.max_file_bytes)
        with self.request_budget.reservation(quota_key_of(request.scope)) as reservation:
            memory = FileMemory(reservation)
            await memory.expect(largest)
            async with aclosing(_content(request, memory)) as content:
                name = request.query_params.get("name")
                if name is None and "content-disposition" in request.headers:
                    name = _file_name(request.headers["content-disposition"])
                files: FilesStore = request.state["stores"].files
                digest, size, is_new = await files.create(project_id, content, name or None, self.max_file_bytes)
        url = file_url(project_id, digest)
        body = {"digest": digest, "sizeBytes": size, "url": url}
        return JSONResponse(body, 201 if is_new else 200, {"Location": url, "Cache-Control": "no-store"})

    async def get(self, request: Request) -> Response:
        """Return a file or a range of it; the digest is its entity tag."""
        files: FilesStore = request.state["stores"].files
        file = await files.one(_project_id(request), request.path_params["digest"])
        etag = f'"{file.digest}"'
        headers = {**_CONTENT_HEADERS, "ETag": etag}
        if "if-match" in request.headers and not matches_etag(request.headers["if-match"], etag):
            return Response(status_code=412, headers=headers)
        if matches_etag(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        requested = byte_range(request.headers, file.size_bytes, etag)
        start, stop = requested or (0, file.size_bytes)
        if requested and start >= stop:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{file.size_bytes}"})
        headers |= {"Content-Length": str(stop - start), "Content-Disposition": _disposition(file)}
        if requested:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size_bytes}"
        content = files.content(file, start, stop if request.method == "GET" else start)
        return StreamingResponse(content, 206 if requested else 200, headers, file.content_type)


async def _content(request: Request, memory: FileMemory) -> AsyncGenerator[bytes, None]:
    async for chunk in iter_chunks(request, never):
        await memory.hold(len(chunk))
        yield chunk


def _project_id(request: Request) -> str:
    return f"{request.path_params['entity']}/{request.path_params['project']}"


def _file_name(disposition: str) -> str | None:
    """Return the file name in a Content-Disposition header; `filename*` goes before `filename` (RFC 6266).

    Raises:
        BadInputError: if `filename*` has an unknown charset or bytes that are invalid in its charset.
    """
    parameters = {name.lower(): value.strip() for name, value in _PARAMETER.findall(disposition)}
    if (extended := parameters.get("filename*")) is not None:
        return _decode_extended(extended)
    name = parameters.get("filename")
    if name is None or not name.startswith('"'):
        return name
    return re.sub(r'\\(["\\])', r"\1", name[1:].removesuffix('"'))


def _decode_extended(extended: str) -> str:
    charset, _, rest = extended.partition("'")
    _language, quote_mark, encoded = rest.partition("'")
    if not quote_mark or charset.lower() not in _CHARSETS:
        raise BadInputError(
            f"is {extended[:100]!r}; write UTF-8'' and then the name, percent-encoded in UTF-8", "filename*"
        )
    try:
        return unquote(encoded, charset, "strict")
    except UnicodeDecodeError:
        raise BadInputError(f"is {extended[:100]!r}, which is not valid {charset.upper()}", "filename*") from None


def _disposition(file: StoredFile) -> str:
    kind = "inline" if _INLINE_TYPES.match(file.content_type) else "attachment"
    name = re.split(r"[/\\]", file.name or "")[-1] or file.digest
    plain = _UNSAFE_IN_NAMES.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'{kind}; filename="{plain}"{extended}'


_ONE_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def byte_range(headers: Mapping[str, str], size: int, etag: str) -> tuple[int, int] | None:
    """Return the requested range as first position and position after the last; None for the whole content.

    The range is empty if the requested one contains no byte. Several ranges, other units and malformed headers count as
    no range, as RFC 9110 allows.
    """
    match = _ONE_RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:  # `last` is the number of bytes at the end
        return (max(0, size - int(last)), size) if last else None
    start = int(first)
    stop = int(last) + 1 if last else size
    if stop <= start < size:
        return None
    return min(start, size), min(stop, size)


def matches_etag(header: str, etag: str) -> bool:
    """Return True if an If-None-Match or If-Match header names an entity tag; weak tags match, too."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return bool(tags & {"*", etag})
