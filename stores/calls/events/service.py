"""Watching one question's events: caught up with first, where that is asked for, and then told as they happen."""

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
from stores.query.evaluator import Values

MAX_CATCHING_UP: Final = 4
"""Stretches of the past that one process reads at once."""


class CallEvents:
    """The events of calls, for one process."""

    def __init__(self, database: Database, fan_out: FanOut, cursors: Cursors) -> None:
        self._database = database
        self.fan_out = self._fan_out = fan_out
        self._cursors = cursors
        self._turns = asyncio.Semaphore(MAX_CATCHING_UP)

    async def close(self) -> None:
        """End every subscription with an error that says where to resume."""
        await self._fan_out.close()

    async def cursor(self, project_id: str) -> str:
        """The cursor of the place after all that happened in a project so far."""
        await self._cursors.open()
        return self._cursors.cursor_of(project_id, await self._database.query(present(self._database.calls)))

    async def events(
        self, question: EventFilter, after: str | None, payer: str = ""
    ) -> AsyncGenerator[CallEvent, None]:
        """The events that answer a question, each once and in order: those after a cursor, or from now on.

        What a question looks up is left to do. They are told on the account of a payer.

        Raises:
            BadInputError: the cursor is none of the project's events, or lies too far back.
            RateLimitedError: too many watch already.
            UnavailableError: the database is away or went away for good, or whoever asks for the events lags.
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
                # Nothing is held between two stretches, however slowly the first is read.
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
    values = Values(event.call)
    if event.is_large:
        return await asyncio.to_thread(question.matches, event.call, values)
    return question.matches(event.call, values)
