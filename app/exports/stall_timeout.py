"""Streamed responses that end if the client stops reading."""

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
    """A streamed response that produces each chunk after the previous one was sent.

    It ends if the client disconnects or reads nothing for `STALLED_SECONDS`; `on_end` is called in every case.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        media_type: str,
        on_end: Callable[[], object],
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._content = content
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""

        async def send_with_timeout(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        try:
            async with aclosing(self._content):
                await super().__call__(scope, receive, send_with_timeout)
        except TimeoutError:
            logger.warning("export cancelled: the client read nothing for %g seconds", STALLED_SECONDS)
        finally:
            self._on_end()
