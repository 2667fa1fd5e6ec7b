"""A cancelled read is killed by the router that it went through; operations through other routers go on."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.database import Collection
from stores.database.driver import ControlClient, TrackingPool, all_rows, chosen_server
from tests.stores.calls.builders import PROJECT
from tests.topologies.cluster import Client, Cluster
from tests.topologies.router import Clock, Document, Link
from tests.waiting import until

MARGIN = 50
"""Connections that one router has counted more than the other, which the clients of a round must not exceed."""

SLOWLY = {"$expr": {"$function": {"body": "function() { sleep(100); return true }", "args": [], "lang": "js"}}}


@pytest.fixture
def routers(running: Cluster, name: str) -> Iterator[tuple[Client, Client]]:
    """Store calls, and yield a client of each router."""
    with Client(running.uri_of(0)) as one, Client(running.uri_of(1)) as two:
        calls = [{"_id": number, "project_id": PROJECT, "id": f"{number}"} for number in range(1000)]
        one[name].calls.insert_many(calls)
        yield one, two


def reads(router: Client, name: str) -> list[int]:
    """Return the numbers of the connections through which clients read calls by a router."""
    running: list[Document] = [{"$currentOp": {"localOps": True}}, {"$match": {"command.$db": name, "active": True}}]
    # The stand-in also shows what its shard does for routers, which name the version of their table.
    found = router.admin.aggregate(running)
    return [operation["connectionId"] for operation in found if "shardVersion" not in operation["command"]]


async def read(control: ControlClient, calls: Collection) -> None:
    with control.cancellable_read():
        await all_rows(calls, [{"$match": SLOWLY}], 1000)


def connect(running: Cluster, router: int, number: int, clock: Clock) -> Link:
    """Open connections through a router until one has at least this number, and return it."""
    while True:
        link = Link(running.routers[router], clock)
        if link.number >= number:
            return link
        link.close()


async def test_operation_through_another_router_goes_on(
    running: Cluster, name: str, routers: tuple[Client, Client]
) -> None:
    one, two = routers
    clock = Clock(two.admin.command("ping"))
    control = ControlClient(Client(running.uri, server_selector=chosen_server), name)
    with closing(Link(running.routers[0], clock)) as link:
        connect(running, 1, link.number + MARGIN, clock).close()
    reader: AsyncIOMotorClient[Document] = AsyncIOMotorClient(running.uri_of(1), _pool_class=TrackingPool)
    reading = asyncio.create_task(read(control, reader[name].calls))
    await until(lambda: bool(reads(two, name)))
    [number] = reads(two, name)
    with closing(connect(running, 0, number, clock)) as link:
        assert link.number == number
        other = {"find": "calls", "filter": SLOWLY, "limit": 10, "singleBatch": True, "$db": name}
        answering = asyncio.create_task(asyncio.to_thread(link.ask, other))
        await until(lambda: bool(reads(one, name)))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: not reads(two, name))
        assert (await answering)["ok"] == 1.0
    reader.close()
    control.close()
