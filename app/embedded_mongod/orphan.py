"""Stops a mongod that outlived the LoomQL that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.embedded_mongod.errors import EmbeddedMongodError

if sys.platform != "win32":
    import fcntl

TIMEOUT_SECONDS = 20.0
NOT_TOLD_YET = 0


def stop_orphan(database: Path) -> None:
    """Stop the mongod that has `database` open, by SIGTERM and then SIGKILL; return at once if there is none.

    mongod locks `mongod.lock` while it lives, and writes its process id there. A file that is not locked is stale. A
    mongod that LoomQL did not start is an error.
    """
    lock_file = database / "mongod.lock"
    signalled = None
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (holder := _holder(lock_file)) is not None:
        is_late = time.monotonic() > deadline
        if is_late or holder not in {signalled, NOT_TOLD_YET}:
            _check_ours(holder, database)
            _send(holder, signal.SIGKILL if is_late else signal.SIGTERM)
            signalled = holder
        time.sleep(0.05)


def _holder(lock_file: Path) -> int | None:
    """Return the process that has locked `lock_file`, 0 if its id is not written yet; None if it is not locked."""
    try:
        with lock_file.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read(32) or NOT_TOLD_YET)
    except FileNotFoundError:
        return None
    return None


def _check_ours(pid: int, database: Path) -> None:
    if f" --dbpath {database} " not in _command_line(pid):
        raise EmbeddedMongodError(
            f"Process {pid}, which LoomQL did not start, has the database in {database} open. "
            "Stop it, or choose another data folder (--data-dir or LOOMQL_DATA_DIR)."
        )


def _command_line(pid: int) -> str:
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            return ""
        return words.replace(b"\0", b" ").decode(errors="replace")
    process = subprocess.run(  # noqa: S603 - a fixed program and a number
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return process.stdout


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
