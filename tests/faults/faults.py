"""The faults: functions that cause and undo them, and their names in the documentation's table."""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.app.command import mongod_pid
from tests.faults.mongods import ReplicaSet
from tests.faults.serving import Serving
from tests.faults.toxic_proxy import Toxic, ToxicProxy

_WRITES: Final = ["insert", "update", "delete", "findAndModify", "commitTransaction"]
_READS: Final = ["find", "aggregate", "count", "getMore"]
_SHUTDOWN: Final = 91
_NOT_PRIMARY: Final = 10107
_STEPPED_DOWN: Final = 189
_INTERRUPTED: Final = 11602
_DISK_FULL: Final = 14031
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Fault:
    """One fault: its name, the function that causes it, and its duration in the test run and at full length."""

    name: str
    do: Callable[..., AbstractAsyncContextManager[object]]
    short_seconds: float
    full_seconds: float
    server_may_go: bool = False
    is_short: bool = True
    """True if the test run includes the fault; a run at full length includes all faults."""

    def __str__(self) -> str:
        return self.name


@asynccontextmanager
async def in_turn(faults: Sequence[Fault], target: object) -> AsyncIterator[None]:
    """Cause the faults one after the other, each for its short duration."""
    for fault in faults:
        async with fault.do(target):
            await asyncio.sleep(fault.short_seconds)
    yield


@asynccontextmanager
async def _step_down(members: ReplicaSet) -> AsyncIterator[None]:
    await asyncio.to_thread(members.step_down)
    yield
    await asyncio.to_thread(members.wait_until_whole)


@asynccontextmanager
async def _lose_the_primary(members: ReplicaSet) -> AsyncIterator[None]:
    primary = await asyncio.to_thread(members.primary)
    primary.kill()
    yield
    primary.start()
    await asyncio.to_thread(members.wait_until_whole)


@asynccontextmanager
async def _lose_a_secondary(members: ReplicaSet) -> AsyncIterator[None]:
    lost = (await asyncio.to_thread(members.secondaries))[0]
    lost.kill()
    yield
    lost.start()
    await asyncio.to_thread(members.wait_until_whole)


@asynccontextmanager
async def _lose_the_majority(members: ReplicaSet) -> AsyncIterator[None]:
    lost = await asyncio.to_thread(members.secondaries)
    for member in lost:
        member.kill()
    yield
    for member in lost:
        member.start()
    await asyncio.to_thread(members.wait_until_whole)


@asynccontextmanager
async def _halt_the_primary(members: ReplicaSet) -> AsyncIterator[None]:
    primary = await asyncio.to_thread(members.primary)
    primary.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        primary.signal(signal.SIGCONT)
    await asyncio.to_thread(members.wait_until_whole)


@asynccontextmanager
async def _lose_a_primary_that_is_alone(members: ReplicaSet) -> AsyncIterator[None]:
    """Stop replication to the secondaries, then kill the primary, and restart it once another member is the primary.

    The replica set rolls back writes that only the old primary acknowledged.
    """
    primary = await asyncio.to_thread(members.primary)
    with ExitStack() as halted:
        for member in await asyncio.to_thread(members.secondaries):
            halted.enter_context(member.replication_stopped())
        yield
        primary.kill()
    await asyncio.to_thread(members.primary)
    primary.start()
    await asyncio.to_thread(members.wait_until_whole)


def _failing(commands: list[str], **how: Any) -> Callable[[ReplicaSet], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def fail(members: ReplicaSet) -> AsyncIterator[None]:
        primary = await asyncio.to_thread(members.primary)
        with primary.failing(commands, **how):
            yield

    return fail


def _slow(
    commands: list[str], milliseconds: int, **how: Any
) -> Callable[[ReplicaSet], AbstractAsyncContextManager[None]]:
    return _failing(commands, blockConnection=True, blockTimeMS=milliseconds, **how)


def _unconfirmed(code: int) -> dict[str, object]:
    return {"writeConcernError": {"code": code, "errmsg": "told by a fault"}}


LOSSES: Final = (
    Fault("the primary steps down", _step_down, 0.5, 10),
    Fault("kill -9 of the primary, which restarts", _lose_the_primary, 2, 20, is_short=False),
    Fault("kill -9 of a primary whose writes no other member has", _lose_a_primary_that_is_alone, 1, 5),
    Fault("kill -9 of a secondary, which restarts", _lose_a_secondary, 1, 20),
    Fault("kill -9 of two of three members, which restart", _lose_the_majority, 3, 30, is_short=False),
    Fault("SIGSTOP of the primary", _halt_the_primary, 4, 20, is_short=False),
)
REFUSALS: Final = (
    Fault("MongoDB closes the connection at each write", _failing(_WRITES, closeConnection=True), 0.5, 5),
    Fault("MongoDB closes the connection at each read", _failing(_READS, closeConnection=True), 0.5, 5),
    Fault("MongoDB refuses writes: shutting down", _failing(_WRITES, errorCode=_SHUTDOWN), 0.5, 5),
    Fault("MongoDB refuses reads: not the primary", _failing(_READS, errorCode=_NOT_PRIMARY), 0.5, 5),
    Fault(
        "MongoDB does not confirm writes: stepped down",
        _failing(_WRITES[:4], **_unconfirmed(_STEPPED_DOWN)),
        0.5,
        5,
    ),
    Fault(
        "MongoDB does not confirm writes: shutting down",
        _failing(_WRITES, **_unconfirmed(_SHUTDOWN)),
        0.5,
        5,
    ),
    Fault("MongoDB interrupts writes", _failing(_WRITES, errorCode=_INTERRUPTED), 0.5, 5),
    Fault("MongoDB refuses writes: disk full", _failing(_WRITES, errorCode=_DISK_FULL), 0.5, 5),
    Fault(
        "reads of calls take longer than LOOMQL_QUERY_TIMEOUT_SECONDS",
        _slow(_READS, 2_500, namespace="loomql.calls"),
        3,
        20,
    ),
    Fault("writes are slow", _slow(_WRITES, 700), 1.5, 20),
)
ON_REPLICA_SETS: Final = (*LOSSES, *REFUSALS)


def _toxic(toxic: Toxic) -> Callable[[ToxicProxy], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def do(proxy: ToxicProxy) -> AsyncIterator[None]:
        with proxy.doing(toxic):
            yield

    return do


ON_THE_WIRE: Final = (
    Fault("connections to MongoDB drop, and new ones are refused", _toxic(Toxic(drops=True)), 1, 20),
    Fault("connections are reset during answers", _toxic(Toxic(resets_after_bytes=4_000)), 1, 20),
    Fault("answers are 0.3 s late", _toxic(Toxic(delay_seconds=0.3)), 1, 20, is_short=False),
    Fault("answers come at 20 kB/s", _toxic(Toxic(bytes_per_second=20_000)), 1, 20, is_short=False),
    Fault("connections are half open: no bytes pass, no connection ends", _toxic(Toxic(is_half_open=True)), 4, 20),
)


def _ended(number: signal.Signals) -> Callable[[Serving], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def end(server: Serving) -> AsyncIterator[None]:
        await asyncio.to_thread(server.end, number)
        yield
        server.start()
        await asyncio.to_thread(server.wait_until_up)

    return end


OF_SERVERS: Final = (
    Fault("kill -9 of the server", _ended(signal.SIGKILL), 0, 5, server_may_go=True),
    Fault("SIGTERM to the server", _ended(signal.SIGTERM), 0, 5, server_may_go=True),
)


@dataclass(frozen=True)
class Alone:
    """A server with an embedded mongod, whose data folder is on a file system of its own."""

    server: Serving
    data_dir: Path

    @property
    def mongod_pid(self) -> int:
        """The process id of mongod."""
        return mongod_pid(self.data_dir)


@asynccontextmanager
async def _kill_mongod(alone: Alone) -> AsyncIterator[None]:
    os.kill(alone.mongod_pid, signal.SIGKILL)
    yield


@asynccontextmanager
async def _keep_mongod_away(alone: Alone) -> AsyncIterator[None]:
    """Kill mongod and hold its lock file, so that each mongod that the server starts instead exits at once."""
    with (alone.data_dir / "db" / "mongod.lock").open("rb") as lock:
        os.kill(alone.mongod_pid, signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def _halt_mongod(alone: Alone) -> AsyncIterator[None]:
    pid = alone.mongod_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def _fill_the_disk(alone: Alone) -> AsyncIterator[None]:
    stopped = asyncio.Event()
    filling = asyncio.create_task(_fill(alone.data_dir / "filler", stopped))
    try:
        yield
    finally:
        stopped.set()
        await filling


async def _fill(filler: Path, stopped: asyncio.Event) -> None:
    """Fill the free space of a disk, again whenever some becomes free; delete the file when stopped."""
    with filler.open("wb") as file:
        while not stopped.is_set():
            disk = os.statvfs(filler)
            if free := disk.f_bavail * disk.f_frsize:
                with suppress(OSError):  # mongod took the space first; the next loop takes the rest
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free)
            await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.to_thread(filler.unlink)


@asynccontextmanager
async def _kill_both(alone: Alone) -> AsyncIterator[None]:
    os.kill(alone.mongod_pid, signal.SIGKILL)
    await asyncio.to_thread(alone.server.end, signal.SIGKILL)
    yield
    alone.server.start()
    await asyncio.to_thread(alone.server.wait_until_up)


OF_A_SINGLE_MONGOD: Final = (
    Fault("kill -9 of a single mongod", _kill_mongod, 0, 5, is_short=False),
    Fault("kill -9 of a single mongod that restarts late", _keep_mongod_away, 4, 20, is_short=False),
    Fault("SIGSTOP of a single mongod", _halt_mongod, 4, 20),
    Fault("the disk is full", _fill_the_disk, 1.5, 20),
    Fault("kill -9 of a single mongod and of the server", _kill_both, 0, 5, server_may_go=True),
)
