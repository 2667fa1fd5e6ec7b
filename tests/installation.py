"""Packages that tests install from a registry, once per checkout, while other tests run."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO

ROOT: Final = Path(__file__).parent.parent

_LOCKS: Final = ROOT / ".venv-locks"
_TIMEOUT_SECONDS: Final = 420


class Installation:
    """An installation that one command makes; one process runs the command and the others wait for it."""

    def __init__(self, name: str, fixture: str, mark: Path, prepare: Callable[[], Sequence[str]]) -> None:
        """Register the installation without starting it.

        Args:
            name: The name of its lock file and log file.
            fixture: The fixture of the tests that need it.
            mark: The file that exists once the installation is complete.
            prepare: Removes remains of earlier attempts and returns the command that installs.
        """
        self._mark = mark
        self._prepare = prepare
        self._lock = _LOCKS / name
        self._log = _LOCKS / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        FOR_FIXTURE[fixture].append(self)

    def begin(self) -> None:
        """Start to install in the background, unless it is installed or another process installs it."""
        if self._mark.exists():
            return
        with self._open_lock() as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._start(lock)

    def finish(self) -> str:
        """Wait until it is installed; return the reason for a failure, or an empty string."""
        if self._mark.exists():
            return ""
        with self._open_lock() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._mark.exists():
                self._wait(self._start(lock))
        return "" if self._mark.exists() else self._log.read_text().strip() or "the command said nothing"

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the command; stop it if it takes too long."""
        try:
            process.wait(_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()
            with self._log.open("a") as log:
                log.write(f"given up after {_TIMEOUT_SECONDS} seconds")

    def stop(self) -> None:
        """Stop the command, if it runs."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()

    def _start(self, lock: TextIO) -> "subprocess.Popen[bytes]":
        """Start the command; the command holds the lock until it ends, even if this process exits first."""
        self.stop()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", '"$@" && touch "$0"', self._mark, *self._prepare()],
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        return self._process

    def _open_lock(self) -> TextIO:
        _LOCKS.mkdir(exist_ok=True)
        return self._lock.open("w")


class PythonInstallation(Installation):
    """Packages of PyPI in a separate environment, in a folder that git ignores."""

    def __init__(self, name: str, fixture: str, *packages: str) -> None:
        self._folder = ROOT / f".venv-{name}"
        self._packages = packages
        self.bin = self._folder / "bin"
        super().__init__(name, fixture, self._folder / "whole", self._make_room)

    def _make_room(self) -> list[str]:
        shutil.rmtree(self._folder, ignore_errors=True)
        venv.create(self._folder)
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        return [*pip, "install", "-q", "--no-compile", *self._packages]


FOR_FIXTURE: Final = defaultdict[str, list[Installation]](list)
"""All installations, by the fixture of the tests that need them."""
