"""Benchmarks of events: the time from the acknowledgement of a write to the sockets of a thousand subscribers.

A writer sends calls over HTTP to the server that the subscribers watch. The floor is a bare change stream with
WebSockets (`live_floor`), measured in turn with the server. The floor's calls are written by the store, in the writer's
process. Watchers and writer are separate processes; they, the server and MongoDB share the machine.
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
ONE_BY_ONE: Final = 100
"""Calls per second in the case where separate requests start and end each call."""
RATES: Final = (10, 20, 30, 40)
"""Calls per second in the cases where all subscribers get every event; they show the highest possible rate."""
_BATCH: Final = 10
_LATENCY: Final = Must("p99 ms", 250)
_MEMORY: Final = Must("MiB", 400)
_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of subscribers and calls, and the number of calls written in a second."""

    name: str
    groups: tuple[Watched, ...]
    rate: float = RATE
    batch: int = _BATCH
    is_whole: bool = True
    """True if a call's start and end are written together, which is one event; False if one after the other."""
    must: Must | None = _LATENCY


@dataclass(frozen=True, slots=True)
class Written:
    """The times at which the write of each event was sent and acknowledged, and the seconds that all writes took."""

    sent: dict[str, float]
    acknowledged: dict[str, float]
    took: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one spread: arrival times of each event, their expected number, CPU and memory.

    The server answers a write, and sends its event, once the write is durable. Either may come first, so the time since
    the acknowledgement may be negative.
    """

    arrived: dict[str, list[float]]
    written: Written
    subscribers: int
    """Number of subscribers that get each event."""
    cpu_seconds: float
    memory_mib: float

    @property
    def expected(self) -> int:
        """The number of messages that should arrive."""
        return len(self.written.acknowledged) * self.subscribers

    def p99(self, since: dict[str, float]) -> float:
        """Return the 99th percentile of latency in milliseconds, or infinity if a message did not arrive."""
        latencies = [1000 * (at - since[key]) for key, times in self.arrived.items() if key in since for at in times]
        return statistics.quantiles(latencies, n=100)[-1] if len(latencies) >= self.expected else float("inf")


def spreads(subscribers: int) -> list[Spread]:
    """Return the measured spreads: many projects, many filters on one project, and all subscribers on one project."""
    project = "acme/live"
    projects = tuple(Watched(f"acme/live{number}") for number in range(GROUPS))
    ops = tuple(Watched(project, f"op{number}") for number in range(GROUPS))
    everyone = (Watched(project),)
    return [
        Spread(f"{subscribers:,} subscribers, {GROUPS} projects, {RATE} calls/s", projects),
        Spread(f"the same, start and end apart: {2 * RATE:,} events/s", projects, is_whole=False),
        Spread(f"{subscribers:,} subscribers, one project, {GROUPS} filters, {RATE} calls/s", ops),
        Spread(
            f"the same, {ONE_BY_ONE} calls/s, start and end each a request of its own",
            ops,
            ONE_BY_ONE,
            batch=1,
            is_whole=False,
        ),
        *(
            Spread(f"{subscribers:,} subscribers, all of one project, {rate} calls/s", everyone, rate, must=None)
            for rate in RATES
        ),
    ]


def measure_live(folder: Path, uri: str, seconds: float = SECONDS, subscribers: int = SUBSCRIBERS) -> Section:
    """Measure latency and memory of each spread, with a new server and a new floor for each."""
    section: Section = {}
    memory = 0.0
    for number, spread in enumerate(spreads(subscribers)):
        database = f"live{number}"
        with _floor(uri, database) as (url, process_id):
            floor = _seen(url, process_id, _by_store(uri, database), spread, seconds, subscribers)
        with server(folder, uri, database) as loomql:
            seen = _seen(loomql.url, loomql.process_id, {"url": loomql.url}, spread, seconds, subscribers)
        memory = max(memory, seen.memory_mib)
        took, written, by_floor = seen.written.took, seen.written, floor.written
        p99, floors_p99 = seen.p99(written.acknowledged), floor.p99(by_floor.acknowledged)
        section[f"{spread.name} (p99)"] = Row(
            loomql_ms=p99,
            floor_ms=floors_p99,
            loomql_cpu_ms=1000 * seen.cpu_seconds / took,
            floor_cpu_ms=1000 * floor.cpu_seconds / by_floor.took,
            a_second=seen.expected / took,
        ).held_to(spread.must, p99)
        section[f"{spread.name}, from the write's sending (p99)"] = Row(
            loomql_ms=seen.p99(written.sent), floor_ms=floor.p99(by_floor.sent)
        )
    section[f"memory with {subscribers:,} subscribers"] = Row().held_to(_MEMORY, memory)
    return section


def _by_store(uri: str, database: str) -> dict[str, str]:
    return {"url": "", "uri": uri, "database": database}


def _seen(
    url: str, process_id: int, writes_to: dict[str, str], spread: Spread, seconds: float, subscribers: int
) -> Seen:
    clock = clock_of(process_id)
    with _process("live_watchers") as watchers:
        watched = [asdict(spread.groups[number % len(spread.groups)]) for number in range(subscribers)]
        _send_line(watchers, {"url": url, "watched": [[each["project_id"], each["op_name"]] for each in watched]})
        assert _read_line(watchers) == "subscribed"
        before = _write(writes_to, spread, min(2, seconds))
        began = clock()
        written = _write(writes_to, spread, seconds)
        cpu = clock() - began
        of_each = subscribers // len(spread.groups)
        expected = of_each * (len(before.acknowledged) + len(written.acknowledged))
        arrived: dict[str, list[float]] = json.loads(watchers.communicate(str(expected))[0])
    return Seen(arrived, written, of_each, cpu, _memory_mib(process_id))


def _write(writes_to: dict[str, str], spread: Spread, seconds: float) -> Written:
    """Write calls for some seconds in another process and return the times."""
    order = {
        **writes_to,
        "watched": [[each.project_id, each.op_name] for each in spread.groups],
        "rate": spread.rate,
        "seconds": seconds,
        "batch": spread.batch,
        "whole": spread.is_whole,
    }
    with _process("live_writer") as writer:
        return Written(**json.loads(writer.communicate(json.dumps(order) + "\n")[0]))


@contextmanager
def _process(module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def _floor(uri: str, database: str) -> Iterator[tuple[str, int]]:
    with _process("live_floor", uri, database) as process:
        yield _read_line(process), process.pid


def _send_line(process: "subprocess.Popen[str]", what: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _memory_mib(process_id: int) -> float:
    """Return the peak memory of a process (VmHWM)."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / _MIB
