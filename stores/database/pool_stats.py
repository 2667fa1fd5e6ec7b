"""Use of the driver's connection pool: connections, and commands waiting for a connection or thread."""

from dataclasses import dataclass
from typing import Any

from motor.frameworks import asyncio as motors

from stores.database import thread_pool


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The connections of one process.

    Monitoring connections do not count. An open change stream uses its connection only during a `getMore`.
    """

    in_use: int
    idle: int
    waiting: int


def pool_stats(client: Any) -> PoolStats:  # noqa: ANN401 -- what is asked of the driver's client it does not promise
    """Read the pool use of the driver's synchronous client.

    The driver publishes it only as events per connection, which cost each command some microseconds. The attributes
    read here are private to the driver; a test fails if a new version lacks them.
    """
    # Copied first: the driver may add a server during the iteration.
    pools = [server.pool for server in tuple(client._topology._servers.values())]  # noqa: SLF001
    in_use = sum(pool.active_sockets for pool in pools)
    asking = sum(pool.operation_count for pool in pools)
    unstarted = motors._EXECUTOR._work_queue.qsize() + thread_pool.waiting()  # noqa: SLF001
    return PoolStats(in_use, sum(len(pool.conns) for pool in pools), max(0, asking - in_use) + unstarted)
