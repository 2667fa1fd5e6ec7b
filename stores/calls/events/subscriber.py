"""Subscribers: who reads a channel, from a place on, at their own pace."""

from time import monotonic
from typing import Final

from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent
from stores.calls.events.event_log import Channel
from stores.concurrency.shared_slices import SharedTimeSlices
from stores.errors import UnavailableError

LAGGED: Final = (
    "the subscription lagged behind the events that are kept for it (LOOMQL_MAX_EVENT_BYTES); subscribe again with "
    "this error's extensions.after as after, and read faster or ask for less"
)


class SubscriptionEndedError(UnavailableError):
    """A subscription ends before whoever made it has enough; `after` goes on with the next event."""

    def __init__(self, message: str, after: str | None = None) -> None:
        super().__init__(message)
        self.after = after

    @property
    def details(self) -> dict[str, str]:
        """Where to resume, if that is known."""
        return {"after": self.after} if self.after else {}


class Subscriber:
    """One reader of a channel; it holds its place there, and no events."""

    def __init__(self, channel: Channel, number: int, place: str, turns: SharedTimeSlices, cursors: Cursors) -> None:
        self._channel = channel
        self._turns = turns
        self._cursors = cursors
        self._until = 0.0
        self._number = number
        self._place = place
        channel.subscribers += 1

    async def next(self) -> CallEvent:
        """The next event, as soon as there is one.

        Raises:
            EndedError: there will be none: the reader lagged, the stream broke, or the server stops.
        """
        while True:
            if self._number < self._channel.end and monotonic() > self._until:
                self._until = await self._turns.acquire()
            event = self._kept()
            if event is None:
                self._check()
                self._channel.news.clear()
                await self._channel.news.wait()
            elif event.place > self._place:
                self._place = event.place
                return event

    def close(self) -> None:
        """Read no more."""
        self._channel.subscribers -= 1

    def _kept(self) -> CallEvent | None:
        if self._number < self._channel.first:
            raise SubscriptionEndedError(LAGGED, self._cursor)
        if self._number == self._channel.end:
            return None
        event = self._channel.at(self._number)
        self._number += 1
        return event

    def _check(self) -> None:
        if self._channel.failure is not None:
            # All of it was read, so that what was seen of other calls since need not be looked through again.
            self._place = max(self._place, self._channel.seen)
            raise SubscriptionEndedError(self._channel.failure, self._cursor)

    @property
    def _cursor(self) -> str:
        return self._cursors.cursor_of(self._channel.question.project_id, self._place)
