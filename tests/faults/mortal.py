"""Processes that work on a database, without HTTP, and that die between two commands to MongoDB.

`python -m tests.faults.mortal URI DATABASE CHANGES OF WORK ...` kills itself when it has changed the database CHANGES
times and is about to do so again: by a write to the collection OF or, if that is `-`, to any; by the end of a
transaction; or by dropping an index. Marks expire soon, and two hours of a day are enough to merge their terms.
"""

import asyncio
import logging
import math
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any, Final

from bson import Binary
from bson.binary import UUID_SUBTYPE
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from app.background import MaintenanceJobs
from app.server.health import Readiness
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.database import Database
from stores.hours import HOUR
from stores.migrations.calls_backfill import CallsBackfill
from stores.rollups.settling import Settling
from stores.terms import segments
from stores.timings import DEFAULT_TIMINGS
from tests import forking
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.waiting import until_found

MARK_SECONDS: Final = 0.05

_PAUSE_SECONDS: Final = 0.1
_WRITES: Final = {"insert", "update", "delete", "findAndModify"}
_ANY: Final = "-"
_SESSION: Final = "session "
_TIMEOUT_SECONDS: Final = 60.0


class Mortal:
    """A process of this module, as its parent sees it."""

    def __init__(self, process: forking.ForkedProcess, output: IO[bytes], database: Database) -> None:
        self._process, self._output, self._database = process, output, database

    async def end_at(self, is_done: Callable[[], Awaitable[bool]] | None = None) -> bool:
        """Wait for the end of the process, or kill it once the work is done; return True if it killed itself.

        No operation of the process continues.
        """

        async def is_over() -> bool:
            return self._process.poll() is not None or bool(is_done and await is_done())

        await until_found(is_over)
        is_alive = self._process.poll() is None
        self._process.kill()
        code = self._process.wait(_TIMEOUT_SECONDS)
        printed = self.printed().splitlines()
        assert code in {0, -signal.SIGKILL}, "\n".join(printed)
        sessions = [line.removeprefix(_SESSION) for line in printed if line.startswith(_SESSION)]
        if sessions:  # MongoDB would end their transactions a minute later, and LoomQL once they block another one
            keys = [{"id": Binary(bytes.fromhex(session), UUID_SUBTYPE)} for session in sessions]
            await self._database.calls.database.client.admin.command("killSessions", keys)
        await until_quiet(self._database)
        return code != 0 and not is_alive

    def printed(self) -> str:
        """Return what the process has printed and logged."""
        self._output.seek(0)
        return self._output.read().decode()


@contextmanager
def mortal(uri: str, database: Database, *work: object, changes: float = math.inf, of: str = _ANY) -> Iterator[Mortal]:
    """Start a process that dies when it has made some changes, or at the end of the block."""
    arguments = [uri, database.calls.database.name, *map(str, (changes, of, *work))]
    with tempfile.TemporaryFile() as output:
        process = forking.start(__name__, arguments, os.environ, output, output)
        try:
            yield Mortal(process, output, database)
        finally:
            process.kill()
            process.wait(_TIMEOUT_SECONDS)


async def until_quiet(database: Database) -> None:
    """Wait until MongoDB has ended the operations of killed processes on a database."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {}},
        {"$match": {"active": True, "ns": {"$regex": f"^{database.calls.database.name}[.]"}}},
    ]

    async def is_quiet() -> bool:
        return not await database.calls.database.client.admin.aggregate(stages).to_list(None)

    await until_found(is_quiet)


class _Death(CommandListener):
    """Kills this process, and prints the sessions of its transactions first."""

    def __init__(self, changes: float, of: str) -> None:
        self._left = changes
        self._of = of
        self._lock = threading.Lock()
        self._sessions: set[str] = set()

    def started(self, event: CommandStartedEvent) -> None:
        with self._lock:
            if event.command.get("startTransaction"):
                self._sessions.add(event.command["lsid"]["id"].hex())
            if not self._is_change(event):
                return
            if self._left <= 0:
                sys.stdout.writelines(f"{_SESSION}{session}\n" for session in self._sessions)
                sys.stdout.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1

    def _is_change(self, event: CommandStartedEvent) -> bool:
        if event.command_name not in _WRITES:
            return event.command_name in {"commitTransaction", "dropIndexes"}
        is_part = "autocommit" in event.command  # of a transaction
        return not is_part and self._of in {_ANY, event.command[event.command_name]}

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Ignore it."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Ignore it."""


async def change(database: Database, number: str) -> None:
    """Change calls of two hours, and settle them."""
    settling, calls, at = Settling(database), CallsStore(database), int(number)
    await settling._clock.is_steady()  # from now on the process watches MongoDB's clock
    child = {"parent_id": call_id(0), "trace_id": trace_id(0), "started_at": NOON + HOUR + at}
    await calls.write(
        [
            start(1_000 + at, started_at=NOON + at),
            end(1_000 + at, exception="no"),
            start(2_000 + at, **child),
            end(2_000 + at, summary={"usage": {"loom": {"prompt_tokens": 1}}}),
            end(3_000 + at),
        ]
    )
    await calls.delete(PROJECT, [call_id(4_000 + at)])
    await asyncio.sleep(1.2 * MARK_SECONDS)
    await settle(database, settling)


async def settle(database: Database, settling: Settling | None = None) -> None:
    """Settle all hours and days."""
    settling = settling or Settling(database)
    while await database.hour_marks.count_documents({"live_until": {"$exists": True}}):
        await settling.work(PROJECT, pause=0)
        await asyncio.sleep(0.01)


async def work(database: Database) -> None:
    """Settle what is due, forever."""
    settling = Settling(database)
    while True:
        for project_id in await settling.due():
            await settling.work(project_id, pause=0)


async def maintain(database: Database, step: str) -> None:
    """Prepare the database, with `step` calls at a time, and run the jobs of a server forever."""
    readiness = Readiness(database, 3)
    readiness.upgrading._backfill = CallsBackfill(database, int(step))
    await asyncio.gather(readiness.prepare(), MaintenanceJobs(database, Stores(database), _PAUSE_SECONDS).run())


_WORKS: Final[dict[str, Callable[..., Awaitable[None]]]] = {each.__name__: each for each in (change, work, maintain)}


async def _run(uri: str, name: str, changes: str, of: str, work: str, *arguments: Any) -> None:
    timings = replace(DEFAULT_TIMINGS, mark_seconds=MARK_SECONDS, registry_lag_seconds=0, write_margin_seconds=0)
    database = Database.open(uri, name, listeners=[_Death(float(changes), of)], timings=timings)
    await _WORKS[work](database, *arguments)


if __name__ == "__main__":
    segments.MIN_MERGED = 2  # type: ignore[misc]
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_run(*sys.argv[1:]))
