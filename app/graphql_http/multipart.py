"""GraphQL multipart requests: an operation and the files for its variables in one body.

As https://github.com/jaydenseric/graphql-multipart-request-spec says, the field `operations` comes first. Then `map`
lists for each file the paths of its variables, and the files follow. They are kept in unnamed files on the disk until
the request ends.
"""

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any, Final

from app.http.connections import media_type_of
from app.http.request_body import FormReader, Spool, announced_bytes, is_encoded
from graphql_schema.execution.scalars import SentFile
from stores.errors import BadInputError, PayloadTooLargeError
from stores.files import check_size

PREFLIGHT_HEADERS: Final = ("Apollo-Require-Preflight", "GraphQL-Require-Preflight", "X-Apollo-Operation-Name")
"""Headers that prove a preflight request: without one, a page of another site can send a form, but no such header."""

MAX_FILES: Final = 100
UPLOAD: Final = "Upload"
_SHOWN: Final = 64
_MISSING: Final = object()
Place = tuple[Any, Any]
"""A container in the variables, and the key of a file in it."""

ParseJson = Callable[[str, bytearray], Awaitable[object]]
"""Parses the JSON text of a named field within the limits of requests."""

_POSITION: Final = re.compile(r"[0-9]{1,9}")


async def read_operation(
    headers: Mapping[str, str],
    body: AsyncIterable[bytes],
    sizes: "Sizes",
    files: ExitStack,
    parse: ParseJson,
) -> "Form":
    """Read the operation of a request; its variables hold files until the stack is closed.

    Raises:
        BadInputError: no header proves a preflight request, or the body is malformed.
        PayloadTooLargeError: the operation or its files are too large.
        UnavailableError: the memory or disk budget is used up.
    """
    try:
        form = FormReader(_checked_boundary(headers, sizes), body)
        parameters, paths = await _read_parameters(form, sizes, parse)
        places = {name: _locations(parameters, name, file_paths) for name, file_paths in paths.items()}
        await _read_files(form, places, sizes, files)
    except (BadInputError, PayloadTooLargeError) as error:
        raise error.reworded(f"The form is invalid: {error.message}") from None
    return Form(parameters, tuple(path for file_paths in paths.values() for path in file_paths))


def _checked_boundary(headers: Mapping[str, str], sizes: "Sizes") -> str:
    """Check the headers of a form, and return its boundary."""
    if not any(headers.get(name.lower()) for name in PREFLIGHT_HEADERS):
        raise BadInputError(
            f"send a multipart request with the header {PREFLIGHT_HEADERS[0]}: true, "
            "which proves that no form of another site sent it"
        )
    if is_encoded(headers):
        raise BadInputError("send the body without Content-Encoding; it is not decompressed")
    if length := announced_bytes(headers):
        check_size(length - sizes.max_body_bytes, sizes.max_file_bytes)
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
    spool: Callable[[int], None]


async def _read_parameters(form: FormReader, sizes: Sizes, parse: ParseJson) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the objects in the fields `operations` and `map`."""
    texts: dict[str, bytearray] = {}
    for name in ("operations", "map"):
        part = await form.next_part()
        if part is None:
            form.check_end()
        if part is None or part.name != name:
            raise BadInputError(
                "a multipart request has the fields operations and map, in this order, before its files"
            )
        texts[name] = bytearray()
        async for data in form.content():
            await sizes.hold(len(data))
            texts[name] += data
            if sum(map(len, texts.values())) > sizes.max_body_bytes:
                raise PayloadTooLargeError(
                    f"operations and map are larger than {sizes.max_body_bytes:,} bytes; "
                    "send less, or raise LOOMQL_MAX_BODY_BYTES on the server"
                )
    parameters, paths = [await _object(name, texts.pop(name), parse) for name in ("operations", "map")]
    if len(paths) > MAX_FILES:
        raise BadInputError(f"map names {len(paths):,} files; the limit is {MAX_FILES}")
    return parameters, paths


async def _object(name: str, text: bytearray, parse: ParseJson) -> dict[str, Any]:
    value = await parse(name, text)
    if not isinstance(value, dict):
        raise BadInputError(f"{name} must be a JSON object; batches of operations are not supported")
    return value


async def _read_files(form: FormReader, places: Mapping[str, list[Place]], sizes: Sizes, files: ExitStack) -> None:
    """Spool the files to the disk, and put each into the variables that `map` names."""
    missing, size = set(places), 0
    while part := await form.next_part():
        if part.name not in places:
            raise BadInputError(f"map does not name the file {part.name[:_SHOWN]!r}")
        if part.name not in missing:
            raise BadInputError(f"the body has the file {part.name[:_SHOWN]!r} twice")
        missing.remove(part.name)
        spool = Spool(files.enter_context(TemporaryFile()))  # noqa: SIM115 -- the stack closes it
        for container, key in places[part.name]:
            container[key] = SentFile(part.file_name or None, spool.read)
        async for data in form.content():
            size += len(data)
            check_size(size, sizes.max_file_bytes)
            sizes.spool(len(data))
            await spool.write(data)
        await spool.flush()
    form.check_end()
    if missing:
        listed = ", ".join(repr(name[:_SHOWN]) for name in sorted(missing)[:5])
        raise BadInputError(f"map names files that are missing: {listed}")


def _locations(parameters: dict[str, Any], name: str, paths: object) -> list[Place]:
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise BadInputError(
            f'map must have a list of paths for each file, such as ["variables.file"], also for {name[:_SHOWN]!r}'
        )
    return [_location(parameters, path) for path in paths]


def _location(parameters: dict[str, Any], path: str) -> Place:
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
