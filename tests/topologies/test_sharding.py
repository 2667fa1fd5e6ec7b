"""Tests of `loomql shard`, and of restores and the doctor on a sharded cluster."""

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, MaxKey, MinKey
from pymongo.errors import OperationFailure

from app.backups import BackupError, restore, write_backup
from app.commands import cluster_checks
from app.commands.cluster_checks import Server, _address, check_cluster, check_user
from app.commands.diagnostics import _indexes
from app.commands.findings import Finding, Level
from app.embedded_mongod import find_mongod
from app.settings import Settings
from app.sharding import MANAGER, MONITOR, UNAUTHORIZED, Client, ShardingError, User, needs, sharded_collections
from stores import digests
from stores.aggregates import GroupBy, Grouping
from stores.calls import CallsStore, Expansion
from stores.database import Database, database_query
from stores.database.shard_keys import SHARD_KEYS, SUPPORTING_INDEX
from stores.feedback import FeedbackStore, NewFeedback
from stores.migrations import schema_version
from stores.objects import ObjectsStore, ObjectVersion
from stores.paging import PageRequest
from stores.query import Query
from stores.tables import TablesStore
from tests.app.command import clean, loomql, run_in_process
from tests.app.test_backups import everything, filled
from tests.benchmarks import spans
from tests.folders import short_folder
from tests.free_ports import free_port
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.calls.test_ref_expansion import made
from tests.stores.feedback.test_purging import by_id
from tests.topologies.cluster import IS_STAND_IN, SHARDS, Cluster
from tests.topologies.shard_while_serving import run_on
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT, until

_PASSWORD = "".join(map(chr, range(97, 120)))
KEYS = {each.collection: each.key for each in SHARD_KEYS}
RATED = {"$expr": {"$eq": [{"$getField": "feedback.[note].payload.good"}, {"$literal": True}]}}


@pytest.fixture
def routers(cluster_uri: str) -> Iterator[Client]:
    with Client(cluster_uri) as client:
        yield client


@pytest.fixture
def name(routers: Client) -> Iterator[str]:
    """Yield the name of a database on the cluster that has no collections yet.

    Its primary shard has one member, since three members build each index three times.
    """
    name = f"test_{uuid.uuid4().hex[:16]}"
    routers.admin.command("enableSharding", name, primaryShard=SHARDS[0])
    yield name
    routers.drop_database(name)


@pytest.fixture
def shards(routers: Client) -> Iterator[dict[str, Client]]:
    """Yield a client of each shard, by its name."""
    with ExitStack() as stack:
        hosts = {each["_id"]: each["host"].partition("/")[2] for each in routers["config"]["shards"].find()}
        yield {
            name: stack.enter_context(Client(f"mongodb://{members}/?replicaSet={name}"))
            for name, members in hosts.items()
        }


@pytest.fixture
def on_cluster(cluster_uri: str, name: str) -> Iterator[Database]:
    database = Database.open(cluster_uri, name, timeout_seconds=DATABASE_TIMEOUT)
    yield database
    database.close()


def shard(uri: str, name: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    return loomql("shard", *flags, LOOMQL_MONGODB_URI=uri, LOOMQL_MONGODB_DATABASE=name)


def apply(uri: str, name: str) -> None:
    applied = shard(uri, name, "--apply")
    assert applied.returncode == 0, applied.stderr


async def test_dry_run_changes_nothing_and_apply_shards_a_filled_database(
    on_cluster: Database, cluster_uri: str, routers: Client, name: str
) -> None:
    await on_cluster.ensure_indexes()
    await filled(on_cluster)
    before = everything(routers, name)

    dry = shard(cluster_uri, name)
    unchanged = sharded_collections(routers, name)
    applied = shard(cluster_uri, name, "--apply")
    again = shard(cluster_uri, name, "--apply")

    assert (dry.returncode, dry.stderr) == (0, "")
    assert "calls " in dry.stdout
    assert "index { project_id: 1, id: 'hashed' } and shard key { project_id: 1, id: 'hashed' }" in dry.stdout
    assert f"in {len(KEYS)} of {len(KEYS)} collections" in dry.stdout
    assert "run `loomql shard --apply`" in dry.stdout
    assert unchanged == {}
    assert applied.returncode == again.returncode == 0
    assert f"(database {name}) is sharded." in applied.stdout
    assert again.stdout == applied.stdout
    assert sharded_collections(routers, name) == KEYS
    assert everything(routers, name) == before
    await on_cluster.ensure_indexes()  # accepts the new ones
    assert all(need.is_met for need in needs(routers, name))


_DIES_AT_THE_FOURTH_COLLECTION = """
import os, signal
from pymongo import monitoring
from app.cli import main
class Death(monitoring.CommandListener):
    left = 3
    def started(self, event):
        if event.command_name == "shardCollection":
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
    def succeeded(self, event):
        pass
    failed = succeeded
monitoring.register(Death())
main(["shard", "--apply"])
"""


def test_killed_apply_is_continued(cluster_uri: str, routers: Client, name: str) -> None:
    routers.drop_database(name)  # `loomql shard` creates it
    killed = subprocess.run(
        [sys.executable, "-c", _DIES_AT_THE_FOURTH_COLLECTION],
        env=clean({"LOOMQL_MONGODB_URI": cluster_uri, "LOOMQL_MONGODB_DATABASE": name}),
        check=False,
        stdout=subprocess.DEVNULL,
    )
    begun = sharded_collections(routers, name)

    apply(cluster_uri, name)
    assert killed.returncode == -signal.SIGKILL
    assert len(begun) == 3
    assert sharded_collections(routers, name) == KEYS


def test_collection_with_another_shard_key_keeps_it(cluster_uri: str, routers: Client, name: str) -> None:
    other = {"project_id": 1, "segment": 1, "bucket": 1}
    routers.admin.command("shardCollection", f"{name}.search_words", key=other)

    applied = shard(cluster_uri, name, "--apply")

    assert "stays sharded by { project_id: 1, segment: 1, bucket: 1 }" in applied.stdout
    assert sharded_collections(routers, name) == KEYS | {"search_words": other}
    texts = [each.text for each in cluster_findings(routers, cluster_uri, name, "sharding")]
    assert len(texts) == 1
    assert f'run sh.reshardCollection("{name}.search_words", {{ project_id: 1, _id: 1 }})' in texts[0]


async def test_collections_sharded_before_the_first_start_are_accepted(
    on_cluster: Database, routers: Client, name: str
) -> None:
    """`sh.shardCollection` builds an index of LoomQL under another name."""
    for collection, key in KEYS.items():
        routers.admin.command("shardCollection", f"{name}.{collection}", key=key)
    empty = _indexes(routers, name)

    await on_cluster.ensure_indexes()

    assert "calls.deleted_at" in empty.text
    assert "rollups.unit_started_at" not in empty.text
    assert _indexes(routers, name) == Finding(Level.OK, "indexes", "all exist")
    indexes = routers[name]["rollups"].index_information()
    assert [[path for path, _ in index["key"]] for index in indexes.values() if len(index["key"]) == 3] == [
        ["project_id", "unit", "started_at"]
    ]


async def test_database_is_sharded_beside_readers_and_writers(
    running: Cluster, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run of `tests.topologies.shard_while_serving`; the smoke test purges."""
    monkeypatch.setattr(spans, "TEMPLATES", 5)

    outcome = await run_on(running, name, 40 * spans.SPANS, purges=False)

    assert 0 < outcome.moved < outcome.calls == 40 * spans.SPANS
    assert outcome.acknowledged > 0
    assert not outcome.wrong, str(outcome)
    assert not outcome.lost, str(outcome)


class _Counter:
    """Counts calls in a snapshot; the first time, the database is sharded meanwhile."""

    def __init__(self, database: Database, uri: str, name: str) -> None:
        self.database = database
        self._sharding = [(uri, name)]

    @database_query
    async def count(self) -> int:
        async with self.database.snapshot_session([PROJECT]) as session:
            if self._sharding:
                await asyncio.to_thread(apply, *self._sharding.pop())
            return int(await self.database.calls.count_documents({"project_id": PROJECT}, session=session))


async def test_read_whose_snapshot_is_from_before_the_sharding_is_repeated(
    on_cluster: Database, cluster_uri: str, name: str
) -> None:
    await filled(on_cluster)

    assert await _Counter(on_cluster, cluster_uri, name).count() == 20


def test_other_servers_have_nothing_to_shard(mongodb_uri: str, database_name: str) -> None:
    on_replica_set = shard(mongodb_uri, database_name, "--apply")
    embedded = run_in_process("shard")

    assert (on_replica_set.returncode, embedded.returncode) == (1, 1)
    assert "this is the replica set" in on_replica_set.stderr
    assert "this is the embedded MongoDB" in embedded.stderr
    assert "set LOOMQL_MONGODB_URI to its routers (mongos)" in embedded.stderr


async def test_a_project_on_two_shards_is_written_and_read(
    on_cluster: Database, cluster_uri: str, routers: Client, shards: dict[str, Client], name: str
) -> None:
    """Each kind of write names the shard key."""
    apply(cluster_uri, name)
    middle = {"project_id": PROJECT, "id": Int64(0)}
    for collection in ("calls", "feedback"):
        move_upper_part(routers, name, collection, middle)
    stores = await filled(on_cluster)
    ref = f"weave:///{PROJECT}/call/{call_id(3)}"
    feedback = FeedbackStore(on_cluster)
    given = await feedback.create([NewFeedback(PROJECT, ref, "thumb", {"n": number}) for number in range(20)])
    await feedback.replace(given[0]["id"], NewFeedback(PROJECT, ref, "thumb", {"n": 20}))
    for text in ("Be kind.", "Be brief.", "Be kind."):
        await stores.objects.create(ObjectVersion(PROJECT, "prompt", {"text": text}))

    assert await stores.calls.count(PROJECT, None, None) == 20
    assert await stores.calls.delete(PROJECT, [call_id(number) for number in range(5)]) == 5
    assert await feedback.purge(PROJECT, by_id(given[1]["id"])) == 1
    for collection in ("calls", "feedback"):
        numbers = [client[name][collection].count_documents({}) for client in shards.values()]
        assert sum(numbers) >= 19
        assert min(numbers) > 0


async def test_queries_of_a_project_touch_only_its_shard(
    on_cluster: Database, cluster_uri: str, routers: Client, shards: dict[str, Client], name: str
) -> None:
    apply(cluster_uri, name)
    touched = ("calls", "feedback", "trace_totals", "tables", "table_chunks", "table_rows")
    for collection in touched:
        # The first shard keeps the projects before this one, so it gets each query that names no project.
        move_upper_part(routers, name, collection, dict.fromkeys(KEYS[collection], MinKey()) | {"project_id": PROJECT})
    stores = await filled(on_cluster)
    first = shards[primary_of(routers, name)]

    first[name].command("profile", 2)
    await stores.calls.write([start(99), end(99)])
    await stores.calls.page(PROJECT, PageRequest(10), {"id"})
    await stores.calls.count(PROJECT, None, None)
    await stores.calls.by_keys([(PROJECT, call_id(3))], frozenset({"id", "inputs"}))
    await stores.calls.delete(PROJECT, [call_id(3)])
    await FeedbackStore(on_cluster).page(PROJECT, PageRequest(10), {"id"})
    assert await stores.calls.count(PROJECT, query=Query(RATED)) == 0
    assert (await stores.trace_lists.page(PROJECT, PageRequest(10))).rows
    assert (await stores.aggregates.calls(PROJECT, Grouping([GroupBy.OP_NAME]), ["count"])).rows
    await stores.projects.sizes([PROJECT], frozenset({"trace_storage_size_bytes", "tables_storage_size_bytes"}))
    first[name].command("profile", 0)

    # The indexes of a collection, and a sample of it that tells how to scan, concern no project.
    general = ("command.listIndexes", "command.pipeline.$sample", "originatingCommand.pipeline.$sample")
    of_projects = {path: {"$exists": False} for path in general}
    namespaces = {each["ns"].removeprefix(f"{name}.") for each in first[name]["system.profile"].find(of_projects)}
    assert "projects" in namespaces
    assert namespaces.isdisjoint(touched)


async def test_count_has_feedback_that_another_router_has_just_stored_on_another_shard(
    running: Cluster, cluster_uri: str, routers: Client, name: str
) -> None:
    apply(cluster_uri, name)
    move_upper_part(routers, name, "feedback", dict.fromkeys(KEYS["feedback"], MinKey()) | {"project_id": PROJECT})
    # The shard with the calls routes for the first router.
    uris = map(running.uri_of, (0, 1))
    reader, writer = (Database.open(uri, name, timeout_seconds=DATABASE_TIMEOUT) for uri in uris)
    calls, feedback = CallsStore(reader), FeedbackStore(writer)
    await filled(reader)
    for number in range(20):
        ref = f"weave:///{PROJECT}/call/{call_id(number)}"
        await feedback.create([NewFeedback(PROJECT, ref, "note", {"good": True})])

        assert await calls.count(PROJECT, query=Query(RATED)) == number + 1
    reader.close()
    writer.close()


async def test_count_behind_refs_has_rows_that_another_router_has_just_stored_on_another_shard(
    running: Cluster, cluster_uri: str, routers: Client, name: str
) -> None:
    apply(cluster_uri, name)
    for collection in ("tables", "table_chunks", "table_rows"):
        # The project's first range, before all ids, stays on the shard with the calls and objects.
        move_upper_part(routers, name, collection, {"project_id": PROJECT, "_id": f"{PROJECT}:"})
    uris = map(running.uri_of, (0, 1))
    reader, writer = (Database.open(uri, name, timeout_seconds=DATABASE_TIMEOUT) for uri in uris)
    calls, tables = CallsStore(reader), TablesStore(writer)
    await schema_version.mark_done(reader, schema_version.LATEST)
    rows = [{"q": number} for number in range(20)]
    for number, row in enumerate(rows):
        data = {"rows": f"weave:///{PROJECT}/table/{digests.table_digest([digests.object_digest(row)])}"}
        ref = await made(ObjectsStore(reader), data, f"data{number}")
        await calls.write([start(number, inputs={"example": f"{ref}/attr/rows/id/{digests.object_digest(row)}"})])
    # A condition on feedback makes the count read a snapshot.
    any_row = {"$gte": [{"$getField": "inputs.example.q"}, {"$literal": 0}]}
    unrated = Query({"$expr": {"$and": [any_row, {"$not": [RATED["$expr"]]}]}})
    for number, row in enumerate(rows):
        await tables.create(PROJECT, [row])

        assert await calls.count(PROJECT, query=unrated, expansion=Expansion(["inputs.example"])) == number + 1
    reader.close()
    writer.close()


def test_each_size_and_count_of_a_project_is_read_from_an_index(routers: Client, cluster_uri: str, name: str) -> None:
    """An index without the shard key would have MongoDB fetch each document, to see if it belongs to the shard."""
    apply(cluster_uri, name)
    of_project = {"project_id": PROJECT}
    routers[name]["calls"].insert_many(
        [{"_id": f"{PROJECT}:{n}", **of_project, "id": str(n), "visible": True, "started_at": n} for n in range(9)]
    )
    routers[name]["table_rows"].insert_many(
        [{"_id": f"{PROJECT}:{n}", **of_project, "digest": str(n), "size_bytes": 1} for n in range(9)]
    )
    for collection, match, path in (
        ("calls", {**of_project, "visible": True}, None),
        ("table_rows", of_project, "$size_bytes"),
    ):
        group = {"_id": None, "sum": {"$sum": path or 1}}
        command = {"aggregate": collection, "pipeline": [{"$match": match}, {"$group": group}], "cursor": {}}
        plan = routers[name].command("explain", command, verbosity="executionStats")
        [of_shard] = plan["shards"].values()
        cursors = (each["$cursor"] for each in of_shard.get("stages", [{"$cursor": of_shard}]) if "$cursor" in each)
        stats = next(cursors)["executionStats"]
        assert stats["totalKeysExamined"] >= 9
        assert stats["totalDocsExamined"] == 0


async def test_restore_keeps_collections_sharded(
    on_cluster: Database, cluster_uri: str, routers: Client, shards: dict[str, Client], name: str, tmp_path: Path
) -> None:
    apply(cluster_uri, name)
    await filled(on_cluster)
    move_upper_part(routers, name, "calls", {"project_id": PROJECT, "id": Int64(0)})
    before = everything(routers, name)
    counts = write_backup(routers, name, tmp_path / "backup", is_own=False)
    with pytest.raises(BackupError, match="is not empty"):
        restore(routers, name, tmp_path / "backup")
    assert everything(routers, name) == before
    # As an interrupted restoration leaves it.
    routers[name]["upgrades"].insert_one({"_id": schema_version.RESTORE})

    assert restore(routers, name, tmp_path / "backup") == counts

    assert sharded_collections(routers, name) == KEYS
    assert everything(routers, name) == before
    assert all(client[name]["calls"].count_documents({}) > 0 for client in shards.values())
    assert all(need.is_met for need in needs(routers, name))


async def test_restore_to_a_new_database_of_a_cluster_says_how_to_shard_it(
    database: Database, mongodb_uri: str, cluster_uri: str, routers: Client, name: str, tmp_path: Path
) -> None:
    await filled(database)
    own = database.calls.database.name
    with Client(mongodb_uri) as client:
        write_backup(client, own, tmp_path / "backup", is_own=False)
        before = everything(client, own)

    restored = loomql("restore", str(tmp_path / "backup"), LOOMQL_MONGODB_URI=cluster_uri, LOOMQL_MONGODB_DATABASE=name)

    assert restored.stdout.splitlines()[1:] == ["Collections are not sharded: run `loomql shard --apply`."]
    assert everything(routers, name) == before
    apply(cluster_uri, name)
    assert everything(routers, name) == before


async def test_restore_of_a_cluster_to_a_replica_set_has_no_indexes_of_shard_keys(
    on_cluster: Database, cluster_uri: str, routers: Client, name: str, mongodb_uri: str, tmp_path: Path
) -> None:
    apply(cluster_uri, name)
    await filled(on_cluster)
    write_backup(routers, name, tmp_path / "backup", is_own=False)

    with Client(mongodb_uri) as client:
        client.drop_database(name)
        restore(client, name, tmp_path / "backup")
        names = {
            each for found in client[name].list_collection_names() for each in client[name][found].index_information()
        }
        assert everything(client, name)["calls"] == everything(routers, name)["calls"]
        client.drop_database(name)

    assert SUPPORTING_INDEX not in names


def primary_of(routers: Client, name: str) -> str:
    """Return the shard that has the new collections of a database."""
    found = routers["config"]["databases"].find_one({"_id": name})
    assert found is not None
    return str(found["primary"])


def move_upper_part(routers: Client, name: str, collection: str, middle: dict[str, Any]) -> None:
    """Move the documents of a collection from a value of its shard key on to another shard than the primary one."""
    namespace = f"{name}.{collection}"
    if not all(isinstance(each, MinKey) for each in middle.values()):
        routers.admin.command("split", namespace, middle=middle)
    second = routers["config"]["shards"].find({"_id": {"$ne": primary_of(routers, name)}})[0]["_id"]
    move = {"moveRange": namespace, "toShard": second, "min": middle, "max": dict.fromkeys(middle, MaxKey())}
    routers.admin.command(move | {"waitForDelete": True})


def cluster_findings(routers: Client, uri: str, name: str, *subjects: str) -> list[Finding]:
    settings = Settings(mongodb_uri=uri, mongodb_database=name, database_timeout_seconds=30)
    return [each for each in check_cluster(routers, uri, settings) if not subjects or each.subject in subjects]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let events and checks of the doctor take as long as a test may."""
    monkeypatch.setattr(cluster_checks, "_MAX_EVENT_SECONDS", TIMEOUT)
    monkeypatch.setattr(cluster_checks, "CHECK_SECONDS", TIMEOUT)
    monkeypatch.setattr(cluster_checks, "_EVENTS_CHECK_SECONDS", TIMEOUT)


def test_doctor_finds_nothing_on_a_sharded_cluster(cluster_uri: str, routers: Client, name: str) -> None:
    assert [each.level for each in cluster_findings(routers, cluster_uri, name, "sharding")] == [Level.WARNING]
    apply(cluster_uri, name)

    doctor = run_in_process("doctor", LOOMQL_MONGODB_URI=cluster_uri, LOOMQL_MONGODB_DATABASE=name, LOOMQL_PORT="0")

    lines = {line.split()[1]: line for line in doctor.stdout.splitlines()}
    subjects = ("topology:", "sharding:", "shards:", "routers:", "versions:", "events:", "clocks:")
    assert {lines[each].split()[0] for each in subjects} == {"ok"}
    settings = routers["config"]["settings"].find_one({"_id": "balancer"}) or {}
    is_off = settings.get("stopped") or settings.get("mode") == "off"
    assert ("run sh.startBalancer()" in lines["balancer:"]) is bool(is_off)


def test_doctor_names_what_repairs_each_finding(
    cluster_uri: str, routers: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers with other clocks, versions and parameters, which one machine does not have."""
    read = Server.read

    def changed(uri: str, address: str, milliseconds: int) -> Server:
        found = read(uri, address, milliseconds)
        if found.noop_interval is None:
            return replace(found, version="7.0.1", connections=100)
        return replace(found, noop_interval=10, skew=timedelta(seconds=-3))

    monkeypatch.setattr(Server, "read", changed)
    found = {each.subject: each for each in cluster_findings(routers, cluster_uri, name)}

    assert {found[each].level for each in ("routers", "versions", "events", "clocks")} == {Level.WARNING}
    assert "raise its net.maxIncomingConnections" in found["routers"].text
    assert "Upgrade all to one version" in found["versions"].text
    assert "up to 10 s late" in found["events"].text
    assert "restart each mongod with --setParameter periodicNoopIntervalSecs=1" in found["events"].text
    assert "is 3.0 s behind" in found["clocks"].text
    assert "timedatectl set-ntp true" in found["clocks"].text


@contextmanager
def refused(running: Cluster, command: str, code: int, **options: Any) -> Iterator[str]:
    """Have all members of shards answer a command with an error; yield the URI whose clients get it."""
    with ExitStack() as stack:
        for each in running.shards:
            for member in each.members:
                stack.enter_context(member.failing([command], errorCode=code, **options))
        yield f"{running.uri}?appName=loomql"


@pytest.mark.parametrize(
    ("code", "repair"),
    [
        (18, 'createUser({ user: "USER", pwd: passwordPrompt(), roles: [{ role: "clusterMonitor", db: "admin" }] })'),
        (13, 'grantRolesToUser("USER", [{ role: "clusterMonitor", db: "admin" }])'),
    ],
    ids=["unknown user", "lacking role"],
)
@pytest.mark.usefixtures("patient")
def test_doctor_names_the_members_that_refuse_its_user(
    running: Cluster, routers: Client, name: str, monkeypatch: pytest.MonkeyPatch, code: int, repair: str
) -> None:
    with refused(running, "getParameter", code) as uri:
        found = {each.subject: each for each in cluster_findings(routers, uri, name)}
        monkeypatch.setattr(cluster_checks, "_MAX_EVENT_SECONDS", 0.0)
        [slow] = cluster_findings(routers, uri, name, "events")

    assert found["members"].level is Level.WARNING
    assert "versions, clocks and periodicNoopIntervalSecs are not checked" in found["members"].text
    assert "n the primary of each shard, " in found["members"].text
    assert f'run db.getSiblingDB("admin").{repair}' in found["members"].text
    for each in running.shards:
        for member in each.members:
            assert f"{member.host} of shard {each.name}" in found["members"].text
            assert member.host in found["events"].text
    assert {found[each].level for each in ("shards", "versions", "events", "clocks")} == {Level.OK}
    assert "2 of 6 routers and members" in found["versions"].text
    assert slow.level is Level.WARNING
    assert "restart each mongod with" in slow.text


def test_member_with_access_control_needs_a_user_with_the_role_cluster_monitor(guarded_uri: str) -> None:
    address = guarded_uri.partition("@")[2].partition("/")[0]
    writer = user_uri(guarded_uri, "writer", [{"role": "readWrite", "db": "loomql"}])
    monitor = user_uri(guarded_uri, "monitor", [{"role": MONITOR, "db": "admin"}])

    unknown, lacking, known = (
        Server.read(uri, address, 30_000) for uri in (guarded_uri.replace("root:", "unknown:"), writer, monitor)
    )

    assert unknown.why_unread == "Authentication failed"
    assert isinstance(unknown.error, OperationFailure)
    assert isinstance(lacking.error, OperationFailure)
    assert (unknown.error.code, lacking.error.code, known.error) == (18, UNAUTHORIZED, None)
    assert [each.has_primary for each in (unknown, lacking, known)] == [True] * 3
    assert known.noop_interval == 10


def test_user_with_a_certificate_is_created_without_a_password() -> None:
    assert User("CN=loomql", "$external", []).create(MONITOR) == (
        'db.getSiblingDB("$external").createUser('
        '{ user: "CN=loomql", roles: [{ role: "clusterMonitor", db: "admin" }] })'
    )


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([0.1, 1.9], "the last event took 1.9 s"),
        # An event that does not follow another one may be early by chance.
        ([0.1, 2.1, 0.1, 1.9], "the last event took 1.9 s"),
        ([2.1, 0.1, 1.9], "the last event took 1.9 s"),
        ([2.1, 0.1, 2.1], "events take more than 2 s"),
        ([0.1, 2.1, 2.1], "events take more than 2 s"),
        ([2.1, 2.1], "events take more than 2 s"),
    ],
)
def test_doctor_warns_of_two_late_events(
    routers: Client, name: str, monkeypatch: pytest.MonkeyPatch, waits: list[float], expected: str
) -> None:
    left = iter(waits)
    monkeypatch.setattr(cluster_checks, "_seconds_of_next", lambda *_: next(left))

    [found] = cluster_checks._no_ops(routers, name, [])

    assert found.text.startswith(expected)
    assert found.level is (Level.WARNING if "more" in expected else Level.OK)
    assert list(left) == []


@pytest.mark.skipif(not IS_STAND_IN, reason="mongos answers these commands itself")
@pytest.mark.usefixtures("patient")
def test_doctor_checks_routers_and_events_without_the_role_cluster_monitor(
    running: Cluster, routers: Client, name: str
) -> None:
    with refused(running, "find", 13, namespace="config.shards") as uri, Client(uri) as client:
        found = {each.subject: each for each in cluster_findings(client, uri, name)}
    with refused(running, "serverStatus", 13) as uri:
        [of_routers] = cluster_findings(routers, uri, name, "routers")

    assert {subject for subject, each in found.items() if each.level is not Level.OK} == {"sharding"}
    assert "may not read how collections are sharded" in found["sharding"].text
    assert found.keys() == {"sharding", "routers", "versions", "events", "clocks"}
    assert "the last event took" in found["events"].text
    assert of_routers.level is Level.WARNING
    assert "Whether they accept the" in of_routers.text
    assert 'grantRolesToUser("USER", [{ role: "clusterMonitor", db: "admin" }])' in of_routers.text


def test_doctor_ends_and_names_the_shard_that_hangs(running: Cluster, name: str) -> None:
    """The router of the other shard, because the stand-in has a shard read the configuration."""
    uri, [member] = running.uri_of(1), running.shards[0].members
    member.signal(signal.SIGSTOP)
    try:
        doctor = loomql("doctor", LOOMQL_MONGODB_URI=uri, LOOMQL_MONGODB_DATABASE=name, LOOMQL_PORT="0")
    finally:
        member.signal(signal.SIGCONT)

    lines = {line.split()[1]: line for line in doctor.stdout.splitlines()}
    assert doctor.returncode == 1
    assert lines["sharding:"].startswith("problem sharding: not checked: MongoDB gave no answer in 6 s")
    assert lines["indexes:"].startswith("problem indexes: not checked: MongoDB gave no answer in 6 s")
    assert "A server hangs, or a shard has no primary" in lines["sharding:"]
    assert lines["shards:"].startswith("warning shards: no member of one (of one, two) answers")
    assert f"{member.host} of shard one (timed out)" in lines["members:"]
    assert "restart those that hang" in lines["members:"]
    assert {lines[each].split()[0] for each in ("routers:", "versions:", "clocks:")} == {"ok"}


def test_doctor_names_the_shard_without_a_primary(running: Cluster, name: str) -> None:
    shard = running.shards[1]
    lost = [shard.primary(), *shard.secondaries()[:1]]
    [left] = [member for member in shard.members if member not in lost]
    try:
        for member in lost:
            member.kill()
        with left.client() as client:
            deadline = time.monotonic() + TIMEOUT
            while "primary" in client.admin.command("hello") and time.monotonic() < deadline:
                time.sleep(0.1)
        doctor = loomql("doctor", LOOMQL_MONGODB_URI=running.uri_of(0), LOOMQL_MONGODB_DATABASE=name, LOOMQL_PORT="0")
    finally:
        for member in lost:
            member.start()
        shard.wait_until_whole()

    lines = {line.split()[1]: line for line in doctor.stdout.splitlines()}
    assert doctor.returncode == 1
    assert lines["shards:"].startswith("problem shards: no primary in two (of one, two)")
    assert all(f"{member.host} of shard two" in lines["members:"] for member in lost)
    assert f"{left.host} of shard two" not in lines["members:"]
    assert lines["events:"].startswith("problem events: not checked")
    assert {lines[each].split()[0] for each in ("routers:", "versions:", "clocks:", "data:")} == {"ok"}
    assert "does not answer" not in doctor.stdout


@pytest.mark.skipif(not IS_STAND_IN, reason="mongos lists itself in config.mongos")
def test_doctor_does_not_tell_to_add_the_router_that_the_uri_names(
    running: Cluster, routers: Client, name: str
) -> None:
    uri = running.uri_of(0).replace("127.0.0.1", "localhost")
    own = Server.read(uri, running.routers[0], 30_000).name
    with running.config.primary().client() as client:
        known = client["config"]["mongos"]
        try:
            for each in (own, "other:27017"):
                # MongoDB 7.0 refuses a router without its other fields.
                router = {"ping": datetime.now(UTC), "up": Int64(1), "waiting": True, "mongoVersion": "7.0"}
                known.update_one({"_id": each}, {"$set": router}, upsert=True)
            [two] = cluster_findings(routers, uri, name, "routers")
            known.delete_one({"_id": "other:27017"})
            [one] = cluster_findings(routers, uri, name, "routers")
        finally:
            known.delete_many({"_id": {"$in": [own, "other:27017"]}})

    assert two.text == "LOOMQL_MONGODB_URI names one router of 2: add other:27017, in case it stops."
    assert one.level is Level.OK


def test_addresses_are_those_of_a_uri() -> None:
    assert [_address("host", 27017), _address("::1", 27018), _address("/run/mongos.sock", None)] == [
        "host:27017",
        "[::1]:27018",
        "%2Frun%2Fmongos.sock",
    ]


def test_doctor_finds_a_stopped_router(cluster_uri: str, routers: Client, name: str) -> None:
    lost = f"127.0.0.1:{free_port()}"
    uri = cluster_uri.replace("mongodb://", f"mongodb://{lost},")
    settings = Settings(mongodb_uri=uri, mongodb_database=name, database_timeout_seconds=1)
    [routers_found] = [each for each in check_cluster(routers, uri, settings) if each.subject == "routers"]

    assert routers_found.level is Level.WARNING
    assert lost in routers_found.text
    assert "remove them from LOOMQL_MONGODB_URI" in routers_found.text


@pytest.fixture(scope="module")
def guarded_uri() -> Iterator[str]:
    """Yield the address of a replica set of one member with access control, for its administrator."""
    with short_folder() as folder:
        (folder / "key").write_text("x" * 32)
        (folder / "key").chmod(0o600)
        port = free_port()
        # fmt: off
        command = [
            str(find_mongod()), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1",
            "--replSet", "guarded", "--keyFile", str(folder / "key"), "--wiredTigerCacheSizeGB", "0.25",
            "--nounixsocket", "--quiet",
        ]
        # fmt: on
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            with Client("127.0.0.1", port, directConnection=True) as client:
                members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
                client.admin.command("replSetInitiate", {"_id": "guarded", "members": members})
                while not client.admin.command("hello")["isWritablePrimary"]:
                    time.sleep(0.05)
                # The first user may be made without access rights, from this machine.
                client.admin.command("createUser", "root", pwd=_PASSWORD, roles=["root"])
            yield f"mongodb://root:{_PASSWORD}@127.0.0.1:{port}/?replicaSet=guarded"
            process.terminate()


def user_uri(guarded_uri: str, user: str, roles: list[dict[str, str]]) -> str:
    """Create a user and return the address for it."""
    with Client(guarded_uri) as client:
        client.admin.command("createUser", user, pwd=_PASSWORD, roles=roles)
    return guarded_uri.replace("root:", f"{user}:")


@pytest.fixture
def least(guarded_uri: str) -> Iterator[tuple[str, Database]]:
    """Yield a URI of a user with the role readWrite only, and a database opened by it."""
    uri = user_uri(guarded_uri, "least", [{"role": "readWrite", "db": "loomql"}])
    database = Database.open(uri, "loomql", DATABASE_TIMEOUT, query_timeout_seconds=2 * TIMEOUT)
    yield uri, database
    database.close()


async def read_slowly(database: Database) -> None:
    """Read twenty calls, for longer than `until` waits."""
    await database.calls.find({"$where": f"sleep({TIMEOUT * 100})"}).to_list(None)


async def test_role_read_write_suffices(least: tuple[str, Database], guarded_uri: str, tmp_path: Path) -> None:
    uri, database = least
    await database.ensure_indexes()
    stores = await filled(database)
    assert await stores.calls.count(PROJECT, None, None) == 20
    slow = asyncio.create_task(database.query(read_slowly(database)))
    with Client(guarded_uri) as administrator:
        running: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True}},
            {"$match": {"op": "query", "command.find": "calls"}},
        ]
        await until(lambda: administrator.admin.aggregate(running).to_list() != [])
        slow.cancel()
        await until(lambda: administrator.admin.aggregate(running).to_list() == [])
    report = await stores.purges.purge(PROJECT, PROJECT, waits=False)
    assert report.removed.calls == 20
    with Client(uri) as client:
        write_backup(client, "loomql", tmp_path / "backup", is_own=False)
        for collection in client["loomql"].list_collection_names():
            client["loomql"].drop_collection(collection)
        restore(client, "loomql", tmp_path / "backup")
        settings = Settings(mongodb_uri=uri)
        [found] = check_user(client, settings, has_shards=False)
        [on_cluster] = check_user(client, settings, has_shards=True)

    assert (found.level, on_cluster.level) == (Level.OK, Level.WARNING)
    grant = 'db.getSiblingDB("admin").grantRolesToUser("least", [{ role: "clusterMonitor", db: "admin" }])'
    assert f"run {grant}." in on_cluster.text


def test_missing_roles_are_named(guarded_uri: str) -> None:
    reader = user_uri(guarded_uri, "reader", [{"role": "read", "db": "loomql"}])
    manager = user_uri(
        guarded_uri, "manager", [{"role": "readWrite", "db": "loomql"}, {"role": MANAGER, "db": "admin"}]
    )
    with Client(reader) as client:
        user = User.of(client)
        [found] = check_user(client, Settings(mongodb_uri=reader), has_shards=False)
        assert user.lacks(["enableSharding", "find"], "loomql") == ["enableSharding"]
        assert user.lacks(["find"], "other") == ["find"]
        with pytest.raises(ShardingError, match=r"the user 'reader' may not read .* run db\.getSiblingDB"):
            sharded_collections(client, "loomql")
    with Client(manager) as client:
        assert User.of(client).lacks(["enableSharding", "createIndex"], "loomql") == []
        assert User.of(client).lacks(["inprog"]) == ["inprog"]
        assert sharded_collections(client, "loomql") == {}

    assert found.level is Level.PROBLEM
    assert "lacks the rights insert, update, remove" in found.text
    assert '[{ role: "readWrite", db: "loomql" }]' in found.text
