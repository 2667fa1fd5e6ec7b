"""Subscribers: readers of a channel at their own pace."""

from time import monotonic
from typing import Final

from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent
from stores.calls.events.event_log import Channel
from stores.concurrency.shared_slices import SharedTimeSlices
from stores.errors import UnavailableError

LAGGED_MESSAGE: Final = (
    "the subscription lagged behind the events kept in memory (LOOMQL_MAX_EVENT_BYTES); subscribe again after this "
    "error's extensions.after, and read faster or select fewer events"
)


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
