"""Endpoints of the Weave SDK that call models: chat completions, images and actions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.weave.request_models import ActionsExecuteBatchReq, CompletionsCreateReq, ImageGenerationCreateReq
from graphql_schema.context import Stores
from stores.completions import CompletionEvent
from stores.json import codec


async def create(stores: Stores, req: CompletionsCreateReq) -> object:
    """Return a chat completion."""
    is_tracked = req.track_llm_call is not False
    made = await stores.completions.create(req.project_id, req.inputs, is_tracked=is_tracked, wb_user_id=req.wb_user_id)
    return {"response": made.response, "weave_call_id": made.call_id}


async def create_stream(stores: Stores, req: CompletionsCreateReq) -> Response:
    """Stream a chat completion; an invalid request gets an error status, because the first event is awaited."""
    is_tracked = req.track_llm_call is not False
    events = stores.completions.stream(req.project_id, req.inputs, is_tracked=is_tracked, wb_user_id=req.wb_user_id)
    return _Lines(await anext(events), events, stores.calls.database.timings.client_timeout_seconds)


async def create_images(stores: Stores, req: ImageGenerationCreateReq, max_bytes: int) -> object:
    """Generate images; each may have at most `max_bytes`."""
    made = await stores.images.create(
        req.project_id,
        req.inputs.to_store(),
        is_tracked=req.track_llm_call is not False,
        wb_user_id=req.wb_user_id,
        max_file_bytes=max_bytes,
    )
    return {"response": made.response, "weave_call_id": made.call_id}


async def execute_actions(stores: Stores, req: ActionsExecuteBatchReq) -> object:
    """Run an action on calls; the response adds the errors of failed calls, which the reference does not return."""
    done = await stores.actions.execute(req.project_id, req.action_ref, req.call_ids, req.wb_user_id)
    failed = {row["call_id"]: row["error"]["message"] for row in done.results if "error" in row}
    return {"num_failed": done.num_failed, "errors": failed}


class _Lines(StreamingResponse):
    """A completion's events as JSON lines; always closes their source at the end."""

    def __init__(
        self, first: CompletionEvent, events: AsyncGenerator[CompletionEvent, None], timeout_seconds: float
    ) -> None:
        self._events = events
        self._timeout_seconds = timeout_seconds
        super().__init__(_lines(first, events), headers={"Cache-Control": "no-store"}, media_type="application/jsonl")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; if the client stops reading, cancel it and the completion."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._timeout_seconds):
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
