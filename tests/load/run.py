"""A run of mixed load: clients of all kinds use one server at once, each as fast as the server answers."""

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from pymongo import MongoClient

from tests.fuzz.watching import Seen, Watch
from tests.load import steps
from tests.load.counting import CountedServer
from tests.load.state import Looker, State
from tests.load.steps import CREATE, STOCK, Client, Step, StepError, call_parts
from tests.load.watchers import Watcher
from tests.waiting import TIMEOUT

_CLIENTS: Final[tuple[tuple[Step, int], ...]] = (
    (steps.batch, 1),
    (steps.start_and_end, 2),
    (steps.tables, 1),
    (steps.feedback, 1),
    (steps.files, 1),
    (steps.spans, 1),
    (steps.newest, 1),
    (steps.queried, 1),
    (steps.aggregated, 1),
    (steps.threads, 1),
    (steps.graph, 1),
    (steps.search, 1),
    (steps.exported, 1),
)
_WATCHERS: Final = 3
_STOCK_CALLS: Final = 1500
_SHOWN_ERRORS: Final = 20


@dataclass
class Outcome:
    """The results of a run; `steps` has the start and the duration of each step, by name."""

    seconds: float
    before: State
    after: State
    seen: list[Seen] = field(default_factory=list)
    steps: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    events: int = 0


class Run:
    """A run of some seconds on a server."""

    def __init__(self, server: CountedServer, uri: str, seconds: float) -> None:
        self.url = server.url
        self.seconds = seconds
        self._stopped = asyncio.Event()
        self._watch = Watch(server.url, server.process.pid)
        self._mongodb: MongoClient[dict[str, Any]] = MongoClient(uri)
        self._looker = Looker(self._watch, server.tasks_file, self._mongodb)
        self._steps: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._errors: list[str] = []

    async def go(self) -> Outcome:
        """Run the load and return the results.

        The run first creates the stock and runs every step once. It looks at the server before the load, and again when
        the server is idle. The load begins when each watcher has had an event, however slow the machine.
        """
        await _stock(self.url)
        await asyncio.gather(*(self._once(step) for step, _count in _CLIENTS))
        before = await self._looker.look()
        watching = asyncio.create_task(self._watch.go_on())
        watchers = [Watcher(self.url) for _ in range(_WATCHERS)]
        watched = [asyncio.create_task(self._watched(watcher)) for watcher in watchers]
        async with asyncio.timeout(TIMEOUT):
            while not all(watcher.events for watcher in watchers):
                await self._once(steps.batch)
        work = [self._repeat(step, number) for step, count in _CLIENTS for number in range(count)]
        asyncio.get_running_loop().call_later(self.seconds, self._stopped.set)
        self._began = time.monotonic()
        await asyncio.gather(*work, *watched)
        took = time.monotonic() - self._began
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        seen = list(self._watch.seen)
        after = await self._looker.settled(before)
        self._mongodb.close()
        events = min(watcher.events for watcher in watchers)
        return Outcome(took, before, after, seen, self._steps, self._errors, events)

    async def _once(self, step: Step) -> None:
        client = Client(self.url, step.__name__)
        await step(client)
        await client.wire.close()

    async def _repeat(self, step: Step, number: int) -> None:
        client = Client(self.url, f"{step.__name__} {number}")
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                await step(client)
            except (StepError, TimeoutError, OSError) as error:
                self._fail(f"{step.__name__}: {error!r}")
            self._steps[step.__name__].append((began - self._began, time.monotonic() - began))
        await client.wire.close()

    async def _watched(self, watcher: Watcher) -> None:
        try:
            await watcher.watch(self._stopped)
        except (StepError, OSError) as error:
            self._fail(f"watcher: {error!r}")

    def _fail(self, message: str) -> None:
        self._errors.append(message if len(self._errors) < _SHOWN_ERRORS else "")


async def _stock(url: str) -> None:
    client = Client(url, "stock")
    for first in range(0, _STOCK_CALLS, 100):
        parts = []
        for number in range(first, first + 100):
            name, trace = str(UUID(int=number + 1)), str(UUID(int=number // 10 + 1))
            parts += call_parts(STOCK, number, name, trace)
        await client.ask(CREATE, batch=parts)
    await client.wire.close()
