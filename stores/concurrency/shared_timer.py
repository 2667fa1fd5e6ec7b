"""One timer for many waits of equal length: a timer per wait would cost more than a small read."""

import asyncio
import threading
from collections.abc import Callable


class SharedTimer(threading.local):
    """Calls functions a fixed number of seconds after they were scheduled, unless cancelled before.

    A function returns True to be called again after the same time. Each thread has its own timer and event loop.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scheduled: dict[Callable[[], bool], float] = {}  # start times, oldest first
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop that has a timer pending

    def schedule(self, call: Callable[[], bool]) -> None:
        """Call a function after the time; it must not be scheduled already."""
        loop = asyncio.get_running_loop()
        self._scheduled[call] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._seconds, self._poll)

    def cancel(self, call: Callable[[], bool]) -> None:
        """Do not call a function any more; no effect if it is not scheduled."""
        self._scheduled.pop(call, None)

    def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._call_due(loop.time())
        finally:
            # Even if a function raises: all others wait for this timer.
            if self._scheduled:
                loop.call_at(next(iter(self._scheduled.values())) + self._seconds, self._poll)
            else:
                self._loop = None

    def _call_due(self, now: float) -> None:
        while self._scheduled:
            call, since = next(iter(self._scheduled.items()))
            if since + self._seconds > now:
                return
            del self._scheduled[call]
            if call():
                self._scheduled[call] = now
