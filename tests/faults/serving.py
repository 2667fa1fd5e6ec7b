"""A `loomql serve` that keeps its port, so that clients can reconnect after a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any

from tests.app.command import Process, eventually, start
from tests.free_ports import free_port
from tests.waiting import TIMEOUT


class Serving:
    """One server that can be restarted. Each start writes its output to a new file."""

    def __init__(self, folder: Path, *arguments: str, **how: Any) -> None:
        """Take the options of `tests.app.command.start`, such as the environment."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/graphql"
        self._folder = folder
        self._arguments = ("serve", "--port", str(port), *arguments)
        self._how = how
        self._lives = 0
        self.process: Process | None = None

    def start(self) -> None:
        """Start the server without waiting until it is up."""
        self._lives += 1
        self.process = start(self.output, *self._arguments, **self._how)

    @property
    def output(self) -> Path:
        """The output file of the latest start."""
        return self._folder / f"life-{self._lives}"

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self.process is not None
        return self.process.pid

    def wait_until_up(self) -> None:
        """Wait until the server logs that it is up."""
        process = self.process
        assert process is not None
        assert eventually(lambda: b"LoomQL is up" in self.output.read_bytes() or process.poll() is not None)
        assert process.poll() is None, self.output.read_text()

    def end(self, number: Signals) -> None:
        """Send a signal to the server and wait until it exits."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(TIMEOUT)


@contextmanager
def serving(folder: Path, *arguments: str, **how: Any) -> Iterator[Serving]:
    """Start a server and terminate it when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Serving(folder, *arguments, **how)
    server.start()
    try:
        yield server
    finally:
        server.end(SIGTERM)
