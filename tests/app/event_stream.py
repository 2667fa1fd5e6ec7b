"""A client's end of an operation over server-sent events."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple

import httpx

from stores.calls import CallsStore
from tests.stores.calls.builders import start
from tests.waiting import TIMEOUT

EVENTS = {"accept": "text/event-stream"}
COMMENT = "comment"


class Event(NamedTuple):
    """One event of a stream; a comment is one, too."""

    kind: str
    data: str = ""

    @property
    def result(self) -> Any:  # noqa: ANN401 -- any JSON
        """The data of a `next`, decoded."""
        assert self.kind == "next"
        return json.loads(self.data)


async def events_of(response: httpx.Response) -> AsyncGenerator[Event, None]:
    """The events of a stream as a client splits it, comments included."""
    kind, data = "message", list[str]()
    async for line in response.aiter_lines():
        name, _colon, value = line.partition(":")
        match name:
            case "event":
                kind = value.removeprefix(" ")
            case "data":
                data.append(value.removeprefix(" "))
            case "" if line:
                kind = COMMENT
            case "":
                yield Event(kind, "\n".join(data))
                kind, data = "message", []
            case _:
                raise AssertionError(line)


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, query: str, **request: object) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of an operation that was sent by POST."""
    body = {"query": query, **request}
    async with (
        asyncio.timeout(TIMEOUT),
        client.stream("POST", "/graphql", json=body, headers=EVENTS) as response,
        aclosing(events_of(response)) as events,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events


async def all_of(client: httpx.AsyncClient, query: str, **request: object) -> list[Event]:
    """Every event of an operation but the comments."""
    async with streaming(client, query, **request) as events:
        return [event async for event in events if event.kind != COMMENT]


def results_of(events: list[Event]) -> list[Any]:
    """The results of a stream that was completed, without the cost that the first one tells."""
    assert events[-1] == Event("complete")
    return [without_cost(event.result) for event in events[:-1]]


def without_cost(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what it cost, which most tests are not about."""
    return {name: member for name, member in result.items() if name != "extensions"}


async def next_of(events: AsyncIterator[Event]) -> Any:  # noqa: ANN401 -- any JSON
    """The next result, without its cost; comments are skipped."""
    return without_cost(await next_whole(events))


async def next_whole(events: AsyncIterator[Event]) -> Any:  # noqa: ANN401 -- any JSON
    """The next result with all that it has."""
    async for event in events:
        if event.kind != COMMENT:
            return event.result
    raise AssertionError("the stream ended")


async def first_of(
    events: AsyncIterator[Event],
    calls: CallsStore,
    project_id: str,
    read: Callable[[AsyncIterator[Event]], Coroutine[Any, Any, Any]] = next_of,
) -> Any:  # noqa: ANN401 -- any JSON
    """The first result of watching calls in another process: only events tell when that has begun, so some are made."""
    reading = asyncio.create_task(read(events))
    number = 0
    while not reading.done():
        await calls.write([start(number := number + 1, project_id=project_id)])
        await asyncio.wait([reading], timeout=0.2)
    return reading.result()
