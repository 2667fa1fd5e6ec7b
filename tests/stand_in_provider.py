"""A fake model provider: an OpenAI-compatible server on the loopback interface, so that tests run offline.

A function of the test chooses the response; without one, the name of the model does:

    status-<code>     a response with that status; its message contains the key
    limited-<n>       429 for the first n requests of that model, then a completion
    slow-<seconds>    a completion after that many seconds
    held              a completion once the test sets `is_released`
    paused            a stream that stops in the middle of the text until the test sets `is_released`
    cut               a response whose connection breaks in the middle
    unfinished        a stream that closes cleanly before the completion is finished
    no-json           an HTML page
    no-completion     JSON that is no completion
    huge              a response without end
    packed            a gzip-compressed response
    redirect          a redirect to `redirects_to`
    repeats-key       a completion that contains the key
    fails-midway      a stream that contains an error
    endless           a stream without end
    any other         an echo of the last user message; a tool call if the request offers tools;
                      an instance of the JSON schema if the request has one
"""

import asyncio
import base64
import gzip
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.live_server import live_server

Body = dict[str, Any]
Reply = Callable[[Body], "str | Body | Response | None"]
"""A function that answers a request with a text, a message or a response; None lets the model's name decide."""

KEY: Final = "sk-stand-in-0123456789abcdef"
USAGE: Final = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_MODEL: Final = re.compile(r"([a-z][a-z-]*?)(?:-([0-9.]+))?")
_CHUNK: Final = 10_000
_HALF: Final = 3
"""Chunks that a paused stream sends first."""


class CutOffError(Exception):
    """Raised to break a connection in the middle of a response."""


@dataclass(frozen=True)
class ReceivedRequest:
    """One request that the server received."""

    path: str
    headers: dict[str, str]
    body: Body
    parameters: dict[str, str]


@dataclass
class StandIn:
    """The state of the server; a test may read and change it at any time."""

    reply: Reply | None = None
    redirects_to: str = "/elsewhere"
    base_url: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    is_released: bool = False
    left: int = 0
    """Number of clients that disconnected before the end of a stream."""
    sent_chunks: int = 0

    @property
    def bodies(self) -> list[Body]:
        """Return the bodies of all requests, in order."""
        return [request.body for request in self.requests]

    async def chat(self, request: Request) -> Response:
        """Return a chat completion."""
        body = await self._take(request)
        reply = self.reply(body) if self.reply else None
        if isinstance(reply, Response):
            return reply
        model = str(body["model"])
        if reply is None and (odd := await self._odd(model, body, request)):
            return odd
        message = {"role": "assistant", "content": reply} if isinstance(reply, str) else reply or _message(body)
        return (
            StreamingResponse(self._events(body, message), media_type="text/event-stream")
            if body.get("stream")
            else JSONResponse(_completion(body, message))
        )

    async def images(self, request: Request) -> Response:
        """Return images, as URLs or in Base64."""
        body = await self._take(request)
        reply = self.reply(body) if self.reply else None
        if isinstance(reply, Response):
            return reply
        if isinstance(reply, dict):
            return JSONResponse(reply)
        if odd := await self._odd(str(body["model"]), body, request):
            return odd
        count = body.get("n") or 1
        encoded = {"b64_json": base64.b64encode(PNG).decode()}
        is_url = body.get("response_format", "url") == "url" and not str(body["model"]).startswith("gpt-image")
        data = [{"url": f"{self.base_url}/pictures/{number}.png"} if is_url else encoded for number in range(count)]
        return JSONResponse({"created": 1_760_000_000, "data": data, "usage": {"total_tokens": 30, "input_tokens": 10}})

    async def picture(self, _request: Request) -> Response:
        """Return an image of one pixel."""
        return Response(PNG, media_type="image/png")

    async def stalled(self, _request: Request) -> Response:
        """Send the head of an answer whose content never comes."""

        async def never() -> AsyncIterator[bytes]:
            await asyncio.sleep(30)
            yield b""

        return StreamingResponse(never(), media_type="image/png")

    async def elsewhere(self, request: Request) -> Response:
        """Answer the target of a redirect; no client should reach it."""
        await self._take(request)
        return JSONResponse({"choices": []})

    async def _take(self, request: Request) -> Body:
        text = await request.body()
        body = json.loads(text) if text else {}
        self.requests.append(ReceivedRequest(request.url.path, dict(request.headers), body, dict(request.query_params)))
        return dict(body)

    async def _odd(self, model: str, body: Body, request: Request) -> Response | None:  # noqa: C901 -- a table of cases
        match = _MODEL.fullmatch(model)
        name, number = match.groups() if match else ("", None)
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        match name:
            case "status":
                return _error(int(number or 500), f"It is so for the key {key}.")
            case "limited":
                self.tries[model] += 1
                if self.tries[model] <= int(number or 1):
                    return _error(429, "Too many requests.", {"Retry-After": "0"})
            case "slow":
                ends = time.monotonic() + float(number or 1)
                await _wait(lambda: time.monotonic() >= ends, request)
            case "held":
                await _wait(lambda: self.is_released, request)
            case "cut" if not body.get("stream"):
                return StreamingResponse(_cut(), media_type="application/json")
            case "no-json":
                return Response("<html>Hello</html>", media_type="text/html")
            case "no-completion":
                return JSONResponse({"hello": "world"})
            case "huge":
                return StreamingResponse(_endless(), media_type="application/json")
            case "packed":
                return Response(gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
            case "redirect":
                return RedirectResponse(self.redirects_to, 307)
            case "repeats-key":
                return JSONResponse(_completion(body, {"role": "assistant", "content": f"Your key is {key}."}))
        return None

    async def _events(self, body: Body, message: Body) -> AsyncIterator[str]:
        try:
            async for chunk in _chunks(body, message):
                yield f"data: {json.dumps(chunk)}\n\n"
                self.sent_chunks += 1
                is_half = body["model"] == "paused" and self.sent_chunks == _HALF
                while is_half and not self.is_released:  # noqa: ASYNC110 -- a test's thread sets it
                    await asyncio.sleep(0.02)
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left += 1
            raise


@contextmanager
def stand_in_provider(reply: Reply | None = None) -> Iterator[StandIn]:
    """Run the server until the block ends; yield its state."""
    with stand_in_server() as begin:
        yield begin(reply)


@contextmanager
def stand_in_server() -> Iterator[Callable[[Reply | None], StandIn]]:
    """Run one server until the block ends; yield a function that gives it a new state, and returns that."""
    app = Starlette()

    async def latest(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    def begin(reply: Reply | None = None) -> StandIn:
        nonlocal app
        stand_in = StandIn(reply, base_url=f"http://{address}/v1")
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", stand_in.chat, methods=["POST"]),
                Route("/v1/images/generations", stand_in.images, methods=["POST"]),
                Route("/v1/pictures/{number}.png", stand_in.picture),
                Route("/v1/stalled", stand_in.stalled),
                Route("/elsewhere", stand_in.elsewhere, methods=["GET", "POST"]),
            ]
        )
        return stand_in

    with live_server(latest, lifespan="off") as address:
        yield begin


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": "stand_in", "code": None}}, status, headers)


def _completion(body: Body, message: Body) -> Body:
    choice = {"message": message, "finish_reason": _finish_reason(message)}
    return {
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": index, **choice} for index in range(body.get("n") or 1)],
        "usage": USAGE,
    }


async def _chunks(body: Body, message: Body) -> AsyncIterator[Body]:
    """Yield the message as stream chunks of a few characters."""
    model = body["model"]
    yield _chunk(body, {"role": "assistant", "content": ""})
    for number, piece in enumerate(_pieces(message)):
        yield _chunk(body, piece)
        if model == "fails-midway":
            yield {"error": {"message": f"The model fell over for {KEY}."}}
        if model == "cut":
            raise CutOffError
        if model == "unfinished" and number == 1:
            return
        if model.startswith("drip"):
            await asyncio.sleep(0.05)
    while model == "endless":
        # The content varies: a connection that compresses would shrink repeated chunks to almost nothing.
        yield _chunk(body, {"content": secrets.token_hex(_CHUNK // 2)})
        await asyncio.sleep(0)
    yield _chunk(body, {}, _finish_reason(message))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**_chunk(body, {}), "choices": [], "usage": USAGE}


def _pieces(message: Body) -> Iterator[Body]:
    text = message.get("content") or ""
    for start in range(0, len(text), 5):
        yield {"content": text[start : start + 5]}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield {"tool_calls": [{"index": index, **call, "function": {"name": function["name"], "arguments": ""}}]}
        for start in range(0, len(function["arguments"]), 5):
            part = function["arguments"][start : start + 5]
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _chunk(body: Body, delta: Body, finish_reason: str | None = None) -> Body:
    choices = [{"index": index, "delta": delta, "finish_reason": finish_reason} for index in range(body.get("n") or 1)]
    head = {"id": "chatcmpl-stand-in", "object": "chat.completion.chunk", "created": 1_760_000_000}
    return {**head, "model": body["model"], "choices": choices}


def _finish_reason(message: Body) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _message(body: Body) -> Body:
    if body.get("tools") and body.get("tool_choice") != "none":
        function = body["tools"][0]["function"]
        arguments = json.dumps(_instance(function.get("parameters") or {"type": "object"}))
        call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return {"role": "assistant", "content": json.dumps(_instance(wanted["json_schema"]["schema"]))}
    if wanted.get("type") == "json_object":
        return {"role": "assistant", "content": json.dumps({"said": _last_words(body)})}
    return {"role": "assistant", "content": f"You said: {_last_words(body)}"}


def _last_words(body: Body) -> str:
    contents = [message.get("content") for message in body.get("messages") or () if message.get("role") == "user"]
    last = contents[-1] if contents else "nothing"
    return last if isinstance(last, str) else json.dumps(last)


def _instance(schema: Body) -> Any:
    """Return a value that is valid for a simple schema."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _instance(inner) for name, inner in (schema.get("properties") or {}).items()}
        case "array":
            return [_instance(schema.get("items") or {})]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "text"


async def _wait(is_over: Callable[[], bool], request: Request) -> None:
    """Wait until the condition holds or the client disconnects."""
    while not is_over() and not await request.is_disconnected():  # noqa: ASYNC110 -- ASGI has no event for it
        await asyncio.sleep(0.02)


async def _cut() -> AsyncIterator[str]:
    yield '{"choices": ['
    raise CutOffError


async def _endless() -> AsyncIterator[str]:
    yield '{"choices": ["'
    while True:
        yield "x" * _CHUNK
        await asyncio.sleep(0)
