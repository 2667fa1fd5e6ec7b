"""Measuring events: from the acknowledgement of a write to the sockets of a thousand subscribers of one process.

The floor is a bare change stream with WebSockets behind it (`live_floor`), measured in turn with the server. Watchers
and the writer are processes of their own; they, the server and MongoDB share the machine.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.app.command import ROOT
from tests.benchmarks.live_watchers import Watched
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.servers import server
from tests.benchmarks.timing import clock_of

SUBSCRIBERS: Final = 1_000
RATE: Final = 500
GROUPS: Final = 100
SECONDS: Final = 10.0
RATES: Final = (10, 15, 20, 30)
"""Of calls all of which go to every subscriber: with them it is seen where it breaks."""
_BATCH: Final = 10
_LATENCY: Final = Must("p99 ms", 250)
_MEMORY: Final = Must("MiB", 400)
_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Spread:
    """How subscribers and calls are spread, and how many calls are written in a second."""

    name: str
    groups: tuple[Watched, ...]
    rate: float = RATE
    is_whole: bool = True
    """Whether start and end of a call are written together, which is one event, or one after the other."""
    must: Must | None = _LATENCY


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one spread: milliseconds of each message, and how many there should be; CPU and memory."""

    latencies: list[float]
    cpu_seconds: float
    expected: int
    seconds: float
    memory_mib: float

    @property
    def p99(self) -> float:
        """The latency that 99 of 100 messages keep; infinite if any did not arrive."""
        if len(self.latencies) < self.expected:
            return float("inf")
        return statistics.quantiles(self.latencies, n=100)[-1]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.latencies)


def spreads(subscribers: int) -> list[Spread]:
    """The spreads that are measured: many projects, many filters on one, and all on one."""
    project = "acme/live"
    projects = tuple(Watched(f"acme/live{number}") for number in range(GROUPS))
    ops = tuple(Watched(project, f"op{number}") for number in range(GROUPS))
    everyone = (Watched(project),)
    return [
        Spread(f"{subscribers:,} subscribers, {GROUPS} projects, {RATE} calls/s", projects),
        Spread(f"the same, start and end apart: {2 * RATE:,} events/s", projects, is_whole=False),
        Spread(f"{subscribers:,} subscribers, one project, {GROUPS} filters, {RATE} calls/s", ops),
        *(
            Spread(f"{subscribers:,} subscribers, all of one project, {rate} calls/s", everyone, rate, must=None)
            for rate in RATES
        ),
    ]


def measure_live(folder: Path, uri: str, seconds: float = SECONDS, subscribers: int = SUBSCRIBERS) -> Section:
    """Latency and memory of each spread, each with servers of its own."""
    section: Section = {}
    memory = 0.0
    for number, spread in enumerate(spreads(subscribers)):
        database = f"live{number}"
        with _floor(uri, database) as (url, process_id):
            floor = _seen(url, process_id, uri, database, spread, seconds, subscribers)
        with server(folder, uri, database) as loomql:
            seen = _seen(loomql.url, loomql.process_id, uri, database, spread, seconds, subscribers)
        memory = max(memory, seen.memory_mib)
        messages = seen.expected / seconds
        section[f"{spread.name} (p99)"] = Row(
            loomql_ms=seen.p99,
            floor_ms=floor.p99,
            ratio=seen.p99 / floor.p99,
            loomql_cpu_ms=1000 * seen.cpu_seconds / seconds,
            floor_cpu_ms=1000 * floor.cpu_seconds / seconds,
            a_second=messages,
        ).held_to(spread.must, seen.p99)
    section[f"memory with {subscribers:,} subscribers"] = Row().held_to(_MEMORY, memory)
    return section


def _seen(url: str, process_id: int, uri: str, database: str, spread: Spread, seconds: float, subscribers: int) -> Seen:
    clock = clock_of(process_id)
    with _process("live_watchers") as watchers:
        watched = [asdict(spread.groups[number % len(spread.groups)]) for number in range(subscribers)]
        _tell(watchers, {"url": url, "watched": [[each["project_id"], each["op_name"]] for each in watched]})
        assert _read_line(watchers) == "subscribed"
        _write(uri, database, spread, 2)
        began = clock()
        acknowledged = _write(uri, database, spread, seconds)
        cpu = clock() - began
        arrived: dict[str, list[float]] = json.loads(watchers.communicate()[0])
    latencies = [
        1000 * (at - acknowledged[key]) for key, times in arrived.items() if key in acknowledged for at in times
    ]
    return Seen(latencies, cpu, len(acknowledged) * subscribers // len(spread.groups), seconds, _memory_mib(process_id))


def _write(uri: str, database: str, spread: Spread, seconds: float) -> dict[str, float]:
    """Write calls for a while; when each event's write was acknowledged."""
    told = {
        "uri": uri,
        "database": database,
        "watched": [[each.project_id, each.op_name] for each in spread.groups],
        "rate": spread.rate,
        "seconds": seconds,
        "batch": _BATCH,
        "whole": spread.is_whole,
    }
    with _process("live_writer") as writer:
        found: dict[str, float] = json.loads(writer.communicate(json.dumps(told) + "\n")[0])
    return found


@contextmanager
def _process(module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 -- our own
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def _floor(uri: str, database: str) -> Iterator[tuple[str, int]]:
    with _process("live_floor", uri, database) as process:
        yield _read_line(process), process.pid


def _tell(process: "subprocess.Popen[str]", what: Any) -> None:  # noqa: ANN401 -- any JSON
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _memory_mib(process_id: int) -> float:
    """The most memory that a process ever held (VmHWM)."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / _MIB
