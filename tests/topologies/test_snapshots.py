"""Reads through one router of writes that another router acknowledged."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from stores.aggregates import AggregatesStore, Grouping
from stores.calls import CallsStore
from stores.database import Database
from stores.paging import PageRequest
from stores.timings import Timings
from tests.stores.calls.builders import PROJECT, start
from tests.topologies.cluster import Cluster
from tests.waiting import DATABASE_TIMEOUT

WRITES = 20


@pytest.fixture(params=["", "?directConnection=true"])
def through_other(running: Cluster, name: str, timings: Timings, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Yield the database, opened through the second router."""
    uri = running.uri_of(1) + request.param
    database = Database.open(uri, name, timeout_seconds=DATABASE_TIMEOUT, timings=timings)
    yield database
    database.close()


async def _listed(calls: CallsStore) -> int:
    """Read a page, which is one command."""
    return len((await calls.page(PROJECT, PageRequest(WRITES), {"id"})).rows)


async def _counted(calls: CallsStore) -> int:
    """Count in a session, as a read of several commands does."""
    async with calls.database.snapshot_session([PROJECT]) as session:
        return int(await calls.database.calls.count_documents({"project_id": PROJECT}, session=session))


async def _grouped(calls: CallsStore) -> int:
    """Count by a chart, which reads marks and roll-ups, too."""
    chart = await AggregatesStore(calls.database).calls(PROJECT, Grouping([]), ["count"])
    return sum(row["count"] for row in chart.rows)


@pytest.mark.parametrize("read", [_listed, _counted, _grouped])
async def test_reads_have_each_write_that_another_router_acknowledged(
    sharded: Database, through_other: Database, read: Callable[[CallsStore], Awaitable[int]]
) -> None:
    writer, reader = CallsStore(sharded), CallsStore(through_other)
    for number in range(1, WRITES + 1):
        await writer.write([start(number)])

        assert await read(reader) == number
