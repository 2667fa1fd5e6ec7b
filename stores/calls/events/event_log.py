"""Recent events of one process, kept in order for its subscribers within fixed bounds.

A subscriber holds only a position, so a slow one costs no memory; it lags once its position is no longer kept.
"""

import asyncio
from collections import deque
from itertools import islice, takewhile
from time import monotonic
from typing import Final

from stores.calls.events.event import CallEvent, Cursors, EventFilter
from stores.concurrency.shared_slices import SharedTimeSlices
from stores.errors import UnavailableError
from stores.query.evaluator import DocumentValues

MAX_EVENTS: Final = 50_000
"""Events kept, regardless of size."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Approximate bytes of memory of all kept events."""
_MAX_FILTERED_EVENTS: Final = 1_000
"""Events that one filter may search at once on the event loop."""
_MAX_FILTERED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of JSON text that one filter may search at once."""


LAGGED_MESSAGE: Final = (
    "the subscription lagged behind the events kept in memory (LOOMQL_MAX_EVENT_BYTES); subscribe again after this "
    "error's extensions.after, and read faster or select fewer events"
)


class Channel:
    """The kept events that pass one filter, numbered in order; complete after its `start` token."""

    def __init__(self, event_filter: EventFilter, start: str) -> None:
        self.event_filter = event_filter
        self.start = start
        self.first = 0
        self.news = asyncio.Event()
        self.failure: str | None = None
        self.seen = ""
        """Token up to which there are no further events for the channel."""
        self.subscribers = 0
        self._events: deque[CallEvent] = deque()

    @property
    def end(self) -> int:
        """Number that the next event will get."""
        return self.first + len(self._events)

    def at(self, number: int) -> CallEvent:
        """Return the event with a number from `first` to `end` - 1."""
        return self._events[number - self.first]

    def number_after(self, token: str) -> int:
        """Return the number of the first event after a token, which is not before `start`."""
        number = self.end
        while number > self.first and self.at(number - 1).token > token:
            number -= 1
        return number

    def append(self, event: CallEvent) -> None:
        """Append the newest event and wake the subscribers."""
        self._events.append(event)
        self.news.set()

    def prepend(self, event: CallEvent) -> None:
        """Prepend an event older than all others."""
        self._events.appendleft(event)
        self.first -= 1

    def drop_first(self) -> None:
        """Drop the oldest event."""
        self._events.popleft()
        self.first += 1

    def fail(self, reason: str, seen: str) -> None:
        """End the channel for a reason; all events up to the token `seen` were delivered."""
        self.failure, self.seen = reason, seen
        self.news.set()


class EventLog:
    """The kept events, all that were added since `start`, each with the channels that it is in.

    `size` is the approximate number of bytes in memory, at most `max_bytes`.
    """

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.start = ""
        self._max_events, self.max_bytes = max_events, max_bytes
        self._entries: deque[tuple[CallEvent, list[Channel]]] = deque()
        self.size = 0

    @property
    def count(self) -> int:
        """Number of kept events."""
        return len(self._entries)

    def restart(self, token: str) -> None:
        """Clear the log and restart it at a token; failed channels keep their unread events."""
        for event, _ in self._entries:
            event.on_grow = None
        self._entries.clear()
        self.size = 0
        self.start = token

    def add(self, event: CallEvent, channels: list[Channel]) -> None:
        """Add the newest event to some channels; drop the oldest events beyond the limits."""
        self._entries.append((event, channels))
        self.size += event.size
        event.on_grow = self._grow
        for channel in channels:
            channel.append(event)
        while len(self._entries) > self._max_events or self.size > self.max_bytes:
            self._drop_first()

    def is_quick_to_filter(self, token: str) -> bool:
        """Return True if few and small enough events follow a token to filter them at once on the event loop."""
        if token < self.start:
            return False
        newest = (event for event, _ in islice(reversed(self._entries), _MAX_FILTERED_EVENTS))
        newer = list(takewhile(lambda event: event.token > token, newest))
        is_small = sum(event.json_bytes for event in newer) < _MAX_FILTERED_BYTES
        return is_small and len(newer) < _MAX_FILTERED_EVENTS and not any(event.is_large for event in newer)

    def extend_back(self, channel: Channel, token: str) -> None:
        """Extend a channel back to an earlier token, with all kept events that pass its filter."""
        project_id, matches = channel.event_filter.project_id, channel.event_filter.matches
        for event, channels in reversed(self._entries):
            if event.token <= token:
                break
            is_new = event.token <= channel.start and event.call["project_id"] == project_id
            if is_new and matches(event.call, DocumentValues(event.call)):
                channel.prepend(event)
                channels.append(channel)
        channel.start = token

    def _grow(self, size: int) -> None:
        self.size += size

    def _drop_first(self) -> None:
        event, channels = self._entries.popleft()
        self.size -= event.size
        event.on_grow = None
        self.start = event.token
        for channel in channels:
            channel.drop_first()


class SubscriptionEndedError(UnavailableError):
    """The server ended a subscription; `after` is the cursor to resume at, if known."""

    def __init__(self, message: str, after: str | None = None) -> None:
        super().__init__(message)
        self.after = after

    @property
    def details(self) -> dict[str, str]:
        """The resume cursor for the client, if known."""
        return {"after": self.after} if self.after else {}


class Subscriber:
    """One reader of a channel; it holds a position, not events."""

    def __init__(
        self, channel: Channel, number: int, token: str, time_slices: SharedTimeSlices, cursors: Cursors
    ) -> None:
        self._channel = channel
        self._time_slices = time_slices
        self._cursors = cursors
        self._slice_end = 0.0
        self._number = number
        self._token = token
        channel.subscribers += 1

    async def next(self) -> CallEvent:
        """Wait for the next event and return it.

        Raises:
            SubscriptionEndedError: if the subscriber lags, if the stream broke, or if the server stops.
        """
        while True:
            if self._number < self._channel.end and monotonic() > self._slice_end:
                self._slice_end = await self._time_slices.acquire()
            event = self._next_kept()
            if event is None:
                self._raise_if_failed()
                self._channel.news.clear()
                await self._channel.news.wait()
            elif event.token > self._token:
                self._token = event.token
                return event

    def close(self) -> None:
        """Unsubscribe from the channel."""
        self._channel.subscribers -= 1

    def _next_kept(self) -> CallEvent | None:
        if self._number < self._channel.first:
            raise SubscriptionEndedError(LAGGED_MESSAGE, self._cursor)
        if self._number == self._channel.end:
            return None
        event = self._channel.at(self._number)
        self._number += 1
        return event

    def _raise_if_failed(self) -> None:
        if self._channel.failure is not None:
            # Everything was read, so the resume cursor can skip the other calls' events up to `seen`.
            self._token = max(self._token, self._channel.seen)
            raise SubscriptionEndedError(self._channel.failure, self._cursor)

    @property
    def _cursor(self) -> str:
        return self._cursors.encode(self._channel.event_filter.project_id, self._token)
