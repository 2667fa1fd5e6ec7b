"""Parts of a run that all workers of pytest-xdist share: one MongoDB, and the results of the checks of all code.

The process that the user starts owns them until it exits; it sends the workers their addresses.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pymongo import MongoClient

from app.embedded_mongod import embedded_mongod
from tests.faults.mongods import replica_set
from tests.folders import short_folder
from tests.house_checks import HouseChecks
from tests.topologies.cluster import cluster

GIVEN: Final = "LOOMQL_TEST_MONGODB_URI"
"""Environment variable with the URI of a server that tests use instead."""

TOPOLOGIES: Final = ("single", "replica", "cluster")
TOPOLOGY: Final = os.environ.get("LOOMQL_TEST_TOPOLOGY", "single")
"""The MongoDB of this run: one embedded mongod, a replica set of three members, or a sharded cluster."""

_URI: Final = pytest.StashKey[str]()
_CHECKS: Final = pytest.StashKey[HouseChecks]()


def input_of_worker(config: pytest.Config) -> dict[str, str]:
    """Return the addresses that a new worker needs."""
    return {"mongodb_uri": shared_mongodb_uri(config), "house_checks": str(house_checks(config).folder)}


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def shared_mongodb_uri(config: pytest.Config) -> str:
    """Return the URI of the run's server.

    The first call starts the server; embedded_mongod stops it even if this process is killed.
    """
    if given := os.environ.get(GIVEN):
        return given
    if is_worker(config):
        return str(config.workerinput["mongodb_uri"])  # type: ignore[attr-defined] # xdist adds it
    if _URI not in config.stash:
        config.stash[_URI] = _until_exit(config, temporary_mongodb(cache_gb=1))
    return config.stash[_URI]


def house_checks(config: pytest.Config) -> HouseChecks:
    """Return the checks of all code; the process that the user started must begin them."""
    if is_worker(config):
        return HouseChecks(Path(config.workerinput["house_checks"]))  # type: ignore[attr-defined] # xdist adds it
    if _CHECKS not in config.stash:
        folder = _until_exit(config, tempfile.TemporaryDirectory(prefix="loomql-"))
        config.stash[_CHECKS] = HouseChecks(Path(folder))
        config.add_cleanup(config.stash[_CHECKS].stop)
    return config.stash[_CHECKS]


def _until_exit(config: pytest.Config, opened: contextlib.AbstractContextManager[str]) -> str:
    """Enter a context that pytest leaves when it exits."""
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    return stack.enter_context(opened)


@contextlib.contextmanager
def temporary_mongodb(cache_gb: float) -> Iterator[str]:
    """Run a MongoDB of the run's topology until the block ends; yield its URI."""
    with contextlib.ExitStack() as stack:
        match TOPOLOGY:
            case "single":
                yield stack.enter_context(temporary_mongod(cache_gb))
            case "replica":
                yield stack.enter_context(replica_set()).uri
            case "cluster":
                yield stack.enter_context(cluster()).uri
            case _:
                raise pytest.UsageError(f"LOOMQL_TEST_TOPOLOGY is none of {', '.join(TOPOLOGIES)}")


@contextlib.contextmanager
def temporary_mongod(cache_gb: float) -> Iterator[str]:
    """Run a mongod in a temporary folder until the block ends; yield its URI."""
    with short_folder() as folder, embedded_mongod(folder, cache_gb=cache_gb) as uri:
        with MongoClient[dict[str, object]](uri) as client:
            # mongod then deletes the files of dropped databases after seconds instead of minutes. Otherwise a run
            # would have too many open files. The longest read of a test takes 7 s on a slow machine.
            client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=20)
        yield uri
