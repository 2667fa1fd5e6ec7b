"""Processes that run a module, forked from one process that has already imported LoomQL.

A new interpreter needs two seconds of CPU time to import LoomQL; a fork needs some milliseconds. Tests of the start of
a process, of its environment (PYTHONPATH and similar) or of its memory start an interpreter instead.
"""

import atexit
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parent.parent
_IMPORTED: Final = ("app.commands.dispatch", "app.server.application", "app.demo", "uvicorn.protocols.websockets")
_LONGEST_PAUSE_SECONDS: Final = 0.02
_MOST_FILES: Final = 65_536


class ForkedProcess:
    """A forked process, with those methods of subprocess.Popen that tests use."""

    def __init__(self, arguments: Sequence[str], pid: int, ended: int) -> None:
        """Take over the end of a pipe from which the wait status of the process can be read once it has ended."""
        self.args = arguments
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended
        self._lock = threading.Lock()
        os.set_blocking(ended, False)

    def poll(self) -> int | None:
        """Return the exit code, or None if the process runs."""
        with self._lock:
            if self.returncode is None:
                try:
                    status = os.read(self._ended, 16)
                except BlockingIOError:
                    return None
                assert status, "the template process has ended"
                os.close(self._ended)
                self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process and return its exit code.

        Raises:
            subprocess.TimeoutExpired: The process still runs after `timeout` seconds.
        """
        began, pause = time.monotonic(), 0.001
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the template has its status, and has not written it yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes]
) -> ForkedProcess:
    """Run `python -m <module> <arguments>` in the checkout's folder in a forked process."""
    return _template().start(module, arguments, environment, output, errors)


class _Template:
    """The process that is forked, and the socket on which it is asked to.

    The process ends with this one, because its end of the socket closes.
    """

    def __init__(self) -> None:
        self._asking, asked = socket.socketpair()
        self._lock = threading.Lock()
        with asked:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(asked.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[asked.fileno()],
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._asking.close()
        self._process.wait()

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes],
        errors: IO[bytes],
    ) -> ForkedProcess:
        sys.audit("os.fork")  # tests that must start no process are found by this event
        ended, ends = os.pipe()
        with tempfile.TemporaryFile() as request, self._lock:
            request.write(json.dumps([module, arguments, dict(environment)]).encode())
            request.flush()
            socket.send_fds(self._asking, [b"?"], [request.fileno(), output.fileno(), errors.fileno(), ends])
            os.close(ends)
            pid = int.from_bytes(self._asking.recv(8))
        assert pid, "the template process has ended"
        return ForkedProcess([module, *arguments], pid, ended)


@functools.cache
def _template() -> _Template:
    return _Template()


def _main(asked: socket.socket) -> None:
    """Fork a process for each request until the tests end; run the requested module in the forked process."""
    for name in _IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    if files := _forked(asked):
        request, output, errors, _ends = files
        os.dup2(output, 1)
        os.dup2(errors, 2)
        module, arguments, environment = json.loads(os.pread(request, os.fstat(request).st_size, 0))
        asked.detach()
        os.closerange(3, _MOST_FILES)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _forked(asked: socket.socket) -> list[int] | None:
    """Return the files of a request in the process that is forked for it, or None once the tests have ended."""
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asked.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_ended(ends)
        if asked.fileno() in ready:
            message, files, _, _ = socket.recv_fds(asked, 1, 4)
            if not message:
                return None
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return files
            *others, ends[pid] = files
            for file in others:
                os.close(file)
            asked.send(pid.to_bytes(8))


def _report_ended(ends: dict[int, int]) -> None:
    """Write the wait status of each process that has ended into its pipe."""
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        os.write(ends[pid], str(status).encode())
        os.close(ends.pop(pid))


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
