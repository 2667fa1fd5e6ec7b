"""A server as those see it who export from it: how many rows there are, and the rows."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import SplitResult, urlencode, urlsplit

_READ_BYTES: Final = 256 * 1024
_SILENT_SECONDS: Final = 130.0
"""A little more than the server takes for a page at most, by default."""

_TYPES: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "calls": ("calls", {"filter": "CallsFilter", "query": "QueryInput"}),
    "objects": ("objs", {"filter": "ObjectVersionFilter", "query": "QueryInput"}),
    "feedback": ("feedback", {"query": "QueryInput"}),
    "threads": ("threads", {"filter": "ThreadsQueryFilter"}),
}

EXPORTS: Final = tuple(_TYPES)
"""The lists that there are exports of."""


class ExportError(Exception):
    """An export came to no good end; the message says why, and what to do."""


class ExportClient:
    """The exports of the server at an address such as `http://127.0.0.1:8000`, which may ask for a key."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url: SplitResult = urlsplit(url)
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise ExportError(f"{url[:200]} is no address of a server; write it as http://127.0.0.1:8000")

    def total(self, concept: str, project_id: str, parameters: Mapping[str, str]) -> int:
        """How many rows there are.

        Raises:
            ExportError: the server does not answer, or refuses the question.
        """
        field, types = _TYPES[concept]
        asked = {name: kind for name, kind in types.items() if name in parameters}
        declared = "".join(f", ${name}: {kind}" for name, kind in asked.items())
        passed = "".join(f", {name}: ${name}" for name in asked)
        document = f"query ($projectId: ID!{declared}) {{ {field}(projectId: $projectId{passed}) {{ totalCount }} }}"
        variables = {"projectId": project_id} | {name: _json(name, parameters[name]) for name in asked}
        body = json.dumps({"query": document, "variables": variables})
        with closing(self._connection()) as connection:
            answer = self._answer(connection, "POST", "/graphql", body)
            found = json.loads(answer.read())
        if "errors" in found:
            raise ExportError(found["errors"][0]["message"])
        count: int = found["data"][field]["totalCount"]
        return count

    def content(self, concept: str, parameters: Mapping[str, str]) -> Iterator[bytes]:
        """What an export answers, as it comes.

        Raises:
            ExportError: the server does not answer, refuses the question, or the answer is cut off.
        """
        with closing(self._connection()) as connection:
            answer = self._answer(connection, "GET", f"/export/{concept}?{urlencode(parameters)}")
            if answer.status != http.client.OK:
                raise ExportError(_refusal(answer.read()))
            try:
                while part := answer.read1(_READ_BYTES):
                    yield part
            except (OSError, http.client.HTTPException) as error:
                raise ExportError("the connection was cut off; run the same command again to go on") from error

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(str(self._url.hostname), self._url.port, timeout=_SILENT_SECONDS)

    def _answer(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
    ) -> http.client.HTTPResponse:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            connection.request(method, self._url.path.rstrip("/") + path, body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise ExportError(
                f"no server answers at {self._url.geturl()} ({error}); start one (loomql serve), or name it by --url"
            ) from error


def _json(name: str, text: str) -> Any:  # noqa: ANN401 -- any JSON
    try:
        return json.loads(text)
    except ValueError as error:
        raise ExportError(f"{name}: is not JSON: {error}") from None


def _refusal(body: bytes) -> str:
    try:
        message: str = json.loads(body)["errors"][0]["message"]
    except (ValueError, LookupError, TypeError):
        return f"the server answers with what is no export: {body[:200]!r}"
    return message
