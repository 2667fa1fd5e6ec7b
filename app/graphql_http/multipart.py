"""GraphQL multipart requests: an operation and the files for its variables in one body.

As https://github.com/jaydenseric/graphql-multipart-request-spec says, the field `operations` comes first. Then `map`
lists for each file the paths of its variables, and the files follow. They are kept in unnamed files on the disk until
the request ends.
"""

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any, Final

from app.http.media_types import media_type_of
from app.http.multipart_parser import Head, PartParser, Spool
from app.http.request_body import announced_bytes, is_encoded
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.scalars import SentFile
from stores.errors import BadInputError, PayloadTooLargeError
from stores.files import check_size

MEDIA_TYPE: Final = "multipart/form-data"
PREFLIGHT_HEADERS: Final = ("Apollo-Require-Preflight", "GraphQL-Require-Preflight", "X-Apollo-Operation-Name")
"""Headers that prove a preflight request: without one, a page of another site can send a form, but no such header."""

MAX_FILES: Final = 100
UPLOAD: Final = "Upload"
_SHOWN: Final = 64
_MISSING: Final = object()
_POSITION: Final = re.compile(r"[0-9]{1,9}")


def is_multipart(headers: Mapping[str, str]) -> bool:
    """Return True if the body of a request is a form with files."""
    return media_type_of(headers.get("content-type", ""))[0] == MEDIA_TYPE


async def read_operation(
    headers: Mapping[str, str],
    body: AsyncIterable[bytes],
    sizes: "Sizes",
    files: ExitStack,
    schema: LimitedSchema,
) -> "Form":
    """Read the operation of a request; its variables hold files until the stack is closed.

    Raises:
        BadInputError: no header proves a preflight request, or the body is malformed.
        PayloadTooLargeError: the operation or its files are too large.
        UnavailableError: the memory or disk budget is used up.
    """
    try:
        _check_headers(headers, sizes)
        parser, form = PartParser(_boundary(headers)), _Form(sizes, files, schema)
        async for chunk in body:
            for event in parser.feed(chunk):
                await form.take(event)
        return form.finished(whole=parser.ended)
    except (BadInputError, PayloadTooLargeError) as error:
        raise error.reworded(f"The form is invalid: {error.message}") from None


def _check_headers(headers: Mapping[str, str], sizes: "Sizes") -> None:
    if not any(headers.get(name.lower()) for name in PREFLIGHT_HEADERS):
        raise BadInputError(
            f"send a multipart request with the header {PREFLIGHT_HEADERS[0]}: true, "
            "which proves that no form of another site sent it"
        )
    if is_encoded(headers):
        raise BadInputError("send the body without Content-Encoding; it is not decompressed")
    if length := announced_bytes(headers):
        check_size(length - sizes.max_body_bytes, sizes.max_file_bytes)


def _boundary(headers: Mapping[str, str]) -> str:
    _, parameters = media_type_of(headers["content-type"])
    if not parameters.get("boundary"):
        raise BadInputError("Content-Type names no boundary")
    return parameters["boundary"]


@dataclass(frozen=True)
class Form:
    """The parameters of an operation, and the paths of the files in them."""

    parameters: dict[str, Any]
    paths: tuple[str, ...]

    def check_types(self, types: Mapping[str, str]) -> None:
        """Check that files are in variables of type Upload; `types` maps variables to their types.

        Raises:
            BadInputError: a file is in a variable of another type, such as JSON, which would store it as a value.
        """
        for path in self.paths:
            variable = path.split(".")[1]
            kind = types.get(variable, UPLOAD)
            if kind != UPLOAD:
                raise BadInputError(
                    f"The form is invalid: map points to {path[:_SHOWN]!r}, but ${variable[:_SHOWN]} is of type "
                    f"{kind}; a file requires a variable of type {UPLOAD}"
                )


@dataclass
class Sizes:
    """Limits of one request: the size of its operation and of all its files.

    `hold` reserves memory, and `spool` disk space; both may raise.
    """

    max_body_bytes: int
    max_file_bytes: int
    hold: Callable[[int], Awaitable[None]]
    spool: Callable[[int], None] = lambda _size: None


@dataclass
class _Form:
    """The fields of a request, parsed as they arrive."""

    sizes: Sizes
    files: ExitStack
    schema: LimitedSchema
    texts: dict[str, bytearray] = field(default_factory=dict)
    places: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    parameters: dict[str, Any] | None = None
    paths: tuple[str, ...] = ()
    received: set[str] = field(default_factory=set)
    size: int = 0
    spool: Spool | None = None
    reading: str = ""

    async def take(self, event: Head | bytes | None) -> None:
        if isinstance(event, Head):
            self._start_part(event)
        elif self.spool is None:
            await self._add_text(event)
        elif event is None:
            await self.spool.flush()
            self.spool = None
        else:
            self.size += len(event)
            check_size(self.size, self.sizes.max_file_bytes)
            self.sizes.spool(len(event))
            await self.spool.write(event)

    def finished(self, *, whole: bool) -> Form:
        if not whole:
            raise BadInputError("the body ends before its last boundary")
        if self.parameters is None:
            raise BadInputError(
                "a multipart request has the fields operations and map, in this order, before its files"
            )
        if missing := self.places.keys() - self.received:
            raise BadInputError(f"map names files that are missing: {_listed(missing)}")
        return Form(self.parameters, self.paths)

    def _start_part(self, head: Head) -> None:
        self.reading = head.name
        if head.name == ("operations", "map", None)[min(len(self.texts), 2)]:
            self.texts[head.name] = bytearray()
        elif self.parameters is None:
            raise BadInputError(
                "a multipart request has the fields operations and map, in this order, before its files"
            )
        elif head.name not in self.places:
            raise BadInputError(f"map does not name the file {head.name[:_SHOWN]!r}")
        elif head.name in self.received:
            raise BadInputError(f"the body has the file {head.name[:_SHOWN]!r} twice")
        else:
            self._start_file(head)

    def _start_file(self, head: Head) -> None:
        self.received.add(head.name)
        self.spool = Spool(self.files.enter_context(TemporaryFile()))  # noqa: SIM115 -- the stack closes it
        file = SentFile(head.file_name or None, self.spool.read)
        for container, key in self.places[head.name]:
            container[key] = file

    async def _add_text(self, data: bytes | None) -> None:
        if data is None:
            if self.reading == "map":
                self.parameters, self.places, self.paths = await self._operation()
            return
        await self.sizes.hold(len(data))
        self.texts[self.reading] += data
        if sum(map(len, self.texts.values())) > self.sizes.max_body_bytes:
            raise PayloadTooLargeError(
                f"operations and map are larger than {self.sizes.max_body_bytes:,} bytes; "
                "send less, or raise LOOMQL_MAX_BODY_BYTES on the server"
            )

    async def _operation(self) -> tuple[dict[str, Any], dict[str, list[tuple[Any, Any]]], tuple[str, ...]]:
        """Return the parameters, the container and key of each path by file, and all paths."""
        parameters, paths = [await self._object(name) for name in ("operations", "map")]
        if len(paths) > MAX_FILES:
            raise BadInputError(f"map names {len(paths):,} files; the limit is {MAX_FILES}")
        places = {name: _locations(parameters, name, file_paths) for name, file_paths in paths.items()}
        return parameters, places, tuple(path for file_paths in paths.values() for path in file_paths)

    async def _object(self, name: str) -> dict[str, Any]:
        text, self.texts[name] = self.texts[name], bytearray()
        try:
            value = await self.schema.parse_request(text, self.sizes.hold)
        except BadInputError as error:
            raise error.reworded(f"{name} cannot be read: {error.message}") from None
        except PayloadTooLargeError as error:
            raise error.reworded(f"{name} {error.message}") from None
        if not isinstance(value, dict):
            raise BadInputError(f"{name} must be a JSON object; batches of operations are not supported")
        return value


def _locations(parameters: dict[str, Any], name: str, paths: object) -> list[tuple[Any, Any]]:
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise BadInputError(
            f'map must have a list of paths for each file, such as ["variables.file"], also for {name[:_SHOWN]!r}'
        )
    return [_location(parameters, path) for path in paths]


def _location(parameters: dict[str, Any], path: str) -> tuple[Any, Any]:
    steps = path.split(".")
    container: Any = None
    value: Any = parameters
    key: Any = None
    for step in steps:
        container, key = value, int(step) if isinstance(value, list) and _POSITION.fullmatch(step) else step
        try:
            value = container[key]
        except (LookupError, TypeError):
            value = _MISSING
    if value is not None or steps[0] != "variables" or len(steps) == 1:
        raise BadInputError(f"map points to {path[:_SHOWN]!r}, where the variables do not have null")
    return container, key


def _listed(names: set[str]) -> str:
    return ", ".join(repr(name[:_SHOWN]) for name in sorted(names)[:5])
