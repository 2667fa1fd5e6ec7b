"""The one mongod of a test run, which all workers of pytest-xdist share."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pymongo import MongoClient

from app.embedded_mongod import embedded_mongod

GIVEN: Final = "LOOMQL_TEST_MONGODB_URI"
"""Environment variable with the URI of a server that tests use instead."""

_WORKER_INPUT: Final = "mongodb_uri"
_URI: Final = pytest.StashKey[str]()


def give_to_worker(worker_input: dict[str, object], config: pytest.Config) -> None:
    """Add the URI of the run's server to what pytest-xdist sends to a new worker."""
    worker_input[_WORKER_INPUT] = shared_uri(config)


def shared_uri(config: pytest.Config) -> str:
    """Return the URI of the run's server.

    The first call starts the server; it stops when pytest exits or dies, which embedded_mongod ensures. A worker gets
    the URI from pytest-xdist's controller.
    """
    if given := os.environ.get(GIVEN):
        return given
    worker_input: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        return worker_input[_WORKER_INPUT]
    if _URI not in config.stash:
        server = contextlib.ExitStack()
        config.add_cleanup(server.close)
        config.stash[_URI] = server.enter_context(temporary_mongod(cache_gb=1))
    return config.stash[_URI]


@contextlib.contextmanager
def temporary_mongod(cache_gb: float) -> Iterator[str]:
    """Run a mongod in a temporary folder until the block ends; yield its URI."""
    # pytest's tmp_path is often too long for the path of a socket.
    with (
        tempfile.TemporaryDirectory(prefix="loomql-") as folder,
        embedded_mongod(Path(folder), cache_gb=cache_gb) as uri,
    ):
        with MongoClient[dict[str, object]](uri) as client:
            # mongod then deletes the files of dropped databases after seconds instead of minutes. Otherwise a run
            # would have too many open files.
            client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=5)
        yield uri
