"""Endpoints of the Weave SDK for chat completions, as one response or as JSON lines."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.http import connections
from app.weave.request_body import Body
from app.weave.request_models import CompletionsCreateReq
from app.weave.responses import answer
from graphql_schema.context import Stores
from stores.completions import CompletionEvent
from stores.json import codec


async def create(stores: Stores, body: Body) -> Response:
    """Return a chat completion."""
    parsed = await body.read(CompletionsCreateReq)
    made = await stores.completions.create(
        parsed.project_id, parsed.inputs, is_tracked=parsed.track_llm_call is not False, wb_user_id=parsed.wb_user_id
    )
    return answer({"response": made.response, "weave_call_id": made.call_id})


async def create_stream(stores: Stores, body: Body) -> Response:
    """Stream a chat completion; an invalid request gets an error status, because the first event is awaited."""
    parsed = await body.read(CompletionsCreateReq)
    events = stores.completions.stream(
        parsed.project_id, parsed.inputs, is_tracked=parsed.track_llm_call is not False, wb_user_id=parsed.wb_user_id
    )
    first = await anext(events)
    return _Lines(first, events)


class _Lines(StreamingResponse):
    """A completion's events as JSON lines; always closes their source at the end."""

    def __init__(self, first: CompletionEvent, events: AsyncGenerator[CompletionEvent, None]) -> None:
        self._events = events
        super().__init__(_lines(first, events), headers={"Cache-Control": "no-store"}, media_type="application/jsonl")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; if the client stops reading, cancel it and the completion."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(connections.TIMEOUT_SECONDS):
                await send(message)

        async with aclosing(self._events):
            await super().__call__(scope, receive, send_in_time)


async def _lines(first: CompletionEvent, events: AsyncGenerator[CompletionEvent, None]) -> AsyncGenerator[bytes, None]:
    """Yield the call's id, the chunks, and the error if there is one."""
    if first.type == "started" and first.call_id:
        yield _line({"_meta": {"weave_call_id": first.call_id}})
    elif first.response:
        yield _line(first.response)
    async for event in events:
        if event.chunk is not None:
            yield _line(event.chunk)
        elif event.response and "error" in event.response:
            yield _line({"error": event.response["error"]})


def _line(value: dict[str, object]) -> bytes:
    return codec.encode(value).encode() + b"\n"
