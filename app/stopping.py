"""Learning in time that the server is to stop: a server waits for the answers under way, and a stream has no end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told_to_stop(tell: Callable[[], object]) -> Iterator[None]:
    """Call `tell` in the running loop as soon as a signal stops the server, besides what the server itself does.

    Where the server takes no signals, as in a thread of another program, nothing is called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    servers_own = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        servers_own[signal.Signals(number)](number, frame)

    for number in servers_own:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in servers_own.items():
            signal.signal(number, handler)
