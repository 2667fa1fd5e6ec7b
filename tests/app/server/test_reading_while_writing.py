"""Tests that pages contain each call once while another client writes and deletes."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from tests.app.calls_client import CallsClient, number_of, repeat, whole_call
from tests.app.command import Server, serving
from tests.chance import cases

COUNT = cases(4_000)
BATCH = 250
PAGE = 100
WRITERS = 4
PROJECT_ID = "acme/busy"

OURS = range(0, 2 * COUNT, 2)
"""Even numbers, so that the bystander's odd numbers fall between them on every page."""


class Bystander:
    """A second client that writes calls throughout the project and deletes three quarters of them."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.deleted: set[int] = set()
        self._numbers = random.Random(7).sample(range(1, 20 * COUNT, 2), 10 * COUNT)

    async def step(self, client: CallsClient) -> None:
        """Write twenty calls and delete fifteen of them."""
        fresh, self._numbers = self._numbers[:20], self._numbers[20:]
        await client.create(fresh)
        self.written += fresh
        assert await client.delete(fresh[:15]) == 15
        self.deleted |= set(fresh[:15])
        await asyncio.sleep(0.02)  # leaves the two slow cores of a small machine to the others


@asynccontextmanager
async def bystander_at_work(server: Server) -> AsyncIterator[Bystander]:
    stopped = asyncio.Event()
    async with CallsClient(server.url, PROJECT_ID) as client, asyncio.TaskGroup() as tasks:
        bystander = Bystander()
        tasks.create_task(repeat(bystander.step, client, stopped))
        yield bystander
        stopped.set()


async def write_ours(client: CallsClient) -> None:
    """Write all calls, with several batches at a time."""
    batches = iter([list(OURS[at : at + BATCH]) for at in range(0, COUNT, BATCH)])

    async def write_on() -> None:
        for batch in batches:
            await client.create(batch)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(write_on())


async def test_calls_are_read_once_each_during_writes_and_deletes(data_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir), LOOMQL_MONGOD_CACHE_GB="0.25") as server:
        async with CallsClient(server.url, PROJECT_ID) as client, bystander_at_work(server) as bystander:
            # given
            await write_ours(client)
            written_before = len(bystander.written)
            # when
            by_time = await client.read(PAGE)
            by_name = await client.read(PAGE, [{"field": "op_name", "direction": "DESC"}])
            # then
            assert len(bystander.written) > written_before
        async with CallsClient(server.url, PROJECT_ID) as client:
            afterwards = await client.read(PAGE)

    expected = {number: whole_call(number) for number in OURS}
    for nodes in (by_time, by_name, afterwards):
        ours = [node for node in nodes if number_of(node) in expected]
        assert len(ours) == COUNT
        assert [node for node in ours if node != expected[number_of(node)]] == []
        assert len({node["id"] for node in nodes}) == len(nodes)
    assert all(one["startedAt"] <= next_one["startedAt"] for one, next_one in pairwise(by_time))
    assert all(one["opName"] >= next_one["opName"] for one, next_one in pairwise(by_name))
    others = {number_of(node) for node in afterwards} - expected.keys()
    assert others == set(bystander.written) - bystander.deleted
