"""Writes to both shards: no transaction creates a collection, so that all of them commit."""

import pytest

from stores.database import Database
from stores.purges import PurgesStore, Removed
from tests.stores.calls.builders import PROJECT
from tests.stores.purges.test_purging import counted, fill
from tests.topologies.cluster import Client, Cluster, move_some


# A purge then does not wait for earlier writers.
@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_project_on_both_shards_is_purged(running: Cluster, sharded: Database, name: str) -> None:
    await fill(sharded, PROJECT, calls=30)
    with Client(running.uri_of(0)) as client:
        move_some(client, name)

    report = await PurgesStore(sharded).purge(PROJECT, PROJECT)

    assert report.is_done
    assert report.removed == Removed(calls=30, feedback=2, objects=3, tables=1, table_rows=5, files=2, costs=1)
    assert await counted(sharded, PROJECT) == {}
