"""Cancellation of work whose client disconnects, including its database operations."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

from starlette.requests import ClientDisconnect, Request

LOOK_SECONDS: Final = 0.5
"""Delay before the server checks for a disconnect; most responses are ready earlier."""


class CancelOnDisconnect:
    """Context manager that cancels its block when the client disconnects.

    Args:
        request: its body must be read already, or empty.
        may_cancel: returns True if the block may be cancelled; called once, if the block takes long.

    Raises:
        ClientDisconnect: at the end of the block, if the client has disconnected.
    """

    def __init__(self, request: Request, may_cancel: Callable[[], bool]) -> None:
        self._request = request
        self._may_cancel = may_cancel
        self._watcher: asyncio.Task[None] | None = None
        self._is_disconnected = False

    def __enter__(self) -> None:
        """Schedule the check."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._start_watching)

    def _start_watching(self) -> None:
        if self._may_cancel():
            self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._is_disconnected = True
        if self._task:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching, and turn the cancellation into an exception.

        Raises:
            ClientDisconnect: the client has disconnected.
        """
        self._timer.cancel()
        if self._watcher:
            self._watcher.cancel()
        if self._is_disconnected and self._task and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientDisconnect from error
