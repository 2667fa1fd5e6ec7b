"""Learning in time that the server is to stop: a server waits for the answers under way, and a stream has no end."""

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
"""How long the end takes at most that somebody hurries: commands that the database does not answer hold up threads."""


class Shutdown:
    """Whether one server process is to stop, and whom that is told to."""

    def __init__(self) -> None:
        self.has_begun = False
        self.is_hurried = asyncio.Event()
        """Set when whoever stops the server does not want to wait."""
        self._told: list[Callable[[], object]] = []

    def on_start(self, tell: Callable[[], object]) -> None:
        """Call `tell` once when it is to stop; at once if it is already."""
        if self.has_begun:
            tell()
        else:
            self._told.append(tell)

    def start(self) -> None:
        """Stop; nothing happens where that has begun."""
        if not self.has_begun:
            self.has_begun = True
            for tell in self._told:
                tell()

    def force(self) -> None:
        """Wait for nothing more: the process ends soon, whatever is under way; nothing more happens where it does."""
        if not self.is_hurried.is_set():
            self.is_hurried.set()
            ending = threading.Timer(HURRY_SECONDS, os._exit, (1,))
            ending.daemon = True
            ending.start()


@contextmanager
def shutdown_on_signals(stopping: Shutdown) -> Iterator[None]:
    """Let a signal that stops the server be known in the running loop as soon as it comes, and a second one hurry it.

    What the server itself does goes on. Ctrl-C comes to all processes of a terminal, and the first process of a server
    with workers stops them by SIGTERM: to a worker it is a second signal only if it is the same one.
    Where the server takes no signals, as in a thread of another program, nothing is known of them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    servers_own = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    is_worker = multiprocessing.parent_process() is not None
    came: set[int] = set()

    def stop(number: int, frame: FrameType | None) -> None:
        is_second = number in came or (bool(came) and not is_worker)
        came.add(number)
        loop.call_soon_threadsafe(stopping.force if is_second else stopping.start)
        # Uvicorn waits for nothing more after a second SIGINT.
        told = signal.SIGINT if is_second else signal.Signals(number)
        servers_own[told](told, frame)

    for number in servers_own:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in servers_own.items():
            signal.signal(number, handler)
