"""A cluster with two routers, and a database on both of its shards."""

from collections.abc import Iterator

import pytest

from stores.database import Database
from stores.timings import Timings
from tests.database_pool import DatabasePool
from tests.topologies.cluster import Client, Cluster, cluster
from tests.waiting import DATABASE_TIMEOUT


@pytest.fixture(scope="package")
def running() -> Iterator[Cluster]:
    """Start a cluster with two routers; one of its shards survives the loss of a member."""
    with cluster(members=(1, 3), history_seconds=60) as started:
        yield started


@pytest.fixture(scope="package")
def cluster_uri(running: Cluster) -> str:
    """Return the URI of all routers of the cluster."""
    return running.uri


@pytest.fixture(scope="package")
def _pool(running: Cluster) -> Iterator[DatabasePool]:
    with Client(running.uri) as client:
        pool = DatabasePool(client)
        yield pool
        pool.close()


@pytest.fixture
def name(_pool: DatabasePool) -> Iterator[str]:
    """Yield the name of an empty database with indexes, on both shards."""
    name = _pool.take()
    yield name
    _pool.release(name)


@pytest.fixture
def sharded(running: Cluster, name: str, timings: Timings) -> Iterator[Database]:
    """Yield that database, opened through the first router."""
    database = Database.open(running.uri_of(0), name, timeout_seconds=DATABASE_TIMEOUT, timings=timings)
    yield database
    database.close()
