"""Keeping one mongod running: started, its log written down, started again when it dies."""

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
from app.embedded_mongod.errors import explain
from app.embedded_mongod.log_file import LogFile

STOP_SECONDS = 30.0
# A mongod that lived this long has recovered; one that did not is started again after a growing pause.
HEALTHY_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Supervisor:
    """Runs `command` in a thread of its own, which lives as long as the process it forked.

    The thread matters: Linux ends a process bound to its parent when the thread that forked it ends, so
    neither the caller's thread nor a pool's may do it. Until `confirm()` a command that ends stays ended and
    `ended` is set; after it the command is started again.
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
        """How the last process ended, what it said and what may help, for people."""
        return explain(None if self._process is None else self._process.returncode, self.log.gist(), self.log.recent())

    def start(self) -> None:
        """Start the thread, which starts the command."""
        self._thread.start()

    def confirm(self) -> None:
        """From now on the command is started again when it ends."""
        self._confirmed = True

    def stop(self) -> None:
        """End the command cleanly and wait for it; what does not end in time is killed."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            logger.warning("mongod did not stop within %.0f s and is killed", STOP_SECONDS)
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
            logger.error("mongod %s Starting it again in %.1f s.", self.last_words(), pause)
        self.ended.set()

    def _run_once(self) -> None:
        self.log.forget()
        with self._starting:
            if self._stopping.is_set():
                return
            try:
                process = subprocess.Popen(  # noqa: S603 - the binary is the operator's choice
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C in the terminal is for LoomQL, which stops it last
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
    """The command as one that does not outlive this process, where the system can promise that (Linux)."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-IS", str(Path(bound_to_parent.__file__)), str(os.getpid()), *command]
