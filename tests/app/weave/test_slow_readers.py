"""Tests that the Weave API disconnects a client that requests a streamed completion and reads nothing."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.weave.completions import _Lines
from stores.completions import CompletionEvent
from tests.waiting import until


async def test_completion_reader_that_stalls_is_disconnected_and_frees_its_slot() -> None:
    sent, is_closed = list[Message](), asyncio.Event()

    async def events() -> AsyncGenerator[CompletionEvent, None]:
        try:
            while True:
                yield CompletionEvent("chunk", "acme/support", "c", chunk={"choices": []})
        finally:
            is_closed.set()

    async def send(message: Message) -> None:
        # A server with a full buffer behaves so: the client takes the head and nothing more.
        sent.append(message)
        if message["type"] != "http.response.start":
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    source = events()
    first = await anext(source)
    lines = _Lines(first, source, timeout_seconds=0.05)
    answering = asyncio.create_task(lines({"type": "http", "method": "POST"}, receive, send))

    await until(answering.done)
    with pytest.raises(TimeoutError):
        await answering
    assert is_closed.is_set()
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
