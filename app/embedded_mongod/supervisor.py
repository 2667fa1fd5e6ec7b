"""Supervisor of a mongod process: start, log capture, restart."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from app.embedded_mongod import bound_to_parent
from app.embedded_mongod.binary import explain
from app.embedded_mongod.log_file import LogFile

STOP_SECONDS = 30.0
# A mongod that ran for this time has recovered; an earlier end doubles the pause before the restart.
HEALTHY_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 30.0

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
