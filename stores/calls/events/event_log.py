"""Recent events of one process, kept in order for its subscribers within fixed bounds.

A subscriber holds only a position, so a slow one costs no memory; it lags once its position is no longer kept.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter
from stores.query.evaluator import DocumentValues

MAX_EVENTS: Final = 50_000
"""Events kept, regardless of size."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Approximate bytes of memory of all kept events."""
_MAX_FILTERED_EVENTS: Final = 1_000
"""Events that one filter may search at once on the event loop."""
_MAX_FILTERED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of JSON text that one filter may search at once."""


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


@dataclass(slots=True)
class _Entry:
    """A kept event, and the channels that it is in."""

    event: CallEvent
    channels: list[Channel]


class EventLog:
    """The kept events: all that were added since `start`."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.start = ""
        self._max_events, self._max_bytes = max_events, max_bytes
        self._entries: deque[_Entry] = deque()
        self._bytes = 0

    @property
    def count(self) -> int:
        """Number of kept events."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """Approximate bytes of memory in use."""
        return self._bytes

    @property
    def max_bytes(self) -> int:
        """Limit of `size`."""
        return self._max_bytes

    def restart(self, token: str) -> None:
        """Clear the log and restart it at a token; failed channels keep their unread events."""
        for entry in self._entries:
            entry.event.on_grow = None
        self._entries.clear()
        self._bytes = 0
        self.start = token

    def add(self, event: CallEvent, channels: list[Channel]) -> None:
        """Add the newest event to some channels; drop the oldest events beyond the limits."""
        self._entries.append(_Entry(event, channels))
        self._bytes += event.size
        event.on_grow = self._grow
        for channel in channels:
            channel.append(event)
        while len(self._entries) > self._max_events or self._bytes > self._max_bytes:
            self._drop_first()

    def is_quick_to_filter(self, token: str) -> bool:
        """Return True if few and small enough events follow a token to filter them at once on the event loop."""
        if token < self.start:
            return False
        newer = list(takewhile(lambda event: event.token > token, self._newest(_MAX_FILTERED_EVENTS)))
        is_small = (
            not any(event.is_large for event in newer)
            and sum(event.json_bytes for event in newer) < _MAX_FILTERED_BYTES
        )
        return is_small and len(newer) < _MAX_FILTERED_EVENTS

    def _newest(self, count: int) -> Iterator[CallEvent]:
        return (entry.event for entry in islice(reversed(self._entries), count))

    def extend_back(self, channel: Channel, token: str) -> None:
        """Extend a channel back to an earlier token, with all kept events that pass its filter."""
        project_id, matches = channel.event_filter.project_id, channel.event_filter.matches
        for entry in reversed(self._entries):
            event = entry.event
            if event.token <= token:
                break
            is_new = event.token <= channel.start and event.call["project_id"] == project_id
            if is_new and matches(event.call, DocumentValues(event.call)):
                channel.prepend(event)
                entry.channels.append(channel)
        channel.start = token

    def _grow(self, size: int) -> None:
        self._bytes += size

    def _drop_first(self) -> None:
        entry = self._entries.popleft()
        self._bytes -= entry.event.size
        entry.event.on_grow = None
        self.start = entry.event.token
        for channel in entry.channels:
            channel.drop_first()
