"""`loomql serve` in a process that reports its number of tasks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.app.command import ROOT, clean, eventually
from tests.load.counted_server import FILE
from tests.waiting import TIMEOUT

_EVENT_BYTES: Final = 8 * 1024 * 1024
"""Memory limit of kept events, which the load reaches within a minute, so that later growth is a leak."""


class CountedServer(NamedTuple):
    """The server's process and URL, the file with its number of tasks, and the file of its output."""

    process: subprocess.Popen[bytes]
    url: str
    tasks_file: Path
    output: Path


@contextmanager
def counted_server(folder: Path, uri: str, database: str) -> Iterator[CountedServer]:
    """Start a server on a database and terminate it when the block ends."""
    output, tasks_file = folder / "server.log", folder / "tasks"
    settings = {
        "LOOMQL_MONGODB_URI": uri,
        "LOOMQL_MONGODB_DATABASE": database,
        "LOOMQL_MAX_EVENT_BYTES": str(_EVENT_BYTES),
        FILE: str(tasks_file),
    }
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.counted_server", "serve", "--port", "0"],
            cwd=ROOT,
            env=clean(settings),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        assert eventually(lambda: b"Stop" in output.read_bytes() or process.poll() is not None)
        address = re.search(r"http://\S+/graphql", output.read_text())
        assert address is not None, output.read_text()
        yield CountedServer(process, address[0], tasks_file, output)
    finally:
        process.terminate()
        process.wait(TIMEOUT)
