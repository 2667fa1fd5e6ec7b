"""Shutdown of one process: signal handlers, callbacks, forced exit."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
HURRY_SECONDS: Final = 3.0
"""Maximum time in seconds of a forced shutdown: commands that MongoDB does not answer block threads."""


class Shutdown:
    """State of the shutdown of one server process, and its callbacks."""

    def __init__(self) -> None:
        self.has_started = False
        self.is_hurried = asyncio.Event()
        """Set by a second signal: the user does not want to wait."""
        self._callbacks: list[Callable[[], object]] = []

    def on_start(self, tell: Callable[[], object]) -> None:
        """Call `callback` once when the shutdown starts; immediately if it has started."""
        if self.has_started:
            tell()
        else:
            self._callbacks.append(tell)

    def start(self) -> None:
        """Start the shutdown; no effect if it has started."""
        if not self.has_started:
            self.has_started = True
            for tell in self._callbacks:
                tell()

    def force(self) -> None:
        """Exit the process within `HURRY_SECONDS`, whatever is in flight; no effect if called before."""
        if not self.is_hurried.is_set():
            self.is_hurried.set()
            timer = threading.Timer(HURRY_SECONDS, os._exit, (1,))
            timer.daemon = True
            timer.start()


@contextmanager
def shutdown_on_signals(shutdown: Shutdown) -> Iterator[None]:
    """Start a shutdown at the first signal and force it at the second; the server's own handlers run, too.

    Ctrl-C reaches all processes of a terminal, and the supervisor then sends SIGTERM to its workers. For a worker, only
    the same signal again counts as the second. Outside the main thread nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    original_handlers = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    is_worker = multiprocessing.parent_process() is not None
    received: set[int] = set()

    def stop(number: int, frame: FrameType | None) -> None:
        is_second = number in received or (bool(received) and not is_worker)
        received.add(number)
        loop.call_soon_threadsafe(shutdown.force if is_second else shutdown.start)
        # A second SIGINT makes uvicorn exit without draining.
        forwarded = signal.SIGINT if is_second else signal.Signals(number)
        original_handlers[forwarded](forwarded, frame)

    for number in original_handlers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in original_handlers.items():
            signal.signal(number, handler)
