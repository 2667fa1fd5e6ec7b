"""A sharded cluster on the loopback interface: a config server, two shards, and routers.

The routers are mongos of LOOMQL_TEST_MONGOS if it names a binary, and otherwise the stand-in of router.py. All mongods
are of LOOMQL_TEST_MONGOD, or of the version that LoomQL runs itself.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bson import Int64, MinKey
from pymongo import HASHED, MongoClient
from pymongo.errors import PyMongoError

from app.sharding import needs
from stores.database import indexes
from tests.faults.mongods import Mongod, ReplicaSet
from tests.folders import short_folder
from tests.free_ports import free_port
from tests.house_checks import ROOT
from tests.waiting import TIMEOUT

Document = dict[str, Any]
Client = MongoClient[Document]

MONGOS: Final = "LOOMQL_TEST_MONGOS"
"""Environment variable with the binary of real routers."""

IS_STAND_IN: Final = not os.environ.get(MONGOS)
SHARDS: Final = ("one", "two")
PROJECT: Final = "acme/chat"
"""The project of most tests; `shard` puts it on both shards."""

_HISTORY_SECONDS: Final = 5
"""MongoDB keeps the files of a dropped database for as long as a snapshot may need them."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster; `routers` are their addresses."""

    config: ReplicaSet
    shards: tuple[ReplicaSet, ...]
    routers: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The URI of all routers."""
        return f"mongodb://{','.join(self.routers)}/"

    def uri_of(self, router: int) -> str:
        """Return the URI of one router."""
        return f"mongodb://{self.routers[router]}/"

    def commands(self, *names: str) -> int:
        """Return how often the primaries of the shards have run some commands, for a document of a `$lookup` too."""
        number = 0
        for shard in self.shards:
            with shard.primary().client() as client:
                ran = client.admin.command("serverStatus")["metrics"]["commands"]
                number += sum(ran[name]["total"] for name in names)
        return number


@contextmanager
def cluster(
    routers: int = 2, members: Sequence[int] = (1, 1), history_seconds: int = _HISTORY_SECONDS
) -> Iterator[Cluster]:
    """Run a cluster until the block ends; no range moves by itself.

    Args:
        routers: the number of routers.
        members: the number of members of each shard.
        history_seconds: the age of a snapshot that a slow query may still read.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        # A change stream tells an event once each shard is past it, and an idle shard is past it by its next no-op.
        parameters = ["--setParameter", "periodicNoopIntervalSecs=1"]
        parameters += ["--setParameter", f"minSnapshotHistoryWindowInSeconds={history_seconds}"]
        # Each step of sharding waits for the journal; a shorter interval makes idle members write it more often.
        parameters += ["--journalCommitInterval", "30"]
        config, *shards = (
            ReplicaSet([Mongod(folder / f"{name}{at}", free_port(), name, role, *parameters) for at in range(number)])
            for name, role, number in zip(
                ("config", *SHARDS), ("--configsvr", "--shardsvr", "--shardsvr"), (1, *members), strict=True
            )
        )
        for each in (config, *shards):
            for member in each.members:
                stack.callback(member.kill)
                member.start()
        config.initiate(configsvr=True)
        for each in shards:
            each.initiate()
        for each in (config, *shards):
            each.wait_until_whole()
        with config.primary().client() as client:
            for each in shards:
                added = f"{each.name}/{each.members[0].host}"
                client.admin.command("_configsvrAddShard", added, name=each.name, writeConcern={"w": "majority"})
            client.admin.command("_configsvrBalancerStop")
        addresses = tuple(_router(stack, folder, config.members[0], number) for number in range(routers))
        yield Cluster(config, tuple(shards), addresses)


def shard(client: Client, name: str) -> None:
    """Build indexes, shard the collections of a database, and give the project of most tests to both shards."""
    for collection, models in indexes.models().items():
        client[name][collection].create_indexes(models)
    for need in needs(client, name):
        need.apply(client, name)
        namespace, key = f"{name}.{need.wanted.collection}", need.wanted.key
        first, *others = key
        # The ids of a project's calls and feedback are hashed, so half of them are on each shard.
        middle = {first: PROJECT} | {path: Int64(0) if key[path] == HASHED else MinKey() for path in others}
        client.admin.command("split", namespace, middle=middle)
        client.admin.command("moveRange", namespace, toShard=_other(client, name), min=middle, waitForDelete=True)


def move_some(client: Client, name: str) -> None:
    """Move half of a range of a project's calls to the other shard; the old one keeps copies for its running reads.

    MongoDB deletes the copies after a quarter of an hour.
    """
    namespace = f"{name}.calls"
    found = client["config"]["collections"].find_one({"_id": namespace})
    assert found is not None
    lowest = {"project_id": PROJECT, "id": Int64(0)}
    chunk = client["config"]["chunks"].find_one({"uuid": found["uuid"], "min": lowest})
    assert chunk is not None
    # After an earlier move the range is smaller; the last one ends with the project.
    end = chunk["max"]["id"] if chunk["max"]["project_id"] == PROJECT else 1 << 63
    half = {"project_id": PROJECT, "id": Int64(end // 2)}
    client.admin.command("split", namespace, middle=half)
    client.admin.command("moveRange", namespace, toShard=_not(chunk["shard"]), min=half)


def _not(shard: str) -> str:
    return next(each for each in SHARDS if each != shard)


def _other(client: Client, name: str) -> str:
    found = client["config"]["databases"].find_one({"_id": name})
    assert found is not None
    return _not(found["primary"])


def _router(stack: ExitStack, folder: Path, config: Mongod, number: int) -> str:
    """Start a router and wait until it answers; return its address."""
    port = free_port()
    if binary := os.environ.get(MONGOS):
        command = [binary, "--configdb", f"config/{config.host}", "--bind_ip", "127.0.0.1", "--nounixsocket", "--port"]
        command.append(str(port))
    else:
        # Routers that go through different shards count their connections and know the time each for itself.
        command = [sys.executable, "-m", "tests.topologies.router", "--port", str(port), "--config", config.host]
        command += ["--through", SHARDS[number % len(SHARDS)]]
    log = stack.enter_context((folder / f"router{number}.log").open("wb"))
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    address = f"127.0.0.1:{port}"
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            with Client(f"mongodb://{address}/", serverSelectionTimeoutMS=500) as client:
                client.admin.command("ping")
                return address
        except PyMongoError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                text = Path(log.name).read_text()[-2_000:]
                raise AssertionError(f"router {number} does not answer: {error}\n{text}") from error
        time.sleep(0.05)
