"""The client side of an operation over server-sent events."""

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
    """One event or comment of a stream."""

    kind: str
    data: str = ""

    @property
    def result(self) -> Any:
        """Return the decoded data of a `next` event."""
        assert self.kind == "next"
        return json.loads(self.data)


async def events_of(response: httpx.Response) -> AsyncGenerator[Event, None]:
    """Yield the events of a stream as a client parses them, comments included."""
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
    """Send an operation by POST and yield its events."""
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
    """Return every event of an operation except comments."""
    async with streaming(client, query, **request) as events:
        return [event async for event in events if event.kind != COMMENT]


def results_of(events: list[Event]) -> list[Any]:
    """Return the results of a completed stream without the cost in the first one."""
    assert events[-1] == Event("complete")
    return [without_cost(event.result) for event in events[:-1]]


def without_cost(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without its cost, which most tests ignore."""
    return {name: member for name, member in result.items() if name != "extensions"}


async def next_of(events: AsyncIterator[Event]) -> Any:
    """Return the next result without its cost; skip comments."""
    return without_cost(await next_whole(events))


async def next_whole(events: AsyncIterator[Event]) -> Any:
    """Return the next result with its cost; skip comments."""
    async for event in events:
        if event.kind != COMMENT:
            return event.result
    raise AssertionError("the stream ended")


async def first_of(
    events: AsyncIterator[Event],
    calls: CallsStore,
    project_id: str,
    read: Callable[[AsyncIterator[Event]], Coroutine[Any, Any, Any]] = next_of,
) -> Any:
    """Return the first result of a subscription that runs in another process.

    Only events show that the subscription is active, so this writes calls until one arrives.
    """
    reading = asyncio.create_task(read(events))
    number = 0
    while not reading.done():
        await calls.write([start(number := number + 1, project_id=project_id)])
        await asyncio.wait([reading], timeout=0.2)
    return reading.result()
