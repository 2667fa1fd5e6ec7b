"""Errors of backups through a router."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from pymongo.write_concern import WriteConcern

from app.backups import BackupError, write_backup
from stores.database.transactions import APP_NAME
from tests.topologies.cluster import PROJECT, Client, Cluster

CALLS = [{"_id": str(number), "project_id": PROJECT, "id": str(number)} for number in range(5_000)]
"""More than a shard returns in one batch."""


def test_backup_through_a_router_has_what_another_one_has_just_stored(
    running: Cluster, name: str, tmp_path: Path
) -> None:
    with Client(running.uri_of(0)) as writer, Client(running.uri_of(1)) as reader:
        for number, call in enumerate(CALLS[:10]):
            reader.admin.command("ping")
            writer[name].get_collection("calls", write_concern=WriteConcern("majority")).insert_one(call)

            assert write_backup(reader, name, tmp_path / f"{number}", is_own=False)["calls"] == number + 1


@pytest.mark.parametrize("code", [239, 250], ids=["shard", "config server"])
def test_backup_names_the_mongods_that_no_longer_have_its_snapshot(
    running: Cluster, name: str, tmp_path: Path, code: int
) -> None:
    with Client(running.uri, appname=APP_NAME) as client, ExitStack() as stack:
        client[name].calls.insert_many(CALLS)
        for shard in running.shards:
            stack.enter_context(shard.primary().failing(["getMore"], errorCode=code))

        with pytest.raises(BackupError, match="on each mongod of the replica set, or of all shards and config servers"):
            write_backup(client, name, tmp_path / "backup", is_own=False)
