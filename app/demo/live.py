"""Conversations that the demo's assistant has while the server runs, each step stored when it happens."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from random import Random
from typing import Final

from app import demo
from app.background import Job, JobStats
from app.demo.library import Library
from app.demo.simulation import DAY, DAYS, Span, World
from app.demo.traces import Conversation
from graphql_schema.context import Stores
from stores import times
from stores.calls import CallEnd, CallStart
from stores.database.leases import Lease
from stores.retention import Rule
from stores.times import SECOND

MAX_AGE: Final = DAY
"""Age in microseconds from which the demo is loaded again, so that its two weeks end in the present."""

KEEP_DAYS: Final = DAYS + MAX_AGE // DAY + 1
"""Days of calls that the demo's retention keeps: loaded calls are younger."""

_PAUSE_SECONDS: Final = (30, 60)
"""Shortest and longest pause between two turns. A turn has some eight calls."""

_LOOK_SECONDS: Final = 10.0
"""Pause of a process that does not write, before it looks again for work."""


async def write_live_calls(stores: Stores, stats: JobStats) -> None:
    """Write the calls in one process per database until cancelled, while the demo exists."""
    live = LiveDemo(stores)
    lease = Lease(stores.calls.database, stores.calls.database.leases, {"_id": "demo"})
    await Job("demo", live.find_due, live.talk, stats, lease).run(partial(asyncio.sleep, _LOOK_SECONDS))


class LiveDemo:
    """The live conversations of a project with the demo.

    Args:
        stores: the stores to write to.
        project_id: the project.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        stores: Stores,
        project_id: str = demo.PROJECT_ID,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._stores = stores
        self._project_id = project_id
        self._sleep = sleep
        self._last_call: str | None = None

    async def find_due(self) -> Sequence[str]:
        """Return the project if the demo is in it: if the last call of its load exists."""
        if self._last_call is None:
            self._last_call = str((await asyncio.to_thread(demo.last_part, self._project_id, times.now())).id)
        return [self._project_id] if await self._stores.calls.one(self._project_id, self._last_call, []) else []

    async def talk(self, project_id: str) -> None:
        """Have one conversation after the other, until the demo is deleted.

        A retention rule keeps the project small; one that a user has set stays.
        """
        retention = await self._stores.retention.one(project_id)
        if retention and not retention.rule:
            await self._stores.retention.set_rule(project_id, Rule(keep_days=KEEP_DAYS))
        rng, library = Random(), Library(project_id)  # noqa: S311 -- demo data, not a secret
        loaded_at = await demo.loaded_at(self._stores.calls, project_id)
        while loaded_at is not None:
            if times.now() - loaded_at > MAX_AGE:
                loaded_at = times.now()
                await demo.load(self._stores, project_id, lambda _done, _total: None, now=loaded_at)
            conversation = Conversation(World(library, rng, times.now()))
            for exchange in conversation.exchanges(rng.randint(1, 4)):
                if not await self._play(conversation.turn(exchange, times.now())):
                    return
                await self._sleep(rng.uniform(*_PAUSE_SECONDS))

    async def _play(self, turn: Span) -> bool:
        """Write each start and end at its time; return False if the demo is deleted meanwhile."""
        rest = sorted((part for span in turn.walk() for part in span.parts()), key=itemgetter(0))
        begun = set[str | None]()
        try:
            while rest:
                at, part = rest[0]
                await self._sleep(max(0.0, (at - times.now()) / SECOND))
                # Otherwise the part would create a project that was deleted.
                if not await self.find_due():
                    return False
                if isinstance(part, CallStart):
                    begun.add(part.id)
                await self._stores.calls.write([part])
                del rest[0]
        except asyncio.CancelledError:
            # The server stops: end the calls that have started, which otherwise would run for ever.
            ends = [part for _, part in rest if isinstance(part, CallEnd) and part.id in begun]
            await self._stores.calls.write([replace(end, ended_at=times.now()) for end in ends])
            raise
        return True
