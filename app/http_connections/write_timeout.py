"""Answers that nobody reads: whoever takes nothing of one for long is let go, and what is left of it with them."""

import asyncio
from typing import Final

from app.http_connections.half_closed import HalfClosedProtocol

SECONDS: Final = 120.0
"""How long a client may take nothing of what waits for it; the doors that stream have patience of their own, too."""

_LOOKS: Final = 10
"""How often it is looked at in that time."""


class WriteTimeoutProtocol(HalfClosedProtocol):
    """Uvicorn's protocol for HTTP, which holds an answer for as long as the client takes some of it."""

    _look: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._look_no_more()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Write no more for now: the client takes less than it is sent."""
        super().pause_writing()
        self._look_later(self.transport.get_write_buffer_size(), 0)

    def resume_writing(self) -> None:
        """Write again."""
        self._look_no_more()
        super().resume_writing()

    def _look_later(self, unread: int, in_vain: int) -> None:
        self._look = self.loop.call_later(SECONDS / _LOOKS, self._look_again, unread, in_vain)

    def _look_no_more(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_again(self, before: int, in_vain: int) -> None:
        unread = self.transport.get_write_buffer_size()
        in_vain = in_vain + 1 if unread >= before else 0
        if unread and in_vain == _LOOKS:
            self.transport.abort()
        elif unread:
            self._look_later(unread, in_vain)
