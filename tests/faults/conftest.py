"""What the faults are done to, once for all tests of a file."""

import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.faults import Alone
from tests.faults.mongods import one_mongod
from tests.faults.stage import NoDiskError, Three, alone, three
from tests.faults.trial import Trial


@pytest.fixture(scope="module")
def mongod() -> Iterator[str]:
    """A mongod of its own, which is begun again on its folder when it dies."""
    with one_mongod() as uri:
        yield uri


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Three]:
    """Three members, and servers over them."""
    if sys.platform != "linux":
        pytest.skip("the packaged mongod elsewhere is another one")
    async with three() as stage:
        yield stage


@pytest.fixture(scope="module")
def single() -> Iterator[tuple[Alone, Trial]]:
    """A server with a mongod of its own, on a small disk of its own."""
    try:
        with alone() as single:
            yield single
    except NoDiskError as error:
        pytest.skip(f"a disk that can be filled cannot be mounted: {error}")
