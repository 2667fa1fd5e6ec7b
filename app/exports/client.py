"""Client side of `loomql export`: HTTP client of a server's exports, and the saved position of an export to a file."""

import hashlib
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

from stores.json import AnyJson

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


class ExportError(Exception):
    """An export failed; the message says why and what to do."""


class ExportClient:
    """Exports from the server at `url`, such as `http://127.0.0.1:8000`; `key` is an API key."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url: SplitResult = urlsplit(url)
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise ExportError(f"{url[:200]} is not the URL of a server; write it as http://127.0.0.1:8000")

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
                f"no server answers at {self._url.geturl()} ({error}); start one (loomql serve), or set --url"
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


@dataclass(slots=True)
class ResumeState:
    """The valid part of a file: its size in bytes, its rows, and the cursor of the last one."""

    size: int = 0
    count: int = 0
    cursor: str | None = None


class ResumeFile:
    """The saved state of one file; `request` identifies the list and its arguments."""

    def __init__(self, file: Path, request: str) -> None:
        self.path = file.with_name(f"{file.name}{SUFFIX}")
        self._file = file
        self._of = hashlib.sha256(request.encode()).hexdigest()

    def read(self) -> ResumeState | None:
        """Return the state; None if it is missing, belongs to another export, or the file is shorter."""
        try:
            saved = json.loads(self.path.read_bytes())
            if saved.pop("of") != self._of:
                return None
            state = ResumeState(**saved)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return state if self._file.stat().st_size >= state.size else None

    def keep(self, state: ResumeState) -> None:
        """Save the state; its bytes must already be in the file."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(json.dumps({"of": self._of, **asdict(state)}))
        new.replace(self.path)

    def delete(self) -> None:
        """Delete the state of a complete file."""
        self.path.unlink(missing_ok=True)
