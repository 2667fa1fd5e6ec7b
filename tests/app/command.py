"""Helpers that run the command `loomql` in separate processes, as a user does.

The processes are forked from one that has imported LoomQL, unless a program is given, such as PROGRAM.
"""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any, NamedTuple
from unittest.mock import patch

from app.cli import main
from tests import forking
from tests.waiting import TIMEOUT

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "app.cli")
Process = subprocess.Popen[bytes] | forking.ForkedProcess


class Server(NamedTuple):
    """A running `loomql serve`: its process, the address that it printed and its output file."""

    process: Process
    url: str
    output: Path

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def accepts(self) -> bool:
        """Return whether the server's address accepts connections."""
        host, _, port = self.url.removeprefix("http://").partition("/")[0].partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True


def loomql(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a separate process and return its result."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = forking.start("app.cli", arguments, clean(environment), output, errors)
        try:
            code = process.wait(TIMEOUT)
        finally:
            process.kill()
        printed = [_text_of(file) for file in (output, errors)]
    return subprocess.CompletedProcess(arguments, code, *printed)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def run_in_process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in this process, because starting a process takes a second.

    Use it for commands that neither serve nor depend on processes.
    """
    out, errors = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, clean(environment), clear=True),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        try:
            code = main(arguments)
        except SystemExit as usage:
            code = int(usage.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def start(
    output: Path,
    *arguments: str,
    program: Sequence[str] = (),
    module: str = "app.cli",
    folder: str = str(ROOT),
    **environment: str,
) -> Process:
    """Start a command whose output goes to a file; `module` runs in place of `app.cli` if there is no program."""
    with output.open("wb") as file:
        if not program:
            return forking.start(module, arguments, clean(environment), file, file)
        return subprocess.Popen(
            [*program, *arguments],
            cwd=folder,
            env=clean(environment),
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def serving(output: Path, *arguments: str, **how: Any) -> Iterator[Server]:
    """Run `loomql serve` on a free port until the block ends; yield it once it reports that it is up.

    The arguments are those of `start`.
    """
    process = start(output, "serve", "--port", "0", *arguments, **how)
    try:
        assert eventually(lambda: b"Stop" in output.read_bytes() or process.poll() is not None)
        address = re.search(r"http://\S+/graphql", output.read_text())
        assert address is not None, output.read_text()
        yield Server(process, address[0], output)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(TIMEOUT)


def eventually(condition: Callable[[], bool], seconds: float = TIMEOUT) -> bool:
    """Wait for the condition and return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    """Return whether the process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def mongod_pid(data_dir: Path) -> int:
    """Return the process id that a running embedded mongod keeps in its lock file."""
    return int((data_dir / "db" / "mongod.lock").read_text())


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with only the given settings of LoomQL."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOOMQL_")}
    return {**inherited, **environment}
