"""Fixtures that start the servers and databases that the faults hit, once for each test file."""

import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.faults import Alone
from tests.faults.mongods import one_mongod
from tests.faults.stage import NoDiskError, Three, alone, three
from tests.faults.trial import Trial
from tests.faults.writers import writer


@pytest.fixture(autouse=True)
def calm_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let writers pause longer than in `python -m tests.faults`, which spares CPU time."""
    monkeypatch.setattr(writer, "_PAUSE_SECONDS", 0.3)


@pytest.fixture(scope="module")
def mongod() -> Iterator[str]:
    """Start a mongod that is restarted on its folder when it dies; yield its URI."""
    with one_mongod() as uri:
        yield uri


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Three]:
    """Start a replica set of three members and the servers that use it."""
    if sys.platform != "linux":
        pytest.skip("other systems have another version of mongod (pyproject.toml)")
    async with three() as stage:
        yield stage


@pytest.fixture(scope="module")
def single() -> Iterator[tuple[Alone, Trial]]:
    """Start a server with an embedded mongod whose data folder is on a small disk."""
    try:
        with alone() as single:
            yield single
    except NoDiskError as error:
        pytest.skip(f"no small disk can be mounted; run the tests as root\n{error}")
