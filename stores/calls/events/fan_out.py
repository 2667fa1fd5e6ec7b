"""One change stream over the calls for all who watch them: opened for the first, closed after the last.

It tells of the projects that somebody watches, and is opened anew, at its place, when these become more. What it tells
is kept for a while (`log`), so that whoever resumes soon, at whatever place, needs no other.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from pymongo.errors import PyMongoError

from stores.calls.events.change_stream import Change, Stream, opened, passes
from stores.calls.events.changes import age_of, event_of, place_of
from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter
from stores.calls.events.event_log import MAX_BYTES, MAX_EVENTS, Channel, EventLog
from stores.calls.events.resume_tokens import is_between_changes, next_moment
from stores.calls.events.subscriber import Subscriber, SubscriptionEndedError
from stores.concurrency.shared_slices import SharedTimeSlices
from stores.concurrency.time_slices import TimeSlice, cooperative
from stores.database import Collection
from stores.duration_histogram import DurationHistogram
from stores.errors import RateLimitedError, UnavailableError
from stores.query.evaluator import Values

MAX_SUBSCRIBERS: Final = 5_000

_MOST_NAMED: Final = 100
"""Projects that the stream is told by name; it tells of all where more are watched."""
_KEPT_SECONDS: Final = 60
"""How long the stream goes on to tell of projects that nobody watches any more: many come back."""
_PAUSE_SECONDS: Final = 0.5
_TURN_SECONDS: Final = 0.01
"""How long the loop tells events before it comes to other things: by less, a thousand subscribers wait in a line."""

_BROKEN: Final = (
    "the database ended the stream of events; subscribe again with this error's extensions.after as after, or, if that "
    "is refused, take callEventsCursor and query what happened meanwhile"
)
STOPPED: Final = (
    "the server stops; subscribe again, here or at another server, with this error's extensions.after as after"
)
_STUMBLED: Final = "this question cannot be answered for a call; ask another one"

logger = logging.getLogger("loomql")


class FanOut:
    """The change stream of a collection of calls, and whom it is told to."""

    def __init__(
        self,
        calls: Collection,
        cursors: Cursors,
        max_subscribers: int = MAX_SUBSCRIBERS,
        max_bytes: int = MAX_BYTES,
        max_events: int = MAX_EVENTS,
        max_each: int | None = None,
    ) -> None:
        self._calls = calls
        self._cursors = cursors
        self._max_subscribers = max_subscribers
        self._max_each = max_subscribers if max_each is None else max_each
        self._of: Counter[str] = Counter()
        self._log = EventLog(max_events, max_bytes)
        self.lag = DurationHistogram()
        """How long after changes their events were told."""
        self.turns = SharedTimeSlices(_TURN_SECONDS)
        """What those who watch have together, before each event."""
        self._watchers: Counter[str] = Counter()
        self._covered: dict[str, str] = {}
        self._channels: dict[str, dict[bytes, Channel]] = {}
        self._following: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._place: str | None = None
        self._seen = ""
        self._began = ""
        self._told: dict[str, str] = {}
        self._told_all: str | None = None
        self._all_since: str | None = None
        self._opened_at = 0.0
        self._begins_anew = False
        self._is_closed = False

    @property
    def count(self) -> int:
        """How many watch."""
        return sum(self._watchers.values())

    @property
    def max_subscribers(self) -> int:
        """How many may watch."""
        return self._max_subscribers

    @property
    def log(self) -> EventLog:
        """The events that are kept."""
        return self._log

    @asynccontextmanager
    async def watch_project(self, project_id: str, payer: str = "") -> AsyncIterator[None]:
        """Let the stream tell of a project, at least until the block ends; it does once it is `covered`.

        Whoever watches does so on the account of a payer.

        Raises:
            EndedError: all is closed.
            RateLimitedError: too many watch already, all together or on this account.
        """
        self.check_open()
        self._check_room(payer)
        with _counted(self._watchers, project_id), _counted(self._of, payer):
            if self._following is None:
                self._following = asyncio.create_task(self._follow())
            yield

    def _check_room(self, payer: str) -> None:
        if self.count >= self._max_subscribers:
            raise RateLimitedError(
                f"this server process has {self._max_subscribers:,} subscriptions to events already; end some, ask "
                "another process, or raise LOOMQL_MAX_SUBSCRIPTIONS"
            )
        if self._of[payer] >= self._max_each:
            raise RateLimitedError(
                f"you have {self._max_each:,} subscriptions to events at this server process already; end some, or "
                "raise LOOMQL_MAX_CALLER_SUBSCRIPTIONS"
            )

    async def wait_until_covered(self, project_id: str) -> None:
        """Wait until whatever happens in a project that is watched is certain to be told.

        Raises:
            UnavailableError: it will not be.
        """
        following = self._following
        while not self._covers(project_id):
            self.check_open()
            if following is not self._following:
                raise UnavailableError("the database gives no stream of events; try again")
            self._news.clear()
            await self._news.wait()

    def check_open(self, after: str | None = None) -> None:
        """See that there are more events to come.

        Raises:
            EndedError: all is closed; it tells to go on after a cursor, if one is given.
        """
        if self._is_closed:
            raise SubscriptionEndedError(STOPPED, after)

    @asynccontextmanager
    async def subscribe(self, question: EventFilter, place: str | None) -> AsyncIterator[Subscriber | None]:
        """A reader of what answers a question after a place, or from now on, in a project that is covered.

        None where the place lies so far back that what came after it is not kept, or is too much.
        """
        since = self._covered.get(question.project_id) or self._all_since or ""
        if place is not None and not (place >= since and self._log.is_near(place)):
            yield None
            return
        channel = self._channel(question)
        if place is not None and place < channel.start:
            self._log.reach_back(channel, place)
        number = channel.end if place is None else channel.number_after(place)
        start = max(self._seen, self._began) if place is None else place
        subscriber = Subscriber(channel, number, start, self.turns, self._cursors)
        try:
            yield subscriber
        finally:
            subscriber.close()
            self._drop(channel)

    async def close(self) -> None:
        """End every subscription with an error, let nobody subscribe any more, and wait until the stream is closed."""
        self._is_closed = True
        self._fail(STOPPED)
        self._news.set()
        if self._following is not None:
            await self._following

    def _covers(self, project_id: str) -> bool:
        return self._all_since is not None or project_id in self._covered

    def _covers_what_is_watched(self) -> bool:
        """Whether the stream tells of all projects that are watched, and of others not for long."""
        if self._all_since is not None:
            return len(self._watchers) > _MOST_NAMED or self._is_fresh
        return self._watchers.keys() <= self._covered.keys() and (
            self._is_fresh or len(self._watchers) == len(self._covered)
        )

    @property
    def _is_fresh(self) -> bool:
        return time.monotonic() < self._opened_at + _KEPT_SECONDS

    def _channel(self, question: EventFilter) -> Channel:
        channels = self._channels.setdefault(question.project_id, {})
        if question.key not in channels:
            channels[question.key] = Channel(question, self._place or "")
        return channels[question.key]

    def _drop(self, channel: Channel) -> None:
        """Let a channel go that nobody reads, unless another has its place."""
        question = channel.question
        channels = self._channels.get(question.project_id, {})
        if not channel.subscribers and channels.get(question.key) is channel:
            del channels[question.key]
            if not channels:
                del self._channels[question.project_id]

    def _all(self) -> Iterator[Channel]:
        return (channel for channels in self._channels.values() for channel in channels.values())

    def _fail(self, reason: str) -> None:
        for channel in self._all():
            channel.fail(reason, self._seen)
        self._channels.clear()

    async def _follow(self) -> None:
        try:
            while self._watchers and not self._is_closed:
                await self._follow_or_pause()
        except Exception:
            logger.exception("the change stream of the calls broke and cannot be resumed")
            self._fail(_BROKEN)
        finally:
            self._following = None
            self._forget()
            self._news.set()

    async def _follow_or_pause(self) -> None:
        """Read changes; what breaks the stream for a while costs nobody anything."""
        try:
            await self._follow_some()
        except PyMongoError as error:
            if not passes(error):
                raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow_some(self) -> None:
        """Read changes of the projects that are watched, until it is others."""
        named = None if len(self._watchers) > _MOST_NAMED else list(self._watchers)
        async with opened(self._calls, named, self._place, anew=self._begins_anew) as stream:
            self._begins_anew = False
            self._cover(named, stream.start)
            while self._watchers and not self._is_closed and self._covers_what_is_watched():
                changes = await stream.read()
                async for change in cooperative(changes):
                    await self._tell(change)
                if not stream.alive:
                    logger.error("the collection of calls was dropped or renamed; its change stream ended")
                    self._fail(_BROKEN)
                    self._forget()
                    self._begins_anew = True
                    return
                self._reach(stream)

    def _cover(self, named: list[str] | None, place: str) -> None:
        if self._place is None:
            self._log.begin(place)
            self._place = self._seen = place
            # What happened at the moment itself is past for those who come now, but not for those who catch up.
            self._began = next_moment(place)
        self._opened_at = time.monotonic()
        known = {each: since for each in named or () if (since := self._covered.get(each) or self._all_since)}
        # Of that moment these have been told what there was up to the place that was reached.
        self._told = dict.fromkeys({*self._covered, *known}, self._place)
        self._told_all = self._place if self._all_since else None
        # What is told of the others, and of those that were named before, is told from here on.
        self._covered = dict.fromkeys(named or (), place) | known
        self._all_since = (self._all_since or place) if named is None else None
        self._news.set()

    def _reach(self, stream: Stream) -> None:
        self._place = max(self._place or "", stream.place)
        if is_between_changes(stream.place):
            self._seen = stream.place

    def _forget(self) -> None:
        self._place, self._seen, self._began, self._covered, self._all_since = None, "", "", {}, None
        self._told, self._told_all = {}, None
        self._log.begin("")

    async def _tell(self, change: Change) -> None:
        event, place = event_of(change, self._cursors), place_of(change)
        if event is not None and not self._was_told(event.call["project_id"], place):
            self._log.add(event, await self._asking_for(event))
            self.lag.observe(age_of(change))
        # Only now, since who comes while a question is answered is to have the event, too.
        self._place = max(self._place or "", place)

    def _was_told(self, project_id: str, place: str) -> bool:
        """Whether an event is one that came before the stream was opened anew, at the moment of the last one."""
        return place <= (self._told.get(project_id) or self._told_all or "")

    async def _asking_for(self, event: CallEvent) -> list[Channel]:
        """The channels whose questions an event answers; those whose questions stumble over it are failed."""
        values, answers = Values(event.call), dict[Channel, bool | None]()
        # Whoever comes while others are answered is to be answered, too.
        while new := [channel for channel in self._channels_of(event) if channel not in answers]:
            if event.is_large:
                answers |= await asyncio.to_thread(_answers, new, event, values)
            else:
                answers |= await _answers_in_turns(new, event, values)
        for channel, answer in answers.items():
            if answer is None:
                channel.fail(_STUMBLED, event.place)
        return [channel for channel, answer in answers.items() if answer]

    def _channels_of(self, event: CallEvent) -> Iterable[Channel]:
        return self._channels.get(event.call["project_id"], {}).values()


@contextmanager
def _counted(counter: Counter[str], name: str) -> Iterator[None]:
    """A block in which there is one more of a name; names of which there is none are not kept."""
    counter[name] += 1
    try:
        yield
    finally:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]


def _answers(channels: Iterable[Channel], event: CallEvent, values: Values) -> dict[Channel, bool | None]:
    """Whether an event answers the question of each; None where a question stumbles over it."""
    return {channel: _answer(channel.question, event, values) for channel in channels}


async def _answers_in_turns(
    channels: Iterable[Channel], event: CallEvent, values: Values
) -> dict[Channel, bool | None]:
    """The same, and whoever else waits for the event loop has a turn in between."""
    turn, answers = TimeSlice(), dict[Channel, bool | None]()
    for channel in channels:
        answers[channel] = _answer(channel.question, event, values)
        if turn.is_used_up():
            await turn.yield_to_loop()
    return answers


def _answer(question: EventFilter, event: CallEvent, values: Values) -> bool | None:
    try:
        return question.matches(event.call, values)
    except Exception:  # whatever one question stumbles over, the others are answered
        logger.exception("a question about the events of calls cannot be answered")
        return None
