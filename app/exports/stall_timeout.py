"""Streams to clients that may be slow, but not dead."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

STALLED_SECONDS: Final = 120.0

logger = logging.getLogger("loomql")


class StallTimeoutResponse(StreamingResponse):
    """A streamed answer, whose next part is made when the last one was taken.

    It ends where the client goes away, or takes nothing for `STALLED_SECONDS`; `ended` is called however it ends.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        media_type: str,
        ended: Callable[[], object],
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._content = content
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        try:
            async with aclosing(self._content):
                await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            logger.warning("a client took nothing of an export for %g seconds, and is let go", STALLED_SECONDS)
        finally:
            self._ended()
