"""A client that records acknowledgements, error codes, the longest answer time and wrong answers.

The server may answer UNAVAILABLE, with a time to retry after, or TIMEOUT. It must answer within `TIMEOUT_SECONDS`.
Every other error is wrong.
"""

import asyncio
from collections import Counter
from time import monotonic
from typing import Any, Final

import httpx

from tests.app.calls_client import CallsClient, DatabaseAwayError, ServerGoneError

TIMEOUT_SECONDS: Final = 22.0
"""Maximum seconds of an answer.

The server reports an unreachable database after three seconds, or later if several steps of a write each find it
unreachable. A replica set whose primary hangs takes longest: it elects another one in six seconds, and once took twelve
more until a majority confirmed a write.
"""
_BEFORE_AGAIN_SECONDS: Final = 0.2
_MAY_BE: Final = ("UNAVAILABLE", "TIMEOUT")
_OK: Final = 200
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_TIMEOUT: Final = 504

Json = dict[str, Any]


class RefusedError(DatabaseAwayError):
    """The server answered UNAVAILABLE or TIMEOUT, so the request may or may not have taken effect."""


class FaultsClient:
    """Sends requests to one server for one project. A failed request raises `RefusedError` or `ServerGoneError`."""

    def __init__(self, url: str, project_id: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.project_id = project_id
        self._timeout_seconds = timeout_seconds
        self.url = url
        self.seen: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.longest_seconds = 0.0
        self.server_may_go = False
        self.retry_until = 0.0
        """Moment, by `time.monotonic`, until which requests are repeated that the server refuses with 503 or 504.

        It is for reads after the faults: MongoDB may stall for seconds, and mongod was once away after a full disk.
        """
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(timeout=timeout_seconds, limits=limits)
        self.calls = _Calls(self)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, document: str, **variables: object) -> Json:
        """Return the data of an operation."""
        variables.setdefault("projectId", self.project_id)
        response = await self._send("POST", self.url, json={"query": document, "variables": variables})
        answer: Json = response.json()
        self._judge(response, answer)
        data: Json = answer["data"]
        self.seen["acknowledged"] += 1
        return data

    async def find(self, document: str, **variables: object) -> Json | None:
        """Return the data of a query, or None if any of its root fields is null."""
        data = await self.ask(document, **variables)
        return None if None in data.values() else data

    async def post(self, path: str, body: object, **headers: str) -> None:
        """Send JSON to an endpoint other than GraphQL."""
        url = f"{self._root}{path}"
        response = await self._send("POST", url, json=body, headers=headers)
        if response.status_code == _OK:
            self.seen["acknowledged"] += 1
            return
        if response.status_code == _UNAVAILABLE and "Retry-After" in response.headers:
            self.seen["UNAVAILABLE"] += 1
        elif response.status_code == _TIMEOUT:
            self.seen["TIMEOUT"] += 1
        else:
            self.wrong[f"{path} answered {response.status_code}: {response.text[:200]}"] += 1
        raise RefusedError

    async def put(self, content: bytes) -> str:
        """Store a file and return its digest."""
        response = await self._send("PUT", self._files, content=content)
        answer = response.json()
        self._judge(response, answer)
        self.seen["acknowledged"] += 1
        digest: str = answer["digest"]
        return digest

    async def get(self, digest: str) -> bytes | None:
        """Return a file's content, or None if it does not exist."""
        response = await self._send("GET", f"{self._files}/{digest}")
        if response.status_code == _NOT_FOUND:
            return None
        assert response.status_code == 200, response.text
        return response.content

    @property
    def _files(self) -> str:
        return f"{self._root}/files/{self.project_id}"

    @property
    def _root(self) -> str:
        return self.url.removesuffix("/graphql")

    async def _send(self, method: str, url: str, **how: Any) -> httpx.Response:
        while True:
            response = await self._send_once(method, url, **how)
            if response.status_code not in (_UNAVAILABLE, _TIMEOUT) or monotonic() >= self.retry_until:
                return response
            await asyncio.sleep(_BEFORE_AGAIN_SECONDS)

    async def _send_once(self, method: str, url: str, **how: Any) -> httpx.Response:
        began = monotonic()
        try:
            return await self._http.request(method, url, **how)
        except (httpx.NetworkError, httpx.ProtocolError) as error:
            if self.server_may_go:
                self.seen["connection lost"] += 1
            else:
                self.wrong[f"no answer: {error!r}"] += 1
            raise ServerGoneError from error
        except httpx.TimeoutException as error:
            self.wrong[f"no answer in {self._timeout_seconds:g} s to {str(how)[:100]}"] += 1
            raise ServerGoneError from error
        finally:
            self.longest_seconds = max(self.longest_seconds, monotonic() - began)

    def _judge(self, response: httpx.Response, answer: Json) -> None:
        errors = answer.get("errors", [])
        for error in errors:
            code = error["extensions"]["code"]
            if code in _MAY_BE:
                self.seen[code] += 1
            else:
                self.wrong[f"{code}: {error['message']}"] += 1
            if code == "UNAVAILABLE" and "retryAfterSeconds" not in error["extensions"]:
                self.wrong["UNAVAILABLE without when to come again"] += 1
        if response.status_code == _SERVER_ERROR:
            self.wrong["status 500"] += 1
        if response.status_code == _UNAVAILABLE and "Retry-After" not in response.headers:
            self.wrong["503 without Retry-After"] += 1
        if errors:
            raise RefusedError


class _Calls(CallsClient):
    """A client of calls that sends its requests through a `FaultsClient`, which records them."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client.url, client.project_id)
        self._client = client

    async def _ask(self, document: str, **variables: object) -> Json:
        return await self._client.ask(document, **variables)
