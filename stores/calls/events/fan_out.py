"""One change stream over the calls for all subscribers, and its recent events.

The stream is opened for the first subscriber and closed after the last. It covers the projects with subscribers and is
reopened at its position when projects are added. `EventLog` keeps its events in order for a while, within fixed bounds,
so that clients that resume soon need no stream of their own. A subscriber holds only a position, so a slow one costs no
memory; it lags once its position is no longer kept.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice, takewhile
from typing import Final

from pymongo.errors import PyMongoError

from stores.calls.events import change_stream
from stores.calls.events.event import CallEvent, Cursors, EventFilter, is_bare_timestamp, token_after_timestamp
from stores.concurrency.quotas import Limiter
from stores.concurrency.time_slices import SharedTimeSlices, cooperative
from stores.database import Database
from stores.database.driver import short_commands
from stores.errors import RateLimitedError, UnavailableError
from stores.query.evaluator import DocumentValues
from stores.times import DurationHistogram

MAX_SUBSCRIBERS: Final = 5_000

MAX_EVENTS: Final = 50_000
"""Events kept, regardless of size."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Approximate bytes of memory of all kept events."""
_MAX_FILTERED_EVENTS: Final = 1_000
"""Events that one filter may search at once on the event loop."""
_MAX_FILTERED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of JSON text that one filter may search at once."""

_MAX_NAMED_PROJECTS: Final = 2_000
"""Projects that the stream filters by name; with more, it covers all projects.

MongoDB takes 5 microseconds of CPU for a change of another project if one is watched, 7 with 100, 17 with 1,000 and 30
with 2,000. Without names it takes 15, and this process takes some 50 for the event.
"""
_PAUSE_SECONDS: Final = 0.5
_SLICE_SECONDS: Final = 0.01
"""Seconds of event delivery before other tasks run; with less, a thousand subscribers queue up."""

LAGGED_MESSAGE: Final = (
    "the subscription lagged behind the events kept in memory (LOOMQL_MAX_EVENT_BYTES); subscribe again after this "
    "error's extensions.after, and read faster or select fewer events"
)
_BROKEN_MESSAGE: Final = (
    "the database ended the stream of events; subscribe again after this error's extensions.after; if that is refused, "
    "get callEventsCursor and query what happened meanwhile"
)
STOPPED_MESSAGE: Final = "the server is stopping; subscribe again, at any server, after this error's extensions.after"

logger = logging.getLogger("loomql")


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

    async def next(self) -> CallEvent:
        """Wait for the next event and return it.

        Raises:
            SubscriptionEndedError: if the subscriber lags, if the stream broke, or if the server stops.
        """
        channel = self._channel
        while True:
            if self._number < channel.end and time.monotonic() > self._slice_end:
                self._slice_end = await self._time_slices.acquire()
            if self._number < channel.first:
                raise self._ended(LAGGED_MESSAGE)
            if self._number < channel.end:
                event = channel.at(self._number)
                self._number += 1
                if event.token > self._token:
                    self._token = event.token
                    return event
            elif channel.failure is not None:
                # Everything was read, so the resume cursor can skip the other calls' events up to `seen`.
                self._token = max(self._token, channel.seen)
                raise self._ended(channel.failure)
            else:
                channel.news.clear()
                await channel.news.wait()

    def _ended(self, reason: str) -> SubscriptionEndedError:
        after = self._cursors.encode(self._channel.event_filter.project_id, self._token)
        return SubscriptionEndedError(reason, after)


def _too_many_subscriptions(limiter: Limiter, _caller: str | None) -> RateLimitedError:
    if limiter.in_use >= limiter.limit:
        return RateLimitedError(
            f"this server process has {limiter.limit:,} subscriptions to events, the limit; end some, use another "
            "server, or raise LOOMQL_MAX_SUBSCRIPTIONS"
        )
    return RateLimitedError(
        f"you have {limiter.caller_limit:,} subscriptions to events at this server process, the limit; end some, or "
        "raise LOOMQL_MAX_CALLER_SUBSCRIPTIONS"
    )


class FanOut:
    """The change stream of a calls collection and its subscribers."""

    def __init__(
        self,
        database: Database,
        cursors: Cursors,
        max_subscribers: int = MAX_SUBSCRIBERS,
        max_bytes: int = MAX_BYTES,
        max_events: int = MAX_EVENTS,
        max_per_caller: int | None = None,
    ) -> None:
        self._database = database
        self._cursors = cursors
        max_per_caller = max_subscribers if max_per_caller is None else max_per_caller
        self.limiter = Limiter(max_subscribers, _too_many_subscriptions, max_per_caller)
        """Slots of subscriptions."""
        self.log = EventLog(max_events, max_bytes)
        """The kept events."""
        self.lag = DurationHistogram()
        """Seconds between changes and the delivery of their events."""
        self.time_slices = SharedTimeSlices(_SLICE_SECONDS)
        """Time slices that all subscribers share, one acquired before each event."""
        self._watchers: Counter[str] = Counter()
        self._covered: dict[str | None, str] = {}
        """Tokens since which the stream covers each project; the key None stands for all projects."""
        self._channels: dict[str, dict[bytes, Channel]] = {}
        self._follow_task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._token: str | None = None
        self._seen_token = ""
        self._first_token = ""
        self._delivered: dict[str | None, str] = {}
        """Tokens up to which events were delivered before the stream was reopened, like `_covered`."""
        self._opened_at = 0.0
        self._restarts = False
        self._is_closed = False

    @asynccontextmanager
    async def watch_project(self, project_id: str, quota_key: str = "") -> AsyncIterator[None]:
        """Count a subscription, and let the stream cover the project at least until the block ends.

        `quota_key` names the caller whose quota counts. Coverage starts later; see `wait_until_covered`.

        Raises:
            SubscriptionEndedError: if the server stops.
            RateLimitedError: if the process or the caller has too many subscriptions.
        """
        self.check_open()
        with self.limiter.slot(quota_key):
            self._watchers[project_id] += 1
            try:
                if self._follow_task is None:
                    self._follow_task = asyncio.create_task(self._follow())
                yield
            finally:
                self._watchers -= Counter([project_id])  # removes a count of 0

    async def wait_until_covered(self, project_id: str) -> None:
        """Wait until the stream covers a project, so that every later event is delivered.

        Raises:
            UnavailableError: if the stream ends first.
        """
        follow_task = self._follow_task
        while not self._covered_since(project_id):
            self.check_open()
            if follow_task is not self._follow_task:
                raise UnavailableError("the database's change stream is unavailable; retry")
            self._changed.clear()
            await self._changed.wait()

    def check_open(self, after: str | None = None) -> None:
        """Check that the server is not stopping.

        Raises:
            SubscriptionEndedError: if it is; the error contains the cursor `after`, if not None.
        """
        if self._is_closed:
            raise SubscriptionEndedError(STOPPED_MESSAGE, after)

    @asynccontextmanager
    async def subscribe(self, event_filter: EventFilter, token: str | None) -> AsyncIterator[Subscriber | None]:
        """Open a reader of events that pass a filter, after a token or from now on, in a covered project.

        Yields None if the events after the token are not kept, or are too many to filter at once.
        """
        since = self._covered_since(event_filter.project_id) or ""
        if token is not None and not (token >= since and self.log.is_quick_to_filter(token)):
            yield None
            return
        channel = self._channel(event_filter)
        if token is not None and token < channel.start:
            self.log.extend_back(channel, token)
        number = channel.end if token is None else channel.number_after(token)
        start = max(self._seen_token, self._first_token) if token is None else token
        channel.subscribers += 1
        try:
            yield Subscriber(channel, number, start, self.time_slices, self._cursors)
        finally:
            channel.subscribers -= 1
            self._remove_if_unused(channel)

    async def close(self) -> None:
        """End every subscription with an error, refuse new ones, and wait until the stream is closed."""
        self._is_closed = True
        self._fail(STOPPED_MESSAGE)
        self._changed.set()
        if self._follow_task is not None:
            await self._follow_task

    def _covered_since(self, project_id: str | None) -> str | None:
        return self._covered.get(project_id) or self._covered.get(None)

    def _covers_watched_projects(self) -> bool:
        """Return True if the stream covers all watched projects, and others only for a limited time."""
        if None in self._covered:
            return len(self._watchers) > _MAX_NAMED_PROJECTS or self._is_fresh
        return self._watchers.keys() <= self._covered.keys() and (
            self._is_fresh or len(self._watchers) == len(self._covered)
        )

    @property
    def _is_fresh(self) -> bool:
        return time.monotonic() < self._opened_at + self._database.timings.unwatched_seconds

    def _channel(self, event_filter: EventFilter) -> Channel:
        channels = self._channels.setdefault(event_filter.project_id, {})
        if event_filter.key not in channels:
            channels[event_filter.key] = Channel(event_filter, self._token or "")
        return channels[event_filter.key]

    def _remove_if_unused(self, channel: Channel) -> None:
        """Remove a channel without subscribers, unless another one replaced it."""
        event_filter = channel.event_filter
        channels = self._channels.get(event_filter.project_id, {})
        if not channel.subscribers and channels.get(event_filter.key) is channel:
            del channels[event_filter.key]
            if not channels:
                del self._channels[event_filter.project_id]

    def _fail(self, reason: str) -> None:
        for channel in (each for channels in self._channels.values() for each in channels.values()):
            channel.fail(reason, self._seen_token)
        self._channels.clear()

    async def _follow(self) -> None:
        """Read changes while a project is watched, and again after a transient failure."""
        try:
            while self._watchers and not self._is_closed:
                try:
                    with short_commands():
                        await self._follow_projects()
                except PyMongoError as error:
                    if not change_stream.is_transient(error):
                        raise
                    await asyncio.sleep(_PAUSE_SECONDS)
        except Exception:
            logger.exception("the change stream of calls failed and cannot resume")
            self._fail(_BROKEN_MESSAGE)
        finally:
            self._follow_task = None
            self._reset()
            self._changed.set()

    async def _follow_projects(self) -> None:
        """Read changes until other projects need to be covered."""
        project_ids = None if len(self._watchers) > _MAX_NAMED_PROJECTS else list(self._watchers)
        # After a drop, the stream starts after the event that ended the previous one.
        token = await change_stream.current_token(self._database.calls) if self._restarts else self._token
        async with change_stream.open_stream(self._database.calls, project_ids, token) as stream:
            self._restarts = False
            self._update_coverage(project_ids, stream.start)
            while self._watchers and not self._is_closed and self._covers_watched_projects():
                changes = await stream.read()
                async for change in cooperative(changes):
                    await self._deliver(change)
                if not stream.cursor.alive:
                    logger.error("the calls collection was dropped or renamed, which ended its change stream")
                    self._fail(_BROKEN_MESSAGE)
                    self._reset()
                    self._restarts = True
                    return
                self._advance(stream)

    def _update_coverage(self, project_ids: list[str] | None, token: str) -> None:
        if self._token is None:
            self.log.restart(token)
            self._token = self._seen_token = token
            # Events at exactly this timestamp are past for new subscribers, but not for those that catch up.
            self._first_token = token_after_timestamp(token)
        self._opened_at = time.monotonic()
        # For projects covered before, events of that timestamp up to the reached token were delivered already.
        self._delivered = dict.fromkeys(self._covered, self._token)
        # All other projects are covered from here on.
        keys = [None] if project_ids is None else project_ids
        self._covered = {each: self._covered_since(each) or token for each in keys}
        self._changed.set()

    def _advance(self, stream: change_stream.Stream) -> None:
        self._token = max(self._token or "", stream.token)
        if is_bare_timestamp(stream.token):
            self._seen_token = stream.token

    def _reset(self) -> None:
        self._token, self._seen_token, self._first_token = None, "", ""
        self._covered, self._delivered = {}, {}
        self.log.restart("")

    async def _deliver(self, change: change_stream.Change) -> None:
        event, token = change_stream.to_event(change, self._cursors), change_stream.token_of(change)
        if event is not None:
            # Events at the timestamp of a reopened stream may be delivered already.
            delivered = self._delivered.get(event.call["project_id"]) or self._delivered.get(None) or ""
            if token > delivered:
                self.log.add(event, await self._matching_channels(event))
                self.lag.observe(change_stream.age_seconds(change))
        # Not earlier: a subscriber that joins during the evaluation must receive this event.
        self._token = max(self._token or "", token)

    async def _matching_channels(self, event: CallEvent) -> list[Channel]:
        """Return the channels whose filters the event passes; fail the channels whose filters raise."""
        values, results = DocumentValues(event.call), dict[Channel, bool | None]()
        # Channels added during the evaluation are evaluated, too.
        project_id = event.call["project_id"]
        while new := [each for each in self._channels.get(project_id, {}).values() if each not in results]:
            if event.is_large:
                results |= await asyncio.to_thread(_match_all, new, event, values)
                continue
            async for channel in cooperative(new):
                results[channel] = _matches_or_none(channel.event_filter, event, values)
        for channel, passes in results.items():
            if passes is None:
                channel.fail("the filter or the query failed for a call; change it and subscribe again", event.token)
        return [channel for channel, passes in results.items() if passes]


def _match_all(channels: Iterable[Channel], event: CallEvent, values: DocumentValues) -> dict[Channel, bool | None]:
    """Evaluate the channels' filters; None for a filter that raises."""
    return {channel: _matches_or_none(channel.event_filter, event, values) for channel in channels}


def _matches_or_none(event_filter: EventFilter, event: CallEvent, values: DocumentValues) -> bool | None:
    try:
        return event_filter.matches(event.call, values)
    except Exception:  # one filter's failure must not affect the others
        logger.exception("evaluating an event filter failed")
        return None
