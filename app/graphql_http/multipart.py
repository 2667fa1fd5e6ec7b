"""GraphQL multipart requests: an operation and files for its variables, in one body.

https://github.com/jaydenseric/graphql-multipart-request-spec says how: first the field `operations`, then `map`, which
names for each file the places in the variables that it stands for, then the files. These wait on the disk, in files
without a name, as long as the request lasts.
"""

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any, Final

from app.http.media_types import media_type_of
from app.http.multipart_parser import Head, PartParser, Spool
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.scalars import SentFile
from stores.errors import BadInputError, PayloadTooLargeError
from stores.files import check_size

MEDIA_TYPE: Final = "multipart/form-data"
PREFLIGHT_HEADERS: Final = ("Apollo-Require-Preflight", "GraphQL-Require-Preflight", "X-Apollo-Operation-Name")
"""A browser lets a page of another site send a form without asking the server first, but none of these headers."""

MAX_FILES: Final = 100
UPLOAD: Final = "Upload"
_SHOWN: Final = 64
_NOWHERE: Final = object()
_POSITION: Final = re.compile(r"[0-9]{1,9}")


def is_multipart(headers: Mapping[str, str]) -> bool:
    """Whether a request says that its body is a form with files."""
    return media_type_of(headers.get("content-type", ""))[0] == MEDIA_TYPE


async def read_operation(
    headers: Mapping[str, str],
    body: AsyncIterable[bytes],
    sizes: "Sizes",
    files: ExitStack,
    schema: LimitedSchema,
) -> "Form":
    """The request's operation, with files in its variables until the stack is closed.

    Raises:
        BadInputError: no header shows that the browser asked first, or the body is not such a request.
        PayloadTooLargeError: its operation or its files are too large.
        UnavailableError: there is no room for it beside other requests.
    """
    if not any(headers.get(name.lower()) for name in PREFLIGHT_HEADERS):
        raise BadInputError(
            f"send a multipart request with the header {PREFLIGHT_HEADERS[0]}: true, "
            "which shows that no form of another site sends it"
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BadInputError("send the body without Content-Encoding; it is not decompressed")
    length = headers.get("content-length", "")
    if length.isdecimal():
        check_size(int(length) - sizes.max_body_bytes, sizes.max_file_bytes)
    _, parameters = media_type_of(headers["content-type"])
    if not parameters.get("boundary"):
        raise BadInputError("Content-Type names no boundary")
    parser, form = PartParser(parameters["boundary"]), _Form(sizes, files, schema)
    async for piece in body:
        for event in parser.feed(piece):
            await form.take(event)
    return form.finished(whole=parser.ended)


@dataclass(frozen=True)
class Form:
    """The parameters of an operation, and the paths in them where files stand."""

    parameters: dict[str, Any]
    paths: tuple[str, ...]

    def check_types(self, types: Mapping[str, str]) -> None:
        """Hold the files to variables of type Upload, by the types of the operation's variables.

        Raises:
            BadInputError: one stands in a variable of another type, such as JSON, which would store it as a value.
        """
        for path in self.paths:
            variable = path.split(".")[1]
            kind = types.get(variable, UPLOAD)
            if kind != UPLOAD:
                raise BadInputError(
                    f"map leads to {path[:_SHOWN]!r}, and ${variable[:_SHOWN]} is of type {kind}; "
                    f"a file stands in a variable of type {UPLOAD}"
                )


@dataclass
class Sizes:
    """What a request may take: of its operation, and of all its files.

    `hold` hears what is held in memory, `spool` what is on the disk; both may refuse it.
    """

    max_body_bytes: int
    max_file_bytes: int
    hold: Callable[[int], Awaitable[None]]
    spool: Callable[[int], None] = lambda _size: None


@dataclass
class _Form:
    """The fields of a request, as they come."""

    sizes: Sizes
    files: ExitStack
    schema: LimitedSchema
    texts: dict[str, bytearray] = field(default_factory=dict)
    places: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    parameters: dict[str, Any] | None = None
    paths: tuple[str, ...] = ()
    came: set[str] = field(default_factory=set)
    size: int = 0
    spool: Spool | None = None
    reading: str = ""

    async def take(self, event: Head | bytes | None) -> None:
        if isinstance(event, Head):
            self._begin(event)
        elif self.spool is None:
            await self._take_text(event)
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
        if missing := self.places.keys() - self.came:
            raise BadInputError(f"map names files that did not come: {_listed(missing)}")
        return Form(self.parameters, self.paths)

    def _begin(self, head: Head) -> None:
        self.reading = head.name
        if head.name == ("operations", "map", None)[min(len(self.texts), 2)]:
            self.texts[head.name] = bytearray()
        elif self.parameters is None:
            raise BadInputError(
                "a multipart request has the fields operations and map, in this order, before its files"
            )
        elif head.name not in self.places:
            raise BadInputError(f"map does not name the file {head.name[:_SHOWN]!r}")
        elif head.name in self.came:
            raise BadInputError(f"the file {head.name[:_SHOWN]!r} comes twice")
        else:
            self._begin_file(head)

    def _begin_file(self, head: Head) -> None:
        self.came.add(head.name)
        self.spool = Spool(self.files.enter_context(TemporaryFile()))  # noqa: SIM115 -- the stack closes it
        file = SentFile(head.file_name or None, self.spool.read)
        for container, key in self.places[head.name]:
            container[key] = file

    async def _take_text(self, data: bytes | None) -> None:
        if data is None:
            if self.reading == "map":
                self.parameters, self.places, self.paths = await self._operation()
            return
        await self.sizes.hold(len(data))
        self.texts[self.reading] += data
        if sum(map(len, self.texts.values())) > self.sizes.max_body_bytes:
            raise PayloadTooLargeError(
                f"operations and map are larger than {self.sizes.max_body_bytes:,} bytes; "
                "send less at once, or raise LOOMQL_MAX_BODY_BYTES on the server"
            )

    async def _operation(self) -> tuple[dict[str, Any], dict[str, list[tuple[Any, Any]]], tuple[str, ...]]:
        """The parameters, where in them each file stands, as container and key, and the paths of all these places."""
        parameters, paths = [await self._object(name) for name in ("operations", "map")]
        if len(paths) > MAX_FILES:
            raise BadInputError(f"map names {len(paths):,} files; the limit is {MAX_FILES}")
        places = {name: _places(parameters, name, given) for name, given in paths.items()}
        return parameters, places, tuple(path for given in paths.values() for path in given)

    async def _object(self, name: str) -> dict[str, Any]:
        text, self.texts[name] = self.texts[name], bytearray()
        try:
            value = await self.schema.parse_request(text, self.sizes.hold)
        except BadInputError as error:
            raise BadInputError(f"{name} cannot be read: {error.message}") from None
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(f"{name} {error.message}") from None
        if not isinstance(value, dict):
            raise BadInputError(f"{name} must be a JSON object; operations are sent one by one")
        return value


def _places(parameters: dict[str, Any], name: str, paths: object) -> list[tuple[Any, Any]]:
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise BadInputError(
            f'map gives for each file a list of paths, such as ["variables.file"]; {name[:_SHOWN]!r} not'
        )
    return [_place(parameters, path) for path in paths]


def _place(parameters: dict[str, Any], path: str) -> tuple[Any, Any]:
    steps = path.split(".")
    container: Any = None
    value: Any = parameters
    key: Any = None
    for step in steps:
        container, key = value, int(step) if isinstance(value, list) and _POSITION.fullmatch(step) else step
        try:
            value = container[key]
        except (LookupError, TypeError):
            value = _NOWHERE
    if value is not None or steps[0] != "variables" or len(steps) == 1:
        raise BadInputError(f"map leads to {path[:_SHOWN]!r}; a file stands where the variables have null")
    return container, key


def _listed(names: set[str]) -> str:
    return ", ".join(repr(name[:_SHOWN]) for name in sorted(names)[:5])
