"""One mongod as a replica set of one member over a Unix socket: its start, restart and log.

The log is bounded on disk, free of clients' data, and its last lines are in memory. Only MongoDB's Enterprise edition
can redact its log. A high slow-query threshold would not do: warnings of failed queries repeat the whole command, too.
"""

import json
import logging
import math
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from app.embedded_mongod import bound_to_parent
from app.embedded_mongod.binary import ALTERNATIVES, EmbeddedMongodError, explain
from app.embedded_mongod.data_folder import DataFolder

Client = MongoClient[dict[str, object]]

MIN_HISTORY_SECONDS: Final = 60
"""Time for which background work, which has no time limit, may read one snapshot."""

OPEN_FILES: Final = 10_240
"""Files that a mongod may open: one for each collection and index of each database, and one for each connection.

macOS refuses a higher limit.
"""

MAX_LOG_BYTES: Final = 8 * 1024 * 1024
TAIL_LINES: Final = 200
SHOWN_LINES: Final = 3
SHOWN_SIGNS: Final = 200
ERROR_LEVELS: Final = frozenset({"E", "F"})

_WITHOUT_DATA: Final = frozenset({"ACCESS", "CONTROL", "ELECTION", "FTDC", "NETWORK"})
"""Components of mongod whose entries contain no client data."""

_CODE_NAME: Final = re.compile(r"[A-Z][A-Za-z]+[0-9]*(?=: )")
"""The name of an error code before the message, which may repeat a document."""

_KEPT_ATTRIBUTES: Final = frozenset(
    {
        *("type", "ns", "namespace", "remote", "planSummary", "queryHash", "planCacheKey", "queryFramework"),
        *("cursorid", "planningTimeMicros", "cpuNanos", "workingMillis", "durationMillis", "duration", "errCode"),
        *("errName", "keysExamined", "docsExamined", "hasSortStage", "usedDisk", "fromMultiPlanner", "replanned"),
        *("cursorExhausted", "nreturned", "nMatched", "nModified", "nUpserted", "ninserted", "ndeleted"),
        *("keysInserted", "keysDeleted", "numYields", "writeConflicts", "reslen", "locks", "flowControl"),
        *("readConcern", "writeConcern", "storage", "collectionUUID", "buildUUID", "message", "code", "codeName"),
        "file",
    }
)
"""Attributes kept in entries with data: names, numbers and messages of the storage engine."""


class LogFile:
    """Appends lines to `path`, and renames it to `<path>.1` at `max_bytes`.

    On a full disk lines are lost, and mongod goes on.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._file: BinaryIO | None = None

    def append(self, line: bytes) -> None:
        """Write one line, with its newline, without client data."""
        line = without_values(line)
        self._lines.append(line)
        try:
            self._writable().write(line)
        except OSError:
            self.close()

    def clear(self) -> None:
        """Clear the last lines, which belong to an earlier mongod."""
        self._lines.clear()

    def recent(self) -> str:
        """Return the last lines as written."""
        return b"".join(self._lines).decode(errors="replace")

    def gist(self) -> str:
        """Summarize a failed mongod's log on one line: its first errors, else its last warnings."""
        errors, warnings = dict[str, None](), dict[str, None]()
        for line in filter(bytes.strip, self._lines):
            entry = _entry(line)
            # A line without JSON is an error of a loader or shell. Warnings at each start are about the machine.
            if str(entry.get("s", "E")) in ERROR_LEVELS:
                errors[_plain(line, entry)] = None
            elif entry.get("s") == "W" and "startupWarnings" not in entry.get("tags", ()):
                warnings[_plain(line, entry)] = None
        return "; ".join(list(errors)[:SHOWN_LINES] or list(warnings)[-SHOWN_LINES:])

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writable(self) -> BinaryIO:
        if self._file is not None and self._file.tell() >= self.max_bytes:
            self.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        if self._file is None:
            mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._file = os.fdopen(os.open(self.path, mode, 0o600), "ab", buffering=0)
        return self._file


def without_values(line: bytes) -> bytes:
    """Return a line of mongod's log without data from commands, documents and their errors."""
    if not line.startswith(b"{"):
        return line  # written by a loader, a shell or a crash
    entry = _entry(line)
    if not entry:
        return b""  # truncated by the end of mongod or a full disk
    component, attributes = entry.get("c"), entry.get("attr", {})
    if component in _WITHOUT_DATA:
        return line
    # Numbers of an error are mongod's own: of an assertion, a source line or the operating system.
    keeps_numbers = entry.get("s") in ERROR_LEVELS
    kept = {
        name: value
        for name, value in attributes.items()
        if name in _KEPT_ATTRIBUTES or (keeps_numbers and isinstance(value, int | float))
    }
    match attributes.get("error"):
        case dict(error):
            kept["error"] = {name: error[name] for name in ("code", "codeName") if name in error}
        case str(error) if found := _CODE_NAME.match(error):
            kept["error"] = found[0]
    if kept == attributes:
        return line
    return json.dumps({**entry, "attr": kept}, separators=(",", ":")).encode() + b"\n"


def _entry(line: bytes) -> dict[str, Any]:
    try:
        # mongod may truncate a text within a character.
        entry = json.loads(line.decode(errors="replace"))
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _plain(line: bytes, entry: dict[str, Any]) -> str:
    """Format a line for people: its message and attributes, at most `SHOWN_SIGNS` characters."""
    attributes = entry.get("attr", {})
    cause = attributes.get("message", attributes)
    about = f"{cause['msg']}: {cause['error_str']}" if {"msg", "error_str"} <= set(cause) else json.dumps(cause)
    text = f"{entry['msg']} {about if cause else ''}" if "msg" in entry else line.decode(errors="replace")
    return text.strip()[:SHOWN_SIGNS]


NAME: Final = "loomql"
# Journal recovery after a crash on a slow disk takes longest.
READY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.02
NOT_YET_INITIALIZED: Final = 94
STOP_SECONDS: Final = 30.0
# A mongod that ran for this time has recovered; an earlier end doubles the pause before the restart.
HEALTHY_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = logging.getLogger(__name__)


class Supervisor:
    """Runs `command` in its own thread, which lives as long as the process that it forked.

    Linux ends a process bound to its parent when the thread that forked it ends, so the caller's thread or a pool
    thread must not fork it. Before `confirm()`, the end of the command sets `ended`; afterwards the command is
    restarted.
    """

    def __init__(self, command: Sequence[str], log: LogFile) -> None:
        self.ended = threading.Event()
        self.log = log
        self._command = bound(command)
        self._confirmed = False
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="mongod", daemon=True)

    def last_words(self) -> str:
        """Return how the last process ended, with its last log lines and hints."""
        return explain(None if self._process is None else self._process.returncode, self.log.gist(), self.log.recent())

    def start(self) -> None:
        """Start the thread, which starts the command."""
        self._thread.start()

    def confirm(self) -> None:
        """Restart the command from now on when it ends."""
        self._confirmed = True

    def stop(self) -> None:
        """Stop the command with SIGTERM and wait for it; kill it after `STOP_SECONDS`."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            logger.warning("mongod did not stop within %.0f s; killing it", STOP_SECONDS)
            self._signal(signal.SIGKILL)
            self._thread.join()
        self.log.close()

    def _run(self) -> None:
        failures = 0
        pause = 0.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            self._run_once()
            if self._stopping.is_set() or not self._confirmed:
                break
            failures = 0 if time.monotonic() - began > HEALTHY_SECONDS else failures + 1
            pause = min(0.25 * 2**failures, LONGEST_PAUSE_SECONDS)
            logger.error("mongod %s Restarting it in %.1f s.", self.last_words(), pause)
        self.ended.set()

    def _run_once(self) -> None:
        self.log.clear()
        with self._starting:
            if self._stopping.is_set():
                return
            try:
                process = subprocess.Popen(  # noqa: S603 - the binary is the operator's choice
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the terminal must reach LoomQL only, which stops mongod last
                )
            except OSError as error:
                self.log.append(f"{self._command[0]}: {error.strerror}\n".encode())
                return
            self._process = process
        with process:
            for line in process.stdout or ():
                self.log.append(line)

    def _signal(self, number: signal.Signals) -> None:
        with self._starting:
            if self._process is not None:
                self._process.send_signal(number)


def bound(command: Sequence[str]) -> list[str]:
    """Wrap a command so that it ends with this process, which only Linux supports."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-IS", str(Path(bound_to_parent.__file__)), str(os.getpid()), *command]


def raise_file_limit() -> None:
    """Let this process, and the mongods that it starts, open `OPEN_FILES` files, or as many as its user may.

    A login often has a limit of 1,024, or of 256 on macOS. A mongod that needs more files than its limit ends.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        with suppress(ValueError, OSError):  # a sandbox may refuse it; mongod reports if its files do not suffice
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def running_mongod(mongod: Path, folder: DataFolder, cache_gb: float, query_timeout_seconds: float) -> Iterator[str]:
    """Run `mongod` over a locked folder for the block; yield its URI."""
    raise_file_limit()
    supervisor = Supervisor(command(mongod, folder, cache_gb, query_timeout_seconds), LogFile(folder.log))
    supervisor.start()
    try:
        _make_primary(folder, supervisor)
        supervisor.confirm()
        yield folder.uri
    finally:
        supervisor.stop()


def command(mongod: Path, folder: DataFolder, cache_gb: float, query_timeout_seconds: float = 60.0) -> list[str]:
    """Return the command line: a socket that only this user can open, and no network.

    Message compression is off, because MongoDB 6.0.5 has a known vulnerability there.
    """
    history = max(MIN_HISTORY_SECONDS, math.ceil(query_timeout_seconds))
    # fmt: off
    return [
        str(mongod), "--dbpath", str(folder.database), "--quiet",
        "--bind_ip", str(folder.socket), "--unixSocketPrefix", str(folder.socket.parent),
        "--filePermissions", "0600", "--networkMessageCompressors", "disabled",
        "--replSet", NAME, "--oplogSize", "990", "--wiredTigerCacheSizeGB", str(cache_gb),
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        # A killed client's open transaction blocks conflicting writes; MongoDB's default is 60 seconds.
        "--setParameter", "transactionLifetimeLimitSeconds=20",
        # Snapshots live as long as a query. With MongoDB's default of 300 seconds, most keys of an index are written
        # with the time of their insertion, which takes a tenth of the indexes and of mongod's processor time.
        "--setParameter", f"minSnapshotHistoryWindowInSeconds={history}",
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
