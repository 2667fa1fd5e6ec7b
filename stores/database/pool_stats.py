"""How busy the driver is: its connections to each server, and who waits for one, or for a thread that asks for one."""

from dataclasses import dataclass
from typing import Any

from motor.frameworks import asyncio as motors

from stores.database import thread_pool


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The connections of one process.

    Those that monitor the servers do not count; an open change stream keeps its connection only while it asks.
    """

    in_use: int
    idle: int
    waiting: int


def pool_stats(client: Any) -> PoolStats:  # noqa: ANN401 -- what is asked of the driver's client it does not promise
    """How busy the synchronous client of the driver is; the driver tells it only to who follows each connection.

    That would take each command some microseconds. What is read here instead has no promise: a version of the driver
    in which it is not there any more fails a test.
    """
    # The driver changes the table under its own lock, and a server can come in the midst of a look at it.
    pools = [server.pool for server in tuple(client._topology._servers.values())]  # noqa: SLF001
    in_use = sum(pool.active_sockets for pool in pools)
    asking = sum(pool.operation_count for pool in pools)
    unstarted = motors._EXECUTOR._work_queue.qsize() + thread_pool.waiting()  # noqa: SLF001
    return PoolStats(in_use, sum(len(pool.conns) for pool in pools), max(0, asking - in_use) + unstarted)
