"""What was answered survives `kill -9`, of the server, of its mongod, of both at once, in the middle of writes."""

import asyncio
import fcntl
import itertools
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.command import mongod_pid, serving
from tests.app.traffic import CallsClient, DatabaseAwayError, insist, number_of, repeat, running_call, whole_call

KILLS = 3
PROJECT_ID = "acme/durable"
SMALL = {"LOOMQL_MONGOD_CACHE_GB": "0.25"}


class Ledger:
    """What was sent and what was answered, by the numbers of the calls, over every life of the server."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.sent: set[int] = set()
        self.sent_in_parts: set[int] = set()
        self.started: set[int] = set()
        self.ended: set[int] = set()
        self.sent_to_delete: set[int] = set()
        self.deleted: set[int] = set()

    async def write_a_batch(self, client: CallsClient) -> None:
        """Write calls whole, start and end in one request."""
        numbers = self._fresh(40)
        await client.create(numbers)
        self.started |= set(numbers)
        self.ended |= set(numbers)

    async def write_in_parts(self, client: CallsClient) -> None:
        """Write a call as a program does that makes it: the start, then the end."""
        (number,) = self._fresh(1)
        self.sent_in_parts.add(number)
        await client.start(number)
        self.started.add(number)
        await client.end(number)
        self.ended.add(number)

    async def write_and_delete(self, client: CallsClient) -> None:
        """Write calls and delete them."""
        numbers = self._fresh(5)
        await client.create(numbers)
        self.started |= set(numbers)
        self.ended |= set(numbers)
        self.sent_to_delete |= set(numbers)
        await client.delete(numbers)
        self.deleted |= set(numbers)

    async def check(self, client: CallsClient) -> None:
        """Hold what can be read now to what was answered so far."""
        there = {number_of(node): node for node in await client.read(1000)}
        assert self.started - self.sent_to_delete - there.keys() == set()
        assert there.keys() & self.deleted == set()
        assert there.keys() - self.sent == set()
        may_run = self.sent_in_parts - self.ended
        for number, node in there.items():
            assert node == whole_call(number) or (number in may_run and node == running_call(number))

    def _fresh(self, count: int) -> list[int]:
        numbers = list(itertools.islice(self._numbers, count))
        self.sent |= set(numbers)
        return numbers


async def write_until_killed(client: CallsClient, ledger: Ledger, seconds: float, doomed: dict[str, int]) -> None:
    """Let five writers write and kill in their midst; a server that is spared has to write on."""
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for step in [ledger.write_a_batch] * 2 + [ledger.write_in_parts] * 2 + [ledger.write_and_delete]:
            tasks.create_task(repeat(step, client, stopped))
        await ledger.write_a_batch(client)  # so that something is answered, however slow the machine
        await asyncio.sleep(seconds)
        for pid in doomed.values():
            os.kill(pid, signal.SIGKILL)
        if "server" not in doomed:
            await insist(ledger.write_a_batch, client)
        stopped.set()


@contextmanager
def mongod_killed_and_kept_away(data_dir: Path) -> Iterator[None]:
    """Kill mongod and hold its lock, so that each one that is started in its place ends at once."""
    with (data_dir / "db" / "mongod.lock").open("rb") as lock:
        os.kill(mongod_pid(data_dir), signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("victims", [("server",), ("mongod",), ("mongod", "server")], ids=" and ".join)
async def test_every_answered_write_is_there_whole_after_a_kill_and_a_restart(
    victims: tuple[str, ...], data_dir: Path, tmp_path: Path
) -> None:
    moments = random.Random("-".join(victims))  # noqa: S311 - when to kill, no secret
    ledger = Ledger()
    for life in range(KILLS + 1):
        with serving(tmp_path / f"life-{life}", "--data-dir", str(data_dir), **SMALL) as server:
            async with CallsClient(server.url, PROJECT_ID) as client:
                await ledger.check(client)
                if life < KILLS:
                    pids = {"mongod": mongod_pid(data_dir), "server": server.process.pid}
                    doomed = {name: pids[name] for name in victims}
                    await write_until_killed(client, ledger, moments.uniform(0.2, 1.0), doomed)


async def test_without_a_mongod_requests_are_unavailable_within_seconds_and_then_work_again_by_themselves(
    data_dir: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir), **SMALL) as server:
        # Five seconds are promised. The client waits a little longer; that it has to give up would fail the test.
        async with CallsClient(server.url, PROJECT_ID, patience_seconds=8) as client:
            # given
            await client.create([1, 2])
            # when
            with mongod_killed_and_kept_away(data_dir):
                requests = [client.create([3]), client.start(4), client.end(1), client.delete([2]), client.read(10)]
                outcomes = await asyncio.gather(*requests, return_exceptions=True)
            # then
            assert [type(outcome) for outcome in outcomes] == [DatabaseAwayError] * len(requests)
            await insist(lambda client: client.create([5]), client)
            nodes = {number_of(node): node for node in await client.read(10)}
            assert [nodes.get(number) for number in (1, 5)] == [whole_call(1), whole_call(5)]
