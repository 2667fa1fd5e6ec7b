"""Starts one mongod as a single-member replica set over a Unix socket."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from app.embedded_mongod.binary import ALTERNATIVES, EmbeddedMongodError
from app.embedded_mongod.data_folder import DataFolder
from app.embedded_mongod.log_file import LogFile
from app.embedded_mongod.supervisor import Supervisor

Client = MongoClient[dict[str, object]]

NAME = "loomql"
OPLOG_MB = 990
# Journal recovery after a crash on a slow disk takes longest.
READY_SECONDS = 120.0
POLL_SECONDS = 0.02
NOT_YET_INITIALIZED = 94


@contextmanager
def running_mongod(mongod: Path, folder: DataFolder, cache_gb: float) -> Iterator[str]:
    """Run `mongod` over a locked folder for the block; yield its URI."""
    supervisor = Supervisor(command(mongod, folder, cache_gb), LogFile(folder.log))
    supervisor.start()
    try:
        _make_primary(folder, supervisor)
        supervisor.confirm()
        yield folder.uri
    finally:
        supervisor.stop()


def command(mongod: Path, folder: DataFolder, cache_gb: float) -> list[str]:
    """Return the command line: a socket that only this user can open, and no network.

    Message compression is off, because MongoDB 6.0.5 has a known vulnerability there.
    """
    # fmt: off
    return [
        str(mongod), "--dbpath", str(folder.database), "--quiet",
        "--bind_ip", str(folder.socket), "--unixSocketPrefix", str(folder.socket.parent),
        "--filePermissions", "0600", "--networkMessageCompressors", "disabled",
        "--replSet", NAME, "--oplogSize", str(OPLOG_MB), "--wiredTigerCacheSizeGB", str(cache_gb),
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        # A killed client's open transaction blocks conflicting writes; MongoDB's default is 60 seconds.
        "--setParameter", "transactionLifetimeLimitSeconds=20",
        # No other member can take over, so a shutdown has nothing to wait for.
        "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
    ]
    # fmt: on


def _make_primary(folder: DataFolder, supervisor: Supervisor) -> None:
    """Wait until mongod accepts writes as the primary of a replica set at this socket."""
    deadline = time.monotonic() + READY_SECONDS
    with Client(folder.uri, serverSelectionTimeoutMS=1000) as client:
        while not (folder.socket.exists() and _accepts_writes(client, str(folder.socket))):
            if supervisor.ended.is_set():
                raise EmbeddedMongodError(f"mongod {supervisor.last_words()} {ALTERNATIVES}")
            if time.monotonic() > deadline:
                raise EmbeddedMongodError(
                    f"mongod was not ready within {READY_SECONDS:.0f} s; see its log, {folder.log}."
                )
            time.sleep(POLL_SECONDS)


def _accepts_writes(client: Client, host: str) -> bool:
    try:
        _configure(client, host)
        return bool(client.admin.command("hello").get("isWritablePrimary"))
    except PyMongoError:  # still starting, or an election closed the connection
        return False


def _configure(client: Client, host: str) -> None:
    """Make `host` the only member; the configuration of a moved folder still names the old socket."""
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        client.admin.command("replSetInitiate", {"_id": NAME, "members": [{"_id": 0, "host": host}]})
        return
    if [member["host"] for member in config["members"]] != [host]:
        config |= {"version": config["version"] + 1, "members": [{"_id": 0, "host": host}]}
        client.admin.command("replSetReconfig", config, force=True)
