"""One change stream over the calls for all who watch them: opened for the first, closed after the last."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from pymongo.errors import ConnectionFailure, PyMongoError

from stores.calls.events import CHANGES, CallEvent, event_of
from stores.database import Collection
from stores.errors import UnavailableError

MAX_WAITING: Final = 10_000
"""The most events that wait for one subscriber."""
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
"""The most JSON text that waits for one subscriber in its events."""

_POLL_SECONDS: Final = 0.5
"""How long a poll waits for a change; so much later, at most, the stream is closed that nobody needs."""
_PAUSE_SECONDS: Final = 0.5

_LAGGED = "the subscription lagged too far behind the events and was dropped; subscribe again, and read faster"
_BROKEN = (
    "the database ended the stream of events, some may be lost; subscribe again, and query what happened meanwhile"
)
_STOPPED = "the server stops; subscribe again when it is back"

logger = logging.getLogger("loomql")


class Subscriber:
    """The events of one project that wait for one reader. Who does not read in time gets an error, and no more."""

    def __init__(self) -> None:
        self._events: deque[CallEvent] = deque()
        self._waiting_bytes = 0
        self._failure: UnavailableError | None = None
        self._opened = asyncio.Event()
        self._news = asyncio.Event()

    async def opened(self) -> None:
        """Wait until whatever happens is certain to be told.

        Raises:
            UnavailableError: it will not be.
        """
        await self._opened.wait()
        if self._failure:
            raise self._failure

    async def next(self) -> CallEvent:
        """The next event, as soon as there is one.

        Raises:
            UnavailableError: there will be none: the reader lagged, the stream broke, or the server stops.
        """
        while not self._events:
            if self._failure:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._waiting_bytes -= _size(event)
        return event

    def open(self) -> None:
        """Let the reader begin."""
        self._opened.set()

    def put(self, event: CallEvent) -> bool:
        """Keep an event for the reader; False where too much waits, which is forgotten with the event."""
        if len(self._events) >= MAX_WAITING or self._waiting_bytes + _size(event) > MAX_WAITING_BYTES:
            self._events.clear()
            self.fail(_LAGGED)
            return False
        self._events.append(event)
        self._waiting_bytes += _size(event)
        self._news.set()
        return True

    def fail(self, reason: str) -> None:
        """End with an error, after the events that wait."""
        self._failure = UnavailableError(reason)
        self._opened.set()
        self._news.set()


def _size(event: CallEvent) -> int:
    size: int = event.call.get("storage_size_bytes", 0)
    return size


class FanOut:
    """The change stream of a collection of calls, and whom it is told to."""

    def __init__(self, calls: Collection) -> None:
        self._calls = calls
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._following: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_closed = False

    @asynccontextmanager
    async def subscribed(self, project_id: str) -> AsyncIterator[Subscriber]:
        """A subscriber to the events of a project, until the block ends; it may begin once it is `opened`.

        Raises:
            UnavailableError: all is closed.
        """
        if self._is_closed:
            raise UnavailableError(_STOPPED)
        subscriber = Subscriber()
        self._subscribers.setdefault(project_id, set()).add(subscriber)
        if self._is_open:
            subscriber.open()
        if self._following is None:
            self._following = asyncio.create_task(self._follow())
        try:
            yield subscriber
        finally:
            self._drop(project_id, subscriber)

    async def close(self) -> None:
        """End every subscription with an error, let nobody subscribe any more, and wait until the stream is closed."""
        self._is_closed = True
        self._fail(_STOPPED)
        if self._following is not None:
            await self._following

    def _drop(self, project_id: str, subscriber: Subscriber) -> None:
        subscribers = self._subscribers.get(project_id, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(project_id, None)

    def _all(self) -> Iterator[Subscriber]:
        return (subscriber for subscribers in self._subscribers.values() for subscriber in subscribers)

    def _fail(self, reason: str) -> None:
        for subscriber in self._all():
            subscriber.fail(reason)
        self._subscribers.clear()

    async def _follow(self) -> None:
        try:
            await self._follow_from(None)
        except Exception:
            logger.exception("the change stream of the calls broke and cannot be resumed")
            self._fail(_BROKEN)
        finally:
            self._following, self._is_open = None, False

    async def _follow_from(self, token: Mapping[str, Any] | None) -> None:
        """Read changes while anybody subscribes; what breaks the stream for a while costs none of them."""
        while self._subscribers:
            try:
                async with self._calls.watch(
                    CHANGES,
                    full_document="updateLookup",
                    resume_after=token,
                    max_await_time_ms=int(_POLL_SECONDS * 1000),
                ) as stream:
                    self._open()
                    token = stream.resume_token
                    while self._subscribers:
                        # Never cancelled while it waits: the driver would open a second cursor, and leave it open.
                        change = await stream.try_next()
                        token = stream.resume_token
                        if change is not None:
                            self._tell(change)
                        elif not stream.alive:
                            logger.error("the collection of calls was dropped or renamed; its change stream ended")
                            # Nothing can be resumed from here: who comes now waits for a stream that begins anew.
                            token, self._is_open = None, False
                            self._fail(_BROKEN)
            except PyMongoError as error:
                if not _passes(error):
                    raise
                self._is_open = False
                await asyncio.sleep(_PAUSE_SECONDS)

    def _open(self) -> None:
        self._is_open = True
        for subscriber in self._all():
            subscriber.open()

    def _tell(self, change: Mapping[str, Any]) -> None:
        event = event_of(change)
        if event is None:
            return
        project_id = event.call["project_id"]
        for subscriber in list(self._subscribers.get(project_id, ())):
            if not subscriber.put(event):
                self._drop(project_id, subscriber)


def _passes(error: PyMongoError) -> bool:
    return isinstance(error, ConnectionFailure) or error.has_error_label("ResumableChangeStreamError")
