"""A `loomql serve` on a port that it keeps, so that its clients find it again after it was killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING

from tests.app.command import TIMEOUT_SECONDS, eventually, start
from tests.free_ports import free_port

if TYPE_CHECKING:
    import subprocess


class Serving:
    """One server; its output goes to a file for each of its lives."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/graphql"
        self._folder = folder
        self._arguments = ("serve", "--port", str(port), *arguments)
        self._environment = environment
        self._lives = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may not be up yet."""
        self._lives += 1
        self.process = start(self.output, *self._arguments, **self._environment)

    @property
    def output(self) -> Path:
        """What its present life wrote."""
        return self._folder / f"life-{self._lives}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def wait_until_up(self) -> None:
        """Wait until it says so."""
        process = self.process
        assert process is not None
        assert eventually(lambda: b"LoomQL is up" in self.output.read_bytes() or process.poll() is not None)
        assert process.poll() is None, self.output.read_text()

    def end(self, number: Signals) -> None:
        """Send a signal, and wait until it has ended."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(TIMEOUT_SECONDS)


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Serving]:
    """Have it started, and at last ended."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Serving(folder, *arguments, **environment)
    server.start()
    try:
        yield server
    finally:
        server.end(SIGTERM)
