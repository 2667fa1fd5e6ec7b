"""Tests of the embedded mongod with the real binary: open ports, crashes and refusals."""

import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from app.embedded_mongod import (
    DataFolder,
    EmbeddedMongodError,
    embedded_mongod,
    find_mongod,
    supervisor,
)
from app.embedded_mongod.supervisor import LogFile
from tests.app.command import eventually, is_alive, mongod_pid
from tests.folders import short_folder
from tests.waiting import TIMEOUT

Client = MongoClient[dict[str, object]]

LITERAL = "literal-of-a-customer"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# A minimal LoomQL: it opens the folder, writes one acknowledged document after another and prints each.
WRITER = """
import sys
from pathlib import Path
from pymongo import MongoClient
from app.embedded_mongod import embedded_mongod
with embedded_mongod(Path(sys.argv[1]), cache_gb=0.25) as uri, MongoClient(uri) as client:
    for number in range(1_000_000):
        client.kept.numbers.insert_one({"_id": number})
        print(number, flush=True)
"""


def listening_tcp_inodes(pid: int) -> set[str]:
    """Return the inodes of the TCP sockets of `pid`, listening or connected."""
    network = set()
    for table in ("tcp", "tcp6"):
        rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        network |= {row.split()[9] for row in rows}
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the process closed it meanwhile
            own.add(str(link.readlink()))
    return {inode for inode in network if f"socket:[{inode}]" in own}


def writes(uri: str) -> bool:
    with Client(uri, serverSelectionTimeoutMS=1_000 * TIMEOUT) as client:
        try:
            client.probe.documents.insert_one({})
        except PyMongoError:
            return False
    return True


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Path, str]]:
    """Run a mongod for the tests that neither stop nor change it; yield its data folder and URI."""
    with short_folder() as parent, embedded_mongod(parent / "data", cache_gb=0.25) as uri:
        yield parent / "data", uri


def test_embedded_mongod_is_a_primary_with_transactions(running: tuple[Path, str]) -> None:
    with Client(running[1]) as client:
        hello = client.admin.command("hello")
        with client.start_session() as session, session.start_transaction():
            client.kept.notes.insert_one({"_id": 1, "text": "woven"}, session=session)

        assert hello["isWritablePrimary"] is True
        assert hello["setName"] == "loomql"
        assert client.kept.notes.find_one({"_id": 1}) == {"_id": 1, "text": "woven"}


@pytest.mark.parametrize(("query_timeout", "history"), [(0.5, 60), (300.2, 301)])
def test_snapshots_live_as_long_as_queries(data_dir: Path, query_timeout: float, history: int) -> None:
    with embedded_mongod(data_dir, None, 0.25, query_timeout) as uri, Client(uri) as client:
        kept = client.admin.command("getParameter", minSnapshotHistoryWindowInSeconds=1)

    assert kept["minSnapshotHistoryWindowInSeconds"] == history


@on_linux
def test_mongod_may_open_more_files_than_a_login(data_dir: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with embedded_mongod(data_dir, cache_gb=0.25):
            files, _ = resource.prlimit(mongod_pid(data_dir), resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert files == (supervisor.OPEN_FILES if hard == resource.RLIM_INFINITY else min(supervisor.OPEN_FILES, hard))


@on_linux
def test_only_its_user_can_connect_and_it_opens_no_tcp_port(running: tuple[Path, str]) -> None:
    data_dir, _ = running
    sockets = [path for path in data_dir.iterdir() if path.is_socket()]

    assert DataFolder(data_dir).socket in sockets
    assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "mongod.log").stat().st_mode) == 0o600
    assert listening_tcp_inodes(mongod_pid(data_dir)) == set()


@on_linux
def test_tcp_socket_check_detects_an_open_port() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening_tcp_inodes(os.getpid())) >= 1


def test_context_exit_leaves_no_process_and_keeps_the_data(data_dir: Path) -> None:
    # given
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        pid = mongod_pid(data_dir)
        client.kept.notes.insert_one({"_id": 1})
    # then
    assert not is_alive(pid)
    assert (data_dir / "db" / "mongod.lock").read_text() == ""  # mongod empties it in a clean shutdown
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        assert client.kept.notes.count_documents({}) == 1


def test_error_inside_the_context_stops_mongod(data_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match="of the caller"), embedded_mongod(data_dir, cache_gb=0.25):
        Path("of the caller").read_text()

    assert (data_dir / "db" / "mongod.lock").read_text() == ""
    assert DataFolder(data_dir).holder() is None


def test_killed_mongod_restarts_with_every_acknowledged_write(data_dir: Path) -> None:
    with (
        embedded_mongod(data_dir, cache_gb=0.25) as uri,
        Client(uri) as client,
        Client(uri, serverSelectionTimeoutMS=100) as hasty,
    ):
        for round_ in range(2):
            # given
            client.kept.notes.insert_one({"_id": round_})
            first = mongod_pid(data_dir)
            # when
            os.kill(first, signal.SIGKILL)
            # then: clients get an error, and later answers
            with pytest.raises(ConnectionFailure):
                hasty.kept.command("ping")
            assert eventually(lambda: writes(uri))
            assert mongod_pid(data_dir) != first
            assert client.kept.notes.count_documents({}) == round_ + 1


@on_linux
def test_killed_loomql_leaves_no_mongod_and_loses_no_acknowledged_write(data_dir: Path) -> None:
    # given
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(data_dir)], stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
        pid = mongod_pid(data_dir)
        # when
        writer.kill()
        acknowledged += [int(line) for line in writer.stdout]
    # then: the folder opens at once, even while the old mongod shuts down
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        kept = {document["_id"] for document in client.kept.numbers.find()}
        assert set(acknowledged) <= kept
    assert eventually(lambda: not is_alive(pid))


def test_orphaned_mongod_is_recognised_and_stopped(data_dir: Path) -> None:
    # given: a mongod with our command line whose parent died, as systems without PDEATHSIG leave it
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        client.kept.notes.insert_one({"_id": 1})
    database = data_dir / "db"
    orphan = subprocess.Popen(
        [find_mongod(), "--dbpath", database, "--bind_ip", data_dir / "m.sock", "--unixSocketPrefix", data_dir],
        stdout=subprocess.DEVNULL,
    )
    with orphan:
        assert eventually(lambda: (database / "mongod.lock").read_text().strip() == str(orphan.pid))
        # when
        with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
            kept = client.kept.notes.count_documents({})
    # then
    assert orphan.returncode is not None
    assert kept == 1


def test_stale_lock_file_with_a_live_pid_harms_neither(data_dir: Path) -> None:
    (data_dir / "db").mkdir(parents=True, mode=0o700)
    (data_dir / "db" / "mongod.lock").write_text(f"{os.getpid()}\n")

    with embedded_mongod(data_dir, cache_gb=0.25) as uri:
        assert writes(uri)


def test_database_opened_by_another_process_is_left_alone(data_dir: Path) -> None:
    # given
    lock = data_dir / "db" / "mongod.lock"
    lock.parent.mkdir(parents=True)
    holding = f"import fcntl, os, sys\nf = open({str(lock)!r}, 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
    holding += "print(os.getpid(), file=f, flush=True)\nprint('held', flush=True)\nsys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        # when / then
        with pytest.raises(EmbeddedMongodError, match=f"Process {other.pid}, which LoomQL did not start"):
            embedded_mongod(data_dir, cache_gb=0.25).__enter__()
        assert other.poll() is None
        assert other.stdin is not None
        other.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems show the name of an ended process")
def test_lock_of_a_process_that_is_ending_is_awaited(data_dir: Path) -> None:
    lock = data_dir / "db" / "mongod.lock"
    lock.parent.mkdir(parents=True)
    # Its child keeps the lock for a while, as the kernel does for a process that was killed.
    ending = f"import fcntl, os, time\nf = open({str(lock)!r}, 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
    ending += "print(os.getpid(), file=f, flush=True)\nif os.fork() == 0:\n    time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", ending]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        with embedded_mongod(data_dir, cache_gb=0.25) as uri:
            assert writes(uri)


def test_second_loomql_on_a_folder_is_refused_with_the_owners_pid(running: tuple[Path, str]) -> None:
    data_dir, uri = running
    with pytest.raises(EmbeddedMongodError, match=f"in use by another LoomQL, process {os.getpid()}"):
        embedded_mongod(data_dir, cache_gb=0.25).__enter__()

    assert DataFolder(data_dir).holder() == str(os.getpid())
    assert writes(uri)


def test_folder_with_a_long_path_uses_a_short_private_socket_path(data_dir: Path) -> None:
    long = data_dir / ("deep" * 20) / ("deeper" * 10)
    with embedded_mongod(long, cache_gb=0.25) as uri:
        where = DataFolder(long).socket.parent

        assert writes(uri)
        assert where != long
        assert len(bytes(where / "mongodb-27017.sock")) < 107
        assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert not where.exists()


def test_socket_folder_writable_by_others_is_refused(data_dir: Path) -> None:
    long = data_dir / ("deep" * 20) / ("deeper" * 10)
    where = DataFolder(long).socket.parent
    where.mkdir()
    where.chmod(0o777)
    try:
        with pytest.raises(EmbeddedMongodError, match="other users may write to it"):
            embedded_mongod(long, cache_gb=0.25).__enter__()
    finally:
        where.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user; run the tests as root")
def test_folder_of_another_user_is_refused_and_unchanged(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, 12345, 12345)

    with pytest.raises(EmbeddedMongodError, match="it belongs to another user, number 12345: run LoomQL as that user"):
        embedded_mongod(data_dir, cache_gb=0.25).__enter__()

    assert list(data_dir.iterdir()) == []


def test_moved_folder_opens_with_its_data(data_dir: Path) -> None:
    # given
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        client.kept.notes.insert_one({"_id": 1})
    moved = data_dir.with_name("elsewhere")
    shutil.move(data_dir, moved)
    # when
    with embedded_mongod(moved, cache_gb=0.25) as uri, Client(uri) as client:
        # then
        assert client.kept.notes.find_one() == {"_id": 1}
        assert client.admin.command("hello")["hosts"] == [str(moved / "m.sock")]
        client.kept.notes.insert_one({"_id": 2})


def test_file_at_the_folder_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")

    message = rf"cannot be used: {tmp_path / 'data'} is a file, not a folder\..*choose another data folder"
    with pytest.raises(EmbeddedMongodError, match=message):
        embedded_mongod(tmp_path / "data").__enter__()
    with pytest.raises(EmbeddedMongodError, match=message):
        embedded_mongod(tmp_path / "data" / "below" / "it").__enter__()


def test_read_only_folder_is_named(tmp_path: Path) -> None:
    closed = Path("/sys/loomql")  # not even root may write here
    if os.getuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)

    with pytest.raises(EmbeddedMongodError, match=f"{closed}.*ermi"):
        embedded_mongod(closed).__enter__()


def test_operations_of_a_killed_server_end_within_half_a_minute(mongodb_uri: str) -> None:
    with Client(mongodb_uri) as client:
        parameter = client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1)

    assert parameter["transactionLifetimeLimitSeconds"] == 20


def provoke(client: Client) -> None:
    """Make mongod log slow and failed commands of all kinds, whose log entries would contain the literal."""
    database = client.kept
    database.command("profile", 0, slowms=-1)
    slow = {"x": LITERAL, "$where": "sleep(1) || true"}
    to_number: list[dict[str, Any]] = [{"$set": {"y": {"$toInt": "$x"}}}]
    database.notes.insert_many([{"x": LITERAL, "number": number} for number in range(400)])
    list(database.notes.find({"x": LITERAL}, batch_size=150))
    database.notes.update_many({"x": LITERAL}, {"$set": {"z": LITERAL}})
    with client.start_session() as session, session.start_transaction():
        database.notes.insert_one({"x": LITERAL}, session=session)
    failing: list[dict[str, Any]] = [
        {"find": "notes", "filter": slow, "maxTimeMS": 50},
        {"find": "notes", "filter": {"$expr": {"$eq": [{"$toInt": "$x"}, LITERAL]}}},
        {"aggregate": "notes", "pipeline": [{"$match": slow}], "cursor": {}, "maxTimeMS": 50},
        {"aggregate": "notes", "pipeline": to_number, "cursor": {}},
        {"distinct": "notes", "key": "x", "query": slow, "maxTimeMS": 50},
        {"findAndModify": "notes", "query": {"x": LITERAL}, "update": to_number},
        {"update": "notes", "updates": [{"q": slow, "u": {"$set": {"z": LITERAL}}, "multi": True}], "maxTimeMS": 50},
        {"delete": "notes", "deletes": [{"q": slow, "limit": 0}], "maxTimeMS": 50},
        {"createIndexes": "notes", "indexes": [{"key": {"x": 1}, "name": "unique", "unique": True}]},
        {LITERAL: 1},
    ]
    for command in failing:
        with pytest.raises(OperationFailure):
            database.command(command)
    with pytest.raises(OperationFailure):  # of a getMore
        list(database.notes.aggregate([{"$set": {"y": {"$cond": [{"$eq": ["$number", 350]}, {"$toInt": "$x"}, 0]}}}]))


def test_mongod_log_lists_slow_and_failed_commands_without_values(data_dir: Path) -> None:
    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
        provoke(client)
    log = (data_dir / "mongod.log").read_text()

    assert LITERAL not in log
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    slow = [entry["attr"] for entry in entries if entry["msg"] == "Slow query" and entry["attr"]["ns"] == "kept.notes"]
    assert len(slow) > 10
    errors = [entry.get("attr", {}).get("error") for entry in entries]
    names = {error.get("codeName") for error in errors if isinstance(error, dict)}
    assert names >= {"ConversionFailure", "DuplicateKey"}
    assert all("durationMillis" in attributes for attributes in slow)
    assert any(attributes.get("planSummary") == "COLLSCAN" for attributes in slow)


def test_mongod_log_size_is_bounded_over_restarts(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 60_000
    monkeypatch.setattr(supervisor, "LogFile", partial(LogFile, max_bytes=most))
    for _ in range(2):
        with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as client:
            client.kept.command("profile", 0, slowms=-1)
            for number in range(200):
                client.kept.notes.insert_one({"number": number})
    sizes = {path.name: path.stat().st_size for path in data_dir.glob("mongod.log*")}

    assert sizes.keys() == {"mongod.log", "mongod.log.1"}
    assert max(sizes.values()) < most + 12_000  # an entry has at most 10 KB of attributes
