"""`loomql export`: writes a list to a file, with a progress bar, and resumes an interrupted export."""

import hashlib
import http.client
import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import SplitResult, urlencode, urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.common import Add, say, settings_of
from app.commands.health import url_of
from app.exports.worker import TRAILER
from app.settings import masked
from stores.errors import StoreError
from stores.exports import CURSOR
from stores.json import AnyJson, codec

_READ_BYTES: Final = 256 * 1024
_TIMEOUT_SECONDS: Final = 130.0
"""Read timeout: slightly longer than the server's default timeout for a page."""

_TYPES: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "calls": ("calls", {"filter": "CallsFilter", "query": "QueryInput"}),
    "objects": ("objs", {"filter": "ObjectVersionFilter", "query": "QueryInput"}),
    "feedback": ("feedback", {"query": "QueryInput"}),
    "threads": ("threads", {"filter": "ThreadsQueryFilter"}),
}

EXPORTS: Final = tuple(_TYPES)
"""Names of the lists that can be exported."""

SUFFIX: Final = ".loomql-export"


class ExportError(StoreError):
    """An export failed; the message says why and what to do."""


class ExportClient:
    """Exports from the server at `url`, such as `http://127.0.0.1:8000`; `key` is an API key."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._url: SplitResult = urlsplit(url)
            is_valid = self._url.scheme in {"http", "https"} and self._url.hostname and self._url.port != 0
        except ValueError:  # the port is no number, or the host no address
            is_valid = False
        if not is_valid:
            raise ExportError(f"{masked(url)[:200]} is not the URL of a server; write it as http://127.0.0.1:8000")

    def total(self, concept: str, project_id: str, parameters: Mapping[str, str]) -> int:
        """Return the number of rows of a list.

        Raises:
            ExportError: the server does not answer or refuses the request.
        """
        field, types = _TYPES[concept]
        used_types = {name: kind for name, kind in types.items() if name in parameters}
        declared = "".join(f", ${name}: {kind}" for name, kind in used_types.items())
        passed = "".join(f", {name}: ${name}" for name in used_types)
        document = f"query ($projectId: ID!{declared}) {{ {field}(projectId: $projectId{passed}) {{ totalCount }} }}"
        variables = {"projectId": project_id} | {name: _json(name, parameters[name]) for name in used_types}
        body = json.dumps({"query": document, "variables": variables})
        with closing(self._connection()) as connection:
            response = self._request(connection, "POST", "/graphql", body)
            found = json.loads(response.read())
        if "errors" in found:
            raise ExportError(found["errors"][0]["message"])
        count: int = found["data"][field]["totalCount"]
        return count

    def content(self, concept: str, parameters: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the bytes of an export as they arrive.

        Raises:
            ExportError: the server does not answer, refuses the request, or the connection breaks.
        """
        with closing(self._connection()) as connection:
            response = self._request(connection, "GET", f"/export/{concept}?{urlencode(parameters)}")
            if response.status != http.client.OK:
                raise ExportError(_error_message(response.read()))
            try:
                while chunk := response.read1(_READ_BYTES):
                    yield chunk
            except (OSError, http.client.HTTPException) as error:
                raise ExportError("the connection broke; run the same command again to resume") from error

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(str(self._url.hostname), self._url.port, timeout=_TIMEOUT_SECONDS)

    def _request(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
    ) -> http.client.HTTPResponse:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            connection.request(method, self._url.path.rstrip("/") + path, body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise ExportError(
                f"no server answers at {masked(self._url.geturl())} ({error}); start one (loomql serve), or set --url"
            ) from error


def _json(name: str, text: str) -> AnyJson:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ExportError(f"{name}: is not JSON: {error}") from None


def _error_message(body: bytes) -> str:
    try:
        message: str = json.loads(body)["errors"][0]["message"]
    except (ValueError, LookupError, TypeError):
        return f"the server did not return an export: {body[:200]!r}"
    return message


_SAVE_INTERVAL_ROWS: Final = 2_000
_CURSOR: Final = f',"{CURSOR}":"'.encode()
_RESUME: Final = "run the same command again to resume"
_END: Final = f'{{"{TRAILER}":'.encode()


def add_commands(add: Add) -> None:
    """Add `export`."""
    parser = add("export", export, help="write a list of the server into a file")
    parser.add_argument("concept", choices=EXPORTS, help="list to export")
    parser.add_argument("file", type=Path, metavar="FILE", help="file to write; an incomplete file is continued")
    parser.add_argument("--project", required=True, help="entity/project")
    parser.add_argument("--url", help="address of the server (default: http://LOOMQL_HOST:LOOMQL_PORT)")
    parser.add_argument("--filter", metavar="JSON", help="argument filter of the GraphQL field")
    parser.add_argument("--query", metavar="JSON", help="argument query of the GraphQL field")
    parser.add_argument("--sort-by", metavar="JSON", help="argument sortBy of the GraphQL field")
    parser.add_argument("--format", choices=("ndjson", "parquet"), help="file format (default: ndjson)")


def export(options: Namespace) -> int:
    """Export a list from a server to a file."""
    arguments = {"filter": options.filter, "query": options.query, "sortBy": options.sort_by, "format": options.format}
    parameters = {name: text for name, text in arguments.items() if text is not None}
    settings = settings_of(options)
    url, console = options.url or url_of(settings.host, settings.port), Console(stderr=True)
    count = run_export(url, options.concept, options.project, parameters, options.file, console, settings.key)
    quantity = "all" if count is None else f"{count:,}"
    return say(f"Exported {quantity} {options.concept} of {options.project} to {options.file}.")


def run_export(
    url: str,
    concept: str,
    project_id: str,
    parameters: Mapping[str, str],
    file: Path,
    console: Console,
    key: str | None = None,
) -> int | None:
    """Export a list to a file and return the number of its rows; None for Parquet, which is not parsed.

    An NDJSON file that an earlier run of the same export left incomplete is resumed.

    Raises:
        ExportError: the server refuses the request, the connection breaks, or the file already exists.
        OSError: the file cannot be written.
    """
    client = ExportClient(url, key)
    parameters_sent = {"projectId": project_id, **parameters}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        total = client.total(concept, project_id, parameters)
        task = bar.add_task(f"{concept} of {project_id}", total=total)
        if parameters.get("format") == "parquet":
            _write_whole(client.content(concept, parameters_sent), file)
            return None
        return _LinesFile(file, concept, parameters_sent).write(client, lambda count: bar.update(task, completed=count))


def _write_whole(content: Iterator[bytes], file: Path) -> None:
    """Write a file under a temporary name until it is complete, because a partial one is useless."""
    _check_new(file)
    temporary = file.with_name(f"{file.name}.part")
    try:
        with temporary.open("wb") as output:
            for chunk in content:
                output.write(chunk)
        temporary.rename(file)
    finally:
        temporary.unlink(missing_ok=True)


def _check_new(file: Path) -> None:
    """Check that a file does not exist or is empty.

    Raises:
        ExportError: it has content.
    """
    if file.exists() and file.stat().st_size:
        raise ExportError(f"{file} already exists and is not an incomplete export of this list; choose another file")


@dataclass(slots=True)
class ResumeState:
    """The valid part of a file: its size in bytes, its rows, and the cursor of the last one."""

    size: int = 0
    count: int = 0
    cursor: str | None = None


class _LinesFile:
    """An NDJSON file, valid up to its last complete line; a file next to it has the state from which to resume."""

    def __init__(self, file: Path, concept: str, parameters_sent: Mapping[str, str]) -> None:
        self._concept = concept
        self._parameters = parameters_sent
        self._file = file
        self._state_file = file.with_name(f"{file.name}{SUFFIX}")
        request = json.dumps([concept, parameters_sent], sort_keys=True)
        self._request_digest = hashlib.sha256(request.encode()).hexdigest()
        found = self._saved_state() if file.exists() else ResumeState()
        if found is None:
            _check_new(file)
        self._state = found or ResumeState()

    def _saved_state(self) -> ResumeState | None:
        """Return the state; None if it is missing, belongs to another export, or the file is shorter."""
        try:
            saved = json.loads(self._state_file.read_bytes())
            if saved.pop("of") != self._request_digest:
                return None
            state = ResumeState(**saved)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return state if self._file.stat().st_size >= state.size else None

    def write(self, client: ExportClient, on_progress: Callable[[int], object]) -> int:
        """Append the missing rows and the trailer; return the number of rows."""
        after = {"after": self._state.cursor} if self._state.cursor else {}
        content = client.content(self._concept, {**self._parameters, "cursors": "true", **after})
        try:
            with self._file.open("r+b" if self._state.cursor else "wb") as output:
                self._write(_split(content), output, on_progress)
        finally:
            if self._file.exists() and not self._file.stat().st_size:
                self._file.unlink()
                self._state_file.unlink(missing_ok=True)
        self._state_file.unlink(missing_ok=True)
        return self._state.count

    def _write(self, lines: Iterator[bytes], output: BinaryIO, on_progress: Callable[[int], object]) -> None:
        output.truncate(self._state.size)
        output.seek(self._state.size)
        # Saved before the first row, so that a killed run does not block the next one.
        self._save(output)
        try:
            end = self._write_rows(lines, output, on_progress)
        finally:
            self._save(output)
        output.write(codec.dumps({TRAILER: end | {"count": self._state.count, "resumed": False}}) + b"\n")

    def _write_rows(
        self, lines: Iterator[bytes], output: BinaryIO, on_progress: Callable[[int], object]
    ) -> dict[str, Any]:
        """Write the rows without their cursors; return the content of the trailer."""
        state = self._state
        for line in lines:
            if line.startswith(_END):
                on_progress(state.count)
                trailer: dict[str, Any] = json.loads(line)[TRAILER]
                if not trailer["complete"]:
                    reason = trailer["error"]["message"]
                    raise ExportError(f"the export failed after {state.count:,} rows ({reason}); {_RESUME}")
                return trailer
            at = line.rindex(_CURSOR)
            state.size += output.write(line[:at] + b"}\n")
            state.cursor = line[at + len(_CURSOR) :].rstrip(b'"}\n').decode()
            state.count += 1
            if state.count % _SAVE_INTERVAL_ROWS == 0:
                self._save(output)
                on_progress(state.count)
        raise ExportError(f"the connection broke after {state.count:,} rows; {_RESUME}")

    def _save(self, output: BinaryIO) -> None:
        """Save the state, once its bytes are in the file."""
        output.flush()
        new = self._state_file.with_name(f"{self._state_file.name}.new")
        new.write_text(json.dumps({"of": self._request_digest, **asdict(self._state)}))
        new.replace(self._state_file)


def _split(content: Iterator[bytes]) -> Iterator[bytes]:
    """Yield complete lines from chunks."""
    rest = b""
    for chunk in content:
        *lines, rest = (rest + chunk).splitlines(keepends=True) if b"\n" in chunk else (rest + chunk,)
        if rest.endswith(b"\n"):
            lines, rest = [*lines, rest], b""
        yield from lines
