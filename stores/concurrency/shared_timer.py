"""One timer for all who wait as long as each other: one each would take longer than a small read."""

import asyncio
import threading
from collections.abc import Callable


class SharedTimer(threading.local):
    """Makes calls so many seconds after they were begun, unless they were ended by then.

    What a call gives says whether it is to be made again after as long. Threads that share it have a timer each, as
    they have an event loop each.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[Callable[[], bool], float] = {}  # when, the first one first
        self._loop: asyncio.AbstractEventLoop | None = None  # the one with a timer that will look

    def schedule(self, call: Callable[[], bool]) -> None:
        """Make a call after the time, which is not under way yet."""
        loop = asyncio.get_running_loop()
        self._begun[call] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._seconds, self._look)

    def cancel(self, call: Callable[[], bool]) -> None:
        """Make a call no more; nothing happens where it is not under way."""
        self._begun.pop(call, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._call_who_is_due(loop.time())
        finally:
            # Where a call fails, too: all others wait for the same timer.
            if self._begun:
                loop.call_at(next(iter(self._begun.values())) + self._seconds, self._look)
            else:
                self._loop = None

    def _call_who_is_due(self, now: float) -> None:
        while self._begun:
            call, since = next(iter(self._begun.items()))
            if since + self._seconds > now:
                return
            del self._begun[call]
            if call():
                self._begun[call] = now
