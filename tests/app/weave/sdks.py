"""The real Weave SDKs, each in an environment of its own that is made once in a checkout and used again."""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

VERSIONS: Final = ("0.52.10", "0.54.0")
"""The one that the reference is of, and the newest; raise it as new ones come out."""

NEWEST: Final = VERSIONS[-1]
PICTURES: Final = "pillow"

_ROOT: Final = Path(__file__).parents[3]
_LOCKS: Final = _ROOT / ".venv-weave-locks"
_PATIENCE_SECONDS: Final = 420


class Sdk:
    """The environment of one version, in a folder that git ignores."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.folder = _ROOT / f".venv-weave-{version}"
        self.python = self.folder / "bin" / "python"
        self._done = self.folder / "whole"
        self._pip: subprocess.Popen[str] | None = None
        self._lock: TextIO | None = None

    def begin(self) -> None:
        """Begin to install it, unless it is there or another process does so; all else goes on beside it."""
        if self._done.exists() or self._pip or not self._take(waits=False):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.create(self.folder)
        wanted = [f"weave=={self.version}", PICTURES]
        self._pip = subprocess.Popen(  # noqa: S603 -- our own command
            [sys.executable, "-m", "pip", "--python", str(self.python), "install", "-q", "--no-compile", *wanted],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> str:
        """Wait until it is installed; why it is not, or an empty text."""
        if self._pip is None and not self._done.exists():
            self._take(waits=True)
            self.begin()
        if self._pip is None:
            self._give_back()
            return ""
        said, _ = self._pip.communicate(timeout=_PATIENCE_SECONDS)
        if self._pip.returncode:
            return said.strip() or f"pip ended with {self._pip.returncode}"
        self._done.touch()
        self._pip = None
        self._give_back()
        return ""

    def give_up(self) -> None:
        """End an installation that nobody waits for any more."""
        if self._pip is not None:
            self._pip.terminate()
            self._pip.communicate()
            self._pip = None
        self._give_back()

    def _take(self, *, waits: bool) -> bool:
        """Take the lock of all who install it, unless another process has it and one does not wait."""
        if self._lock:
            return True
        _LOCKS.mkdir(exist_ok=True)
        lock = (_LOCKS / self.version).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _give_back(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def start(self, program: Sequence[str | Path], url: str, folder: Path) -> "subprocess.Popen[str]":
        """Start a program that is pointed at a server by the three variables, and at a private cache and home."""
        settings = {
            "WANDB_BASE_URL": url,
            "WF_TRACE_SERVER_URL": url,
            "WANDB_API_KEY": "k" * 40,
            "WEAVE_SERVER_CACHE_DIR": str(folder / "cache"),
            "HOME": str(folder),
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "WEAVE", "WF_"))
        }
        return subprocess.Popen(  # noqa: S603 -- our own programs
            [str(self.python), *map(str, program)],
            cwd=folder,
            env={**inherited, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


SDKS: Final = {version: Sdk(version) for version in VERSIONS}
