"""HTTP clients for calls that distinguish an acknowledged request from one with an unknown outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx

JsonObject = dict[str, Any]

EPOCH = datetime(2026, 3, 1, 8, tzinfo=UTC)
FIELDS = 'id opName startedAt endedAt status attributes inputs output usage: summary(path: "usage")'

CREATE_BATCH = """
mutation ($batch: [CallBatchMode!]!) {
  callCreateBatch(batch: $batch) { res { ... on CallStartRes { id } ... on CallEndRes { id } } }
}
"""
START = "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id } }"
END = "mutation ($end: EndedCallSchemaForInsert!) { callEnd(end: $end) { id } }"
DELETE = """
mutation ($projectId: ID!, $callIds: [ID!]!) { callsDelete(projectId: $projectId, callIds: $callIds) { numDeleted } }
"""
READ = f"""
query ($projectId: ID!, $sortBy: [SortBy!], $first: Int, $after: String) {{
  calls(projectId: $projectId, sortBy: $sortBy, first: $first, after: $after) {{
    nodes {{ {FIELDS} }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}
"""


class ServerGoneError(Exception):
    """Raised if the server sent no response, so the outcome of the request is unknown."""


class DatabaseAwayError(Exception):
    """Raised if the server answered UNAVAILABLE, so the outcome of the request is unknown."""


class CallsClient:
    """A client of one server and one project.

    A method that returns was acknowledged; one that raises either error was not.
    """

    def __init__(self, url: str, project_id: str, patience_seconds: float = 30.0) -> None:
        self.project_id = project_id
        self._url = url
        self._http = httpx.AsyncClient(timeout=patience_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create(self, numbers: list[int], *, of_one_trace: bool = False) -> None:
        """Write whole calls in one batch, each as its own trace or all others as children of the first."""
        starts = [self._start(number) for number in numbers]
        for start in starts[1:] if of_one_trace else ():
            start |= {"traceId": starts[0]["traceId"], "parentId": starts[0]["id"]}
        ends = [self._end(number) for number in numbers]
        parts = [part for start, end in zip(starts, ends, strict=True) for part in ({"start": start}, {"end": end})]
        data = await self._ask(CREATE_BATCH, batch=parts)
        made = [result["id"] for result in data["callCreateBatch"]["res"]]
        assert made == [call_id(number) for number in numbers for _ in ("start", "end")]

    async def start(self, number: int) -> None:
        """Write the start of a call."""
        data = await self._ask(START, start=self._start(number))
        assert data["callStart"]["id"] == call_id(number)

    async def end(self, number: int) -> None:
        """Write the end of a call."""
        data = await self._ask(END, end=self._end(number))
        assert data["callEnd"]["id"] == call_id(number)

    async def delete(self, numbers: list[int]) -> int:
        """Delete calls and return how many of them existed."""
        data = await self._ask(DELETE, projectId=self.project_id, callIds=[call_id(number) for number in numbers])
        deleted: int = data["callsDelete"]["numDeleted"]
        return deleted

    async def read(self, first: int, sort_by: list[JsonObject] | None = None) -> list[JsonObject]:
        """Return every call of the project, read page by page."""
        nodes: list[JsonObject] = []
        after, more = None, True
        while more:
            data = await self._ask(READ, projectId=self.project_id, sortBy=sort_by, first=first, after=after)
            page = data["calls"]
            nodes += page["nodes"]
            more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
        return nodes

    async def _ask(self, document: str, **variables: object) -> JsonObject:
        try:
            response = await self._http.post(self._url, json={"query": document, "variables": variables})
        # A timeout is neither an answer nor a lost server, so it fails the test.
        except (httpx.NetworkError, httpx.ProtocolError) as error:
            raise ServerGoneError from error
        answer: JsonObject = response.json()
        if any(error["extensions"]["code"] == "UNAVAILABLE" for error in answer.get("errors", ())):
            raise DatabaseAwayError
        assert "errors" not in answer, answer
        data: JsonObject = answer["data"]
        return data

    def _start(self, number: int) -> JsonObject:
        node = running_call(number)
        return {
            "projectId": self.project_id,
            "traceId": f"{number:032d}",
            **{name: node[name] for name in ("id", "opName", "startedAt", "attributes", "inputs")},
        }

    def _end(self, number: int) -> JsonObject:
        node = whole_call(number)
        return {
            "projectId": self.project_id,
            **{name: node[name] for name in ("id", "endedAt", "output")},
            "summary": {"usage": node["usage"]},
        }


def call_id(number: int) -> str:
    """Return the id of a call: sixteen digits, the length of a span id."""
    return f"{number:016d}"


def number_of(node: JsonObject) -> int:
    """Return the number of a call that the client read."""
    return int(node["id"])


def running_call(number: int) -> JsonObject:
    """Return the node that a reader gets for a call that was only started."""
    return {
        "id": call_id(number),
        "opName": f"step_{number % 7}",
        "startedAt": _moment(number),
        "endedAt": None,
        "status": "RUNNING",
        "attributes": {"number": number},
        "inputs": {"question": f"What is {number} times {number}? " * 4},
        "output": None,
        "usage": None,
    }


def whole_call(number: int) -> JsonObject:
    """Return the node that a reader gets for a call that was started and ended."""
    return running_call(number) | {
        "endedAt": _moment(number + 0.5),
        "status": "SUCCESS",
        "output": {"answer": number**2},
        "usage": {"abacus-1": {"requests": 1, "prompt_tokens": number}},
    }


async def repeat(step: Callable[[CallsClient], Awaitable[None]], client: CallsClient, stopped: asyncio.Event) -> None:
    """Repeat a step until stopped, also after errors of the database.

    The server may stop only once `stopped` is set.
    """
    while not stopped.is_set():
        try:
            await step(client)
        except DatabaseAwayError:
            continue
        except ServerGoneError:
            if not stopped.is_set():
                raise


def _moment(number: float) -> str:
    return (EPOCH + timedelta(milliseconds=number * 10)).isoformat(timespec="microseconds").replace("+00:00", "Z")
