"""Subscriptions to events: catch up from the oplog if the client asks for it, then read live events."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from stores.calls.events.change_stream import present, read_changes_after
from stores.calls.events.changes import event_of
from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter
from stores.calls.events.fan_out import FanOut
from stores.database import Database
from stores.query.evaluator import DocumentValues

MAX_CATCHING_UP: Final = 4
"""Batches of past changes that one process reads concurrently."""


class CallEvents:
    """Event subscriptions of one process."""

    def __init__(self, database: Database, fan_out: FanOut, cursors: Cursors) -> None:
        self._database = database
        self.fan_out = self._fan_out = fan_out
        self._cursors = cursors
        self._turns = asyncio.Semaphore(MAX_CATCHING_UP)

    async def close(self) -> None:
        """End every subscription with an error that contains its resume cursor."""
        await self._fan_out.close()

    async def cursor(self, project_id: str) -> str:
        """Return the cursor after everything that happened in a project so far."""
        await self._cursors.open()
        return self._cursors.cursor_of(project_id, await self._database.query(present(self._database.calls)))

    async def events(
        self, question: EventFilter, after: str | None, payer: str = ""
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield the events that pass a filter, once and in order, after a cursor or from now on.

        Conditions of the filter that need a lookup are left to the caller. `quota_key` names the caller whose quota
        counts.

        Raises:
            BadInputError: if the cursor belongs to another project, or if it is older than the oplog.
            RateLimitedError: if there are too many subscriptions.
            UnavailableError: if the database is unreachable or the stream broke, or if the subscriber lags.
        """
        project_id = question.project_id
        await self._cursors.open()
        place = None if after is None else self._cursors.place_at(project_id, after)
        async with self._fan_out.watch_project(project_id, payer):
            while True:
                await self._database.run(self._fan_out.wait_until_covered(project_id))
                async with self._fan_out.subscribe(question, place) as subscriber:
                    while subscriber:
                        yield await subscriber.next()
                if place is None:
                    raise AssertionError("whoever asks for nothing of the past can always join")
                # Nothing stays open between two batches, however slowly the client reads the first.
                async with self._turns:
                    stretch = await self._database.query(read_changes_after(self._database.calls, project_id, place))
                for change in stretch.changes:
                    await self._fan_out.turns.acquire()
                    event = event_of(change, self._cursors)
                    if event and await _holds(question, event):
                        self._fan_out.check_open(self._cursors.cursor_of(project_id, place))
                        yield event
                        place = event.place
                place = stretch.place


async def _holds(question: EventFilter, event: CallEvent) -> bool:
    values = DocumentValues(event.call)
    if event.is_large:
        return await asyncio.to_thread(question.matches, event.call, values)
    return question.matches(event.call, values)
