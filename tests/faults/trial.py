"""Runs of writers while a fault happens, and the result for the table."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from time import monotonic

from stores.database import Database
from stores.files import FilesStore
from stores.tables import TablesStore
from tests.faults.client import TIMEOUT_SECONDS, FaultsClient
from tests.faults.evaluations import Evaluations, EvaluationsWriter
from tests.faults.faults import Fault
from tests.faults.invariant import broken
from tests.faults.serving import Serving
from tests.faults.surplus import surplus
from tests.faults.writers import MORE_WRITERS, WRITERS, Writer
from tests.waiting import DATABASE_TIMEOUT, until

_projects = itertools.count(1)


@dataclass(frozen=True)
class Row:
    """The result of one fault."""

    fault: str
    seconds: float
    seen: Counter[str]
    """Number of acknowledged requests, of errors by code, and of lost connections."""
    wrong: Counter[str]
    """Number of answers that no client should get, by description."""
    longest_seconds: float
    lost: list[str]

    def check(self) -> None:
        """Assert that clients saw no wrong answer and that no data is lost."""
        assert not self.wrong, self.wrong
        assert not self.lost, self.lost
        assert self.seen.keys() <= {"acknowledged", "UNAVAILABLE", "TIMEOUT", "connection lost"}, self.seen


class Trial:
    """One server on one MongoDB. `uri` reaches that MongoDB directly."""

    def __init__(self, server: Serving, uri: str, evaluations: Evaluations | None = None) -> None:
        self.server = server
        self.uri = uri
        self.evaluations = evaluations

    async def run(
        self,
        fault: str,
        done: Callable[[], AbstractAsyncContextManager[object]],
        seconds: float,
        *,
        server_may_go: bool = False,
        is_full: bool = False,
    ) -> Row:
        """Run the writers and cause a fault for some seconds.

        Each writer must complete a step before the fault and another after it. With `is_full`, the writers that are too
        slow for the test run write, too.
        """
        client = FaultsClient(self.server.url, f"acme/fault-{next(_projects)}")
        writers = [make(client) for make in (*WRITERS, *(MORE_WRITERS if is_full else ()))]
        if self.evaluations:
            writers.append(EvaluationsWriter(client, self.evaluations))
        stopped = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                for writer in writers:
                    tasks.create_task(writer.write(stopped))
                await all_step(writers)
                client.server_may_go = server_may_go
                async with done():
                    await asyncio.sleep(seconds)
                await all_step(writers)
                stopped.set()
            client.server_may_go = False
            seen, longest = client.seen.copy(), client.longest_seconds
            client.retry_until = monotonic() + TIMEOUT_SECONDS
            lost = [sentence for writer in writers async for sentence in writer.lost()]
            lost += await self.broken(client)
            lost += surplus(self.uri, client.project_id, writers)
            return Row(fault, seconds, seen, client.wrong, longest, lost)
        finally:
            stopped.set()
            await client.close()

    async def short(self, fault: Fault, target: object) -> Row:
        """Cause a fault for its duration in the test run."""
        done = partial(fault.do, target)
        return await self.run(fault.name, done, fault.short_seconds, server_may_go=fault.server_may_go)

    async def lost_evaluations(self) -> list[str]:
        """Return the losses among started evaluation runs once all have ended.

        Runs of a killed server resume only after a while.
        """
        if self.evaluations is None:
            return []
        lost = await self.evaluations.lost()
        client = FaultsClient(self.server.url, self.evaluations.project_id)
        client.retry_until = monotonic() + TIMEOUT_SECONDS
        try:
            return [*lost, *await broken(self.uri, client)]
        finally:
            await client.close()

    async def broken(self, client: FaultsClient) -> list[str]:
        """Return the broken invariants before and after a sweep of interrupted uploads."""
        before = await broken(self.uri, client)
        database = Database.open(self.uri, "loomql", timeout_seconds=DATABASE_TIMEOUT)
        await FilesStore(database).sweep(silent_seconds=0)
        await TablesStore(database).sweep(silent_seconds=0)
        left = await database.file_uploads.count_documents({}) + await database.table_uploads.count_documents({})
        database.close()
        after = [sentence for sentence in await broken(self.uri, client) if sentence not in before]
        return [*before, *after, *([f"{left} uploads are left after a sweep"] if left else [])]


async def all_step(writers: Sequence[Writer]) -> None:
    """Wait until each writer has completed another step."""
    before = [writer.steps for writer in writers]
    await until(lambda: all(writer.steps > steps for writer, steps in zip(writers, before, strict=True)))
