"""Subscriptions to events: catch up from the oplog if the client asks for it, then read live events."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from stores.calls.events.change_stream import current_token, read_changes_after
from stores.calls.events.changes import to_event
from stores.calls.events.cursors import Cursors
from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter
from stores.calls.events.fan_out import FanOut
from stores.database import Database
from stores.query.evaluator import DocumentValues

MAX_CATCH_UP_READS: Final = 4
"""Batches of past changes that one process reads concurrently."""


class CallEvents:
    """Event subscriptions of one process."""

    def __init__(self, database: Database, fan_out: FanOut, cursors: Cursors) -> None:
        self._database = database
        self.fan_out = self._fan_out = fan_out
        self._cursors = cursors
        self._catch_up_slots = asyncio.Semaphore(MAX_CATCH_UP_READS)

    async def close(self) -> None:
        """End every subscription with an error that contains its resume cursor."""
        await self._fan_out.close()

    async def cursor(self, project_id: str) -> str:
        """Return the cursor after everything that happened in a project so far."""
        await self._cursors.open()
        return self._cursors.encode(project_id, await self._database.query(current_token(self._database.calls)))

    async def events(
        self, event_filter: EventFilter, after: str | None, quota_key: str = ""
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield the events that pass a filter, once and in order, after a cursor or from now on.

        Conditions of the filter that need a lookup are left to the caller. `quota_key` names the caller whose quota
        counts.

        Raises:
            BadInputError: if the cursor belongs to another project, or if it is older than the oplog.
            RateLimitedError: if there are too many subscriptions.
            UnavailableError: if the database is unreachable or the stream broke, or if the subscriber lags.
        """
        project_id = event_filter.project_id
        await self._cursors.open()
        token = None if after is None else self._cursors.decode(project_id, after)
        async with self._fan_out.watch_project(project_id, quota_key):
            while True:
                await self._database.run(self._fan_out.wait_until_covered(project_id))
                async with self._fan_out.subscribe(event_filter, token) as subscriber:
                    while subscriber:
                        yield await subscriber.next()
                if token is None:
                    raise AssertionError("a subscription without a token is always accepted")
                # Nothing stays open between two batches, however slowly the client reads the first.
                async with self._catch_up_slots:
                    batch = await self._database.query(read_changes_after(self._database.calls, project_id, token))
                for change in batch.changes:
                    await self._fan_out.time_slices.acquire()
                    event = to_event(change, self._cursors)
                    if event and await _matches(event_filter, event):
                        self._fan_out.check_open(self._cursors.encode(project_id, token))
                        yield event
                        token = event.token
                token = batch.token


async def _matches(event_filter: EventFilter, event: CallEvent) -> bool:
    values = DocumentValues(event.call)
    if event.is_large:
        return await asyncio.to_thread(event_filter.matches, event.call, values)
    return event_filter.matches(event.call, values)
