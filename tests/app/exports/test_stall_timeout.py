"""Tests that an export stream ends if its client disconnects or stops reading."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.exports.endpoint import StallTimeoutResponse

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


class Content:
    """Endless content that counts the parts that the server requested."""

    def __init__(self) -> None:
        self.made = 0
        self.is_closed = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.made += 1
                yield b"part"
        finally:
            self.is_closed = True


async def answer(content: Content, *, is_gone: bool) -> list[str]:
    """Stream to a client that takes the beginning and two parts; return what the response reported at its end."""
    ended: list[str] = []
    sent: list[Message] = []
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) > 3:
            if is_gone:
                gone.set()
            await asyncio.Event().wait()

    made = StallTimeoutResponse(content.parts(), "text/plain", lambda: ended.append("ended"))
    made.stalled_seconds = 30 if is_gone else 0.01
    await made(SCOPE, receive, send)
    return ended


@pytest.mark.parametrize("is_gone", [True, False])
async def test_no_chunk_is_produced_before_the_client_reads(is_gone: bool) -> None:  # noqa: FBT001 -- a case
    content = Content()

    ended = await answer(content, is_gone=is_gone)

    assert (ended, content.made, content.is_closed) == (["ended"], 3, True)
