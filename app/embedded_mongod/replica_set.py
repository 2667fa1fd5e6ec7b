"""One mongod as a replica set of itself, over a Unix socket, taking writes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from app.embedded_mongod.binary import WAYS_OUT
from app.embedded_mongod.data_folder import DataFolder
from app.embedded_mongod.errors import EmbeddedMongodError
from app.embedded_mongod.log_file import LogFile
from app.embedded_mongod.supervisor import Supervisor

Client = MongoClient[dict[str, object]]

NAME = "loomql"
OPLOG_MB = 990
# Recovering a journal of a killed server on a slow disk is what takes longest.
READY_SECONDS = 120.0
POLL_SECONDS = 0.02
NOT_YET_INITIALIZED = 94


@contextmanager
def running_mongod(mongod: Path, folder: DataFolder, cache_gb: float) -> Iterator[str]:
    """Run `mongod` over a folder that is held, for as long as the block lasts; yield its URI."""
    supervisor = Supervisor(command(mongod, folder, cache_gb), LogFile(folder.log))
    supervisor.start()
    try:
        _make_primary(folder, supervisor)
        supervisor.confirm()
        yield folder.uri
    finally:
        supervisor.stop()


def command(mongod: Path, folder: DataFolder, cache_gb: float) -> list[str]:
    """The command line: a socket that only its user can open, and nothing on the network.

    Compressed messages are off because MongoDB 6.0.5 has a known hole there.
    """
    # fmt: off
    return [
        str(mongod), "--dbpath", str(folder.database), "--quiet",
        "--bind_ip", str(folder.socket), "--unixSocketPrefix", str(folder.socket.parent),
        "--filePermissions", "0600", "--networkMessageCompressors", "disabled",
        "--replSet", NAME, "--oplogSize", str(OPLOG_MB), "--wiredTigerCacheSizeGB", str(cache_gb),
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        # What a server that was killed left open holds up whoever writes the same, of 60 seconds by itself.
        "--setParameter", "transactionLifetimeLimitSeconds=20",
        # There is no other member to hand over to, so nothing to wait for at a shutdown.
        "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
    ]
    # fmt: on


def _make_primary(folder: DataFolder, supervisor: Supervisor) -> None:
    """Wait until the server takes writes, as the primary of a replica set at this very socket."""
    deadline = time.monotonic() + READY_SECONDS
    with Client(folder.uri, serverSelectionTimeoutMS=1000) as client:
        while not (folder.socket.exists() and _takes_writes(client, str(folder.socket))):
            if supervisor.ended.is_set():
                raise EmbeddedMongodError(f"mongod {supervisor.last_words()} {WAYS_OUT}")
            if time.monotonic() > deadline:
                raise EmbeddedMongodError(
                    f"mongod did not get ready within {READY_SECONDS:.0f} s; its log, {folder.log}, says what it did."
                )
            time.sleep(POLL_SECONDS)


def _takes_writes(client: Client, host: str) -> bool:
    try:
        _configure(client, host)
        return bool(client.admin.command("hello").get("isWritablePrimary"))
    except PyMongoError:  # it is still starting, or an election closed the connection
        return False


def _configure(client: Client, host: str) -> None:
    """Make `host` the set's only member; a folder that was moved still names the socket it had before."""
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
