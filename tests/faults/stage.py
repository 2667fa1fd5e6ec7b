"""Servers and databases that the faults hit. The two servers start at the same time, since each takes seconds."""

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.embedded_mongod import DataFolder
from tests.faults.evaluations import Evaluations, environment
from tests.faults.faults import Alone
from tests.faults.mongods import ReplicaSet, replica_set
from tests.faults.serving import serving
from tests.faults.toxic_proxy import ToxicProxy
from tests.faults.trial import Trial
from tests.shared_by_workers import TOPOLOGY
from tests.stand_in_provider import stand_in_provider
from tests.topologies.cluster import Client, cluster, shard

QUERY_TIMEOUT_SECONDS = "2"
DISK_MB = 700


@dataclass(frozen=True)
class Three:
    """A replica set of three, a server that knows all members, and one that reaches the first through a proxy.

    On a cluster, the three are the members of a shard, and servers know the routers, or the first one through a proxy.
    """

    members: ReplicaSet
    uri: str
    trial: Trial
    proxy: ToxicProxy
    behind_proxy: Trial


@asynccontextmanager
async def three() -> AsyncIterator[Three]:
    """Start the replica set or the cluster, the proxy and the servers, and wait until the servers are up."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        stand_in = stack.enter_context(stand_in_provider())
        if TOPOLOGY == "cluster":
            running = stack.enter_context(cluster(members=(1, 3), history_seconds=60))
            members, uri, port = running.shards[-1], running.uri, int(running.routers[0].rpartition(":")[2])
            with Client(uri) as client:
                shard(client, "loomql")
        else:
            members = stack.enter_context(replica_set())
            uri, port = members.uri, members.primary().port
        proxy = stack.enter_context(ToxicProxy(port).running())
        settings = {"LOOMQL_QUERY_TIMEOUT_SECONDS": QUERY_TIMEOUT_SECONDS, **environment(stand_in)}
        straight = stack.enter_context(serving(folder / "straight", LOOMQL_MONGODB_URI=uri, **settings))
        behind = stack.enter_context(serving(folder / "behind", LOOMQL_MONGODB_URI=proxy.uri, **settings))
        for server in (straight, behind):
            server.wait_until_up()
        evaluations = await stack.enter_async_context(Evaluations.open(uri, stand_in))
        trial, behind_proxy = (Trial(server, uri, evaluations) for server in (straight, behind))
        yield Three(members, uri, trial, proxy, behind_proxy)


@contextmanager
def alone() -> Iterator[tuple[Alone, Trial]]:
    """Start a server with an embedded mongod on a small disk.

    Raises:
        NoDiskError: no file system can be mounted here.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        data_dir = folder / "data"
        data_dir.mkdir()
        stack.enter_context(_small_disk(data_dir))
        settings = {"LOOMQL_MONGOD_CACHE_GB": "0.25"}
        server = stack.enter_context(serving(folder / "alone", "--data-dir", str(data_dir), **settings))
        server.wait_until_up()
        yield Alone(server, data_dir), Trial(server, DataFolder(data_dir).uri)


class NoDiskError(Exception):
    """No file system can be mounted here."""


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoDiskError("only root of a Linux may mount a file system")
    options = f"size={DISK_MB}m,mode=0700"
    done = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoDiskError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "-l", str(folder)], check=True)
