"""Timeout for clients that do not read their response."""

import asyncio
from typing import Final

from app.http_connections.half_closed import HalfClosedProtocol

SECONDS: Final = 120.0
"""Time after which a client that reads nothing is disconnected; streaming endpoints have timeouts of their own."""

_CHECKS: Final = 10
"""Number of checks within that time."""


class WriteTimeoutProtocol(HalfClosedProtocol):
    """Protocol that aborts the connection if the client reads nothing of a response for `SECONDS`."""

    _timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the checks."""
        self._cancel_check()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the checks when the write buffer is full."""
        super().pause_writing()
        self._schedule_check(self.transport.get_write_buffer_size(), 0)

    def resume_writing(self) -> None:
        """Stop the checks when the client reads again."""
        self._cancel_check()
        super().resume_writing()

    def _schedule_check(self, unread: int, failed_checks: int) -> None:
        self._timer = self.loop.call_later(SECONDS / _CHECKS, self._check, unread, failed_checks)

    def _cancel_check(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, before: int, failed_checks: int) -> None:
        unread = self.transport.get_write_buffer_size()
        failed_checks = failed_checks + 1 if unread >= before else 0
        if unread and failed_checks == _CHECKS:
            self.transport.abort()
        elif unread:
            self._schedule_check(unread, failed_checks)
