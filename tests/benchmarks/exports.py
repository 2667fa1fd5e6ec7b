"""Benchmarks of an export of all calls while a client lists the 50 newest without a pause, and of that client alone."""

import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.servers import LoomQL
from tests.benchmarks.sides import Connection, request
from tests.benchmarks.stock import PROJECT

_NEWEST: Final = """query ($projectId: ID!) {
  calls(projectId: $projectId, sortBy: [{ field: "started_at", direction: DESC }], first: 50) {
    nodes { id opName startedAt endedAt status latencyMs displayName traceId inputs output } } }"""
_ALONE_SECONDS: Final = 4.0
_PERCENT: Final = 100
_POLL_SECONDS: Final = 0.05
_FEWEST: Final = 2
_MIB: Final = 1024


def measure_exports(server: LoomQL, calls: int, rounds: int) -> Section:
    """Measure the rate of the export, the latency of the concurrent client, and the peak memory of both processes."""
    alone: list[float] = []
    during: list[float] = []
    took: list[float] = []
    with _memory_of(server.process_id) as memory:
        for _ in range(rounds):
            alone += _listing_during(server, lambda: time.sleep(_ALONE_SECONDS))
            began = time.perf_counter()
            during += _listing_during(server, lambda: _export(server.url, calls))
            took.append(time.perf_counter() - began)
    a_second = calls / statistics.median(took)
    exported = Row(loomql_ms=1000 * statistics.median(took), a_second=a_second)
    listed = Row(loomql_ms=_p99(during), floor_ms=_p99(alone), ratio=_p99(during) / _p99(alone))
    held = max(memory) / _MIB
    return {
        f"export {calls:,} calls while a client lists": exported.held_to(
            Must("a second", 20_000, at_least=True), a_second
        ),
        "list the 50 newest during it (p99; floor: alone)": listed.held_to(Must("ratio", 2), listed.ratio),
        "memory of both processes": Row().held_to(Must("MiB", 250), held),
    }


def _listing_during(server: LoomQL, work: Callable[[], object]) -> list[float]:
    """Return the milliseconds that each list took during some work; there are at least two."""
    found: list[float] = []
    done = threading.Event()

    def ask() -> None:
        body = request(_NEWEST, projectId=PROJECT)
        with Connection(server.url) as connection:
            while not done.is_set() or len(found) < _FEWEST:
                began = time.perf_counter()
                connection.post(body)
                found.append(1000 * (time.perf_counter() - began))

    client = threading.Thread(target=ask)
    client.start()
    try:
        work()
    finally:
        done.set()
        client.join()
    return found


def _export(url: str, calls: int) -> None:
    """Read an export in a separate process, so that it takes no time from the measured client."""
    done = subprocess.run([sys.executable, "-m", __name__, url], check=True, capture_output=True, text=True)
    if f'"count":{calls},"complete":true' not in done.stdout:
        raise AssertionError(f"the export ended with {done.stdout}")


def _p99(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=_PERCENT)[-1]


@contextmanager
def _memory_of(process_id: int) -> Iterator[list[int]]:
    """Sample the memory of a server and its export processes until the block ends, in KiB."""
    found = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(_POLL_SECONDS):
            exports = [each for each in _started_by(process_id) if b"app.exports.worker" in _read(each, "cmdline")]
            found.append(sum(map(_resident, [process_id, *exports])))

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield found
    finally:
        done.set()
        watch.join()


def _started_by(process_id: int) -> list[int]:
    threads = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def _resident(process_id: int) -> int:
    _, _, after = _read(process_id, "status").partition(b"VmRSS:")
    return int(after.split()[0]) if after else 0


def _read(process_id: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{process_id}/{name}").read_bytes()
    except OSError:  # the process has ended
        return b""


def main() -> None:
    """Read an export from the server with the given GraphQL URL and print its last bytes."""
    parts = urlsplit(sys.argv[1])
    with socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
        path = f"/export/calls?projectId={PROJECT}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        end = b""
        while part := connection.recv(1 << 18):
            end = (end + part)[-1000:]
    sys.stdout.write(end.decode(errors="replace"))


if __name__ == "__main__":
    main()
