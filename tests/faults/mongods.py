"""MongoDB processes: a single mongod, and a replica set of three that tests can kill, suspend, restart or make fail."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.embedded_mongod import embedded_mongod, find_mongod, raise_file_limit
from tests import mongodb_7
from tests.folders import short_folder
from tests.free_ports import free_port
from tests.topologies.router import CLUSTER_COMMANDS
from tests.waiting import TIMEOUT

Document = dict[str, Any]

MONGOD: Final = "LOOMQL_TEST_MONGOD"
"""Environment variable with the binary to run instead of the one that LoomQL finds: mongod, or mongod.exe for wine."""

MEMBERS: Final = 3
NAME: Final = "three"
ELECTION: Final = {"electionTimeoutMillis": 5000, "heartbeatIntervalMillis": 300}
"""On a busy machine a primary may be silent for a second, and a test that has not ended it expects it to stay."""


@contextmanager
def one_mongod() -> Iterator[str]:
    """Start a mongod that is restarted on its folder when it dies; yield its URI."""
    with short_folder() as folder, embedded_mongod(folder, cache_gb=0.25) as uri:
        yield uri


class Mongod:
    """One member: a mongod process whose port and folder stay the same across restarts."""

    def __init__(self, folder: Path, port: int, name: str = NAME, *options: str, binary: Path | None = None) -> None:
        self.name = name
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self._folder = folder
        self._options = options
        self._binary = binary or os.environ.get(MONGOD) or find_mongod()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process on its folder, which keeps earlier data."""
        self._folder.mkdir(exist_ok=True)
        # fmt: off
        command = [
            str(self._binary), "--dbpath", str(self._folder), "--bind_ip", "127.0.0.1",
            "--port", str(self.port),
            "--nounixsocket", "--replSet", self.name, "--oplogSize", "256", "--wiredTigerCacheSizeGB", "0.25",
            "--networkMessageCompressors", "disabled", "--setParameter", "enableTestCommands=1",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
            "--setParameter", "transactionLifetimeLimitSeconds=20", "--quiet", *self._options,
        ]
        # fmt: on
        raise_file_limit()
        words, environment = mongodb_7.runnable(command)
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(words, env=environment, stdout=output, stderr=output)

    @property
    def _output(self) -> Path:
        return self._folder.with_suffix(".log")

    def status_and_log(self) -> str:
        """Return whether the process runs, and the end of its output."""
        code = self._process and self._process.poll()
        return (
            f"{self.host}, {'running' if code is None else f'ended with {code}'}: {self._output.read_text()[-2_000:]}"
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def uri(self) -> str:
        """The URI of this member alone, whatever its role in the replica set."""
        return f"mongodb://{self.host}/?directConnection=true"

    @contextmanager
    def client(self) -> Iterator[MongoClient[Document]]:
        """Connect to this member alone."""
        with MongoClient[Document](self.uri, timeoutMS=TIMEOUT * 1000) as client:
            yield client

    @contextmanager
    def failing(self, commands: list[str], times: int = 0, **how: object) -> Iterator[None]:
        """Make commands of LoomQL fail by `failCommand` with options such as `closeConnection` and `errorCode`.

        They fail `times` times; 0 means always.
        """
        # A shard gets some commands from the stand-in for a router, under other names.
        names = commands + [CLUSTER_COMMANDS[name] for name in commands if name in CLUSTER_COMMANDS]
        data = {"failCommands": names, "appName": "loomql", **how}
        with self.client() as client:
            mode = {"times": times} if times else "alwaysOn"
            client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
            try:
                yield
            finally:
                client.admin.command("configureFailPoint", "failCommand", mode="off")

    @contextmanager
    def replication_stopped(self) -> Iterator[None]:
        """Stop this member's replication, so that it lags behind the primary but still votes."""
        with self.client() as client:
            client.admin.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")
            try:
                yield
            finally:
                client.admin.command("configureFailPoint", "stopReplProducer", mode="off")


class ReplicaSet:
    """A replica set, of three members unless it is a shard."""

    def __init__(self, members: Sequence[Mongod]) -> None:
        self.members = members
        self.name = members[0].name

    @property
    def uri(self) -> str:
        """The URI of the replica set, whichever member is the primary."""
        return f"mongodb://{','.join(member.host for member in self.members)}/?replicaSet={self.name}"

    def initiate(self, **options: object) -> None:
        """Make a replica set of the members; `options` are those of its configuration."""
        members = [{"_id": number, "host": member.host} for number, member in enumerate(self.members)]
        config = {"_id": self.name, "members": members, "settings": ELECTION, **options}
        for member in reversed(self.members):  # the first member asks all others once and fails if one does not answer
            with MongoClient[Document](member.uri, serverSelectionTimeoutMS=TIMEOUT * 1000) as client:
                try:
                    client.admin.command("ping" if member is not self.members[0] else {"replSetInitiate": config})
                except PyMongoError as error:
                    raise self._failure(str(error)) from error

    def primary(self) -> Mongod:
        """Wait for a primary and return it."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for member in self.members:
                with suppress(PyMongoError), MongoClient[Document](member.uri, timeoutMS=500) as client:
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return member
            time.sleep(0.1)
        raise self._failure("no member became the primary")

    def secondaries(self) -> list[Mongod]:
        """Return the other members."""
        primary = self.primary()
        return [member for member in self.members if member is not primary]

    def wait_until_whole(self) -> None:
        """Wait for a primary whose other members follow it: only then can the set survive the loss of another one."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            with suppress(PyMongoError), self.primary().client() as client:
                states = sorted(member["stateStr"] for member in client.admin.command("replSetGetStatus")["members"])
                if states == ["PRIMARY", *["SECONDARY"] * (len(self.members) - 1)]:
                    return
            time.sleep(0.1)
        raise self._failure("the members did not come together")

    def _failure(self, why: str) -> AssertionError:
        return AssertionError("\n".join([why, *(member.status_and_log() for member in self.members)]))

    def step_down(self) -> None:
        """Make the primary step down, once another member has its writes and can be elected at once."""
        with self.primary().client() as client:
            client.admin.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=50)
            client.admin.command("replSetFreeze", 0)  # it may be elected again before the 60 seconds are over


@contextmanager
def replica_set() -> Iterator[ReplicaSet]:
    """Run three mongods with an elected primary until the block ends."""
    with ExitStack() as stack:
        # This is not pytest's folder, because pytest keeps it, and the journals of three mongods are large.
        folder = Path(tempfile.mkdtemp(prefix="loomql-", dir=os.environ.get("TMPDIR")))
        stack.callback(shutil.rmtree, folder)
        members = [Mongod(folder / str(number), free_port()) for number in range(MEMBERS)]
        for member in members:
            stack.callback(member.kill)
            member.start()
        whole = ReplicaSet(members)
        whole.initiate()
        whole.wait_until_whole()
        yield whole
