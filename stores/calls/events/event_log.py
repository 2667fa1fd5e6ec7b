"""The recent events of one process, kept for those who watch: in order, each once, bounded however many watch.

Who watches holds a place, and nothing else: whoever is slow makes nothing grow, and falls behind what is kept.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter
from stores.query.evaluator import Values

MAX_EVENTS: Final = 50_000
"""Events that are kept at most, however small they are."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""About the memory that they take together."""
_AT_ONCE: Final = 1_000
"""Events that one question looks back through while all else waits."""
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes of their JSON text."""


class Channel:
    """The events among those that are kept that answer one question, numbered in their order.

    It has all of them that come after the place where it starts.
    """

    def __init__(self, question: EventFilter, start: str) -> None:
        self.question = question
        self.start = start
        self.first = 0
        self.news = asyncio.Event()
        self.failure: str | None = None
        self.seen = ""
        """A place up to which there is nothing else."""
        self.subscribers = 0
        self._events: deque[CallEvent] = deque()

    @property
    def end(self) -> int:
        """The number that the next event will have."""
        return self.first + len(self._events)

    def at(self, number: int) -> CallEvent:
        """The event of a number from `first` to before `end`."""
        return self._events[number - self.first]

    def number_after(self, place: str) -> int:
        """The number of the first event after a place, at which the channel has started already."""
        number = self.end
        while number > self.first and self.at(number - 1).place > place:
            number -= 1
        return number

    def put(self, event: CallEvent) -> None:
        """Add the newest event."""
        self._events.append(event)
        self.news.set()

    def put_before(self, event: CallEvent) -> None:
        """Add one that is older than all that are there."""
        self._events.appendleft(event)
        self.first -= 1

    def drop_first(self) -> None:
        """Forget the oldest event."""
        self._events.popleft()
        self.first += 1

    def fail(self, reason: str, seen: str) -> None:
        """Let there be no more events, for a reason; up to a place all were told."""
        self.failure, self.seen = reason, seen
        self.news.set()


@dataclass(slots=True)
class _Entry:
    """A kept event, and the channels that it is in."""

    event: CallEvent
    channels: list[Channel]


class EventLog:
    """The events that are kept; it has all after its start that it was given to keep."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.start = ""
        self._max_events, self._max_bytes = max_events, max_bytes
        self._entries: deque[_Entry] = deque()
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many events are kept."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """About the memory that they take, in bytes."""
        return self._bytes

    @property
    def max_bytes(self) -> int:
        """The most of it."""
        return self._max_bytes

    def begin(self, place: str) -> None:
        """Start anew at a place, with nothing; channels that were failed keep what is still to be read."""
        for entry in self._entries:
            entry.event.grown = None
        self._entries.clear()
        self._bytes = 0
        self.start = place

    def add(self, event: CallEvent, channels: list[Channel]) -> None:
        """Keep the newest event, for some channels; the oldest go where there is no room."""
        self._entries.append(_Entry(event, channels))
        self._bytes += event.size
        event.grown = self._grow
        for channel in channels:
            channel.put(event)
        while len(self._entries) > self._max_events or self._bytes > self._max_bytes:
            self._drop_first()

    def is_near(self, place: str) -> bool:
        """Whether few and small enough events came after a place to look through them at once."""
        if place < self.start:
            return False
        newer = list(takewhile(lambda event: event.place > place, self._newest(_AT_ONCE)))
        is_small = (
            not any(event.is_large for event in newer) and sum(event.json_bytes for event in newer) < _BYTES_AT_ONCE
        )
        return is_small and len(newer) < _AT_ONCE

    def _newest(self, count: int) -> Iterator[CallEvent]:
        return (entry.event for entry in islice(reversed(self._entries), count))

    def reach_back(self, channel: Channel, place: str) -> None:
        """Let a channel have all that answers its question since an earlier place than it started at."""
        project_id, holds = channel.question.project_id, channel.question.matches
        for entry in reversed(self._entries):
            event = entry.event
            if event.place <= place:
                break
            is_new = event.place <= channel.start and event.call["project_id"] == project_id
            if is_new and holds(event.call, Values(event.call)):
                channel.put_before(event)
                entry.channels.append(channel)
        channel.start = place

    def _grow(self, size: int) -> None:
        self._bytes += size

    def _drop_first(self) -> None:
        entry = self._entries.popleft()
        self._bytes -= entry.event.size
        entry.event.grown = None
        self.start = entry.event.place
        for channel in entry.channels:
            channel.drop_first()
