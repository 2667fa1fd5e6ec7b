"""Runs of attacks on servers of a checkout, with measurements of the server and of a second caller."""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.app.command import PROGRAM, Server, serving
from tests.attacks.attacks import NO_DEADLINE, NO_RESULT, PROJECT, Attack, Results, Target
from tests.benchmarks.timing import clock_of
from tests.fuzz.callers import Caller, bearer
from tests.fuzz.pool import Pool
from tests.fuzz.report import counted
from tests.fuzz.second_caller import (
    READ,
    SECOND_PROJECT,
    SUCCESSES,
    Repeated,
    Sample,
    SecondCaller,
    percentile,
    second_caller,
    small_query,
)
from tests.fuzz.seeding import BATCH, call, write_calls
from tests.fuzz.wire import Request, Wire

PING: Final = "ping"
WRITE: Final = "6 MB write"
TRACES: Final = "100 kB of traces"
SCAN: Final = "scan"
"""Name of the query on a small project with a condition that no index serves."""
_FEW: Final = (WRITE, TRACES, SCAN)
"""Names of the requests that the second caller sends one at a time."""
_FAILURES: Final = frozenset({NO_RESULT, NO_DEADLINE, "cut", "0", "handshake: no answer", "close 1011"})
_SETTLE_SECONDS: Final = 3.0
_SHORTEST_SECONDS: Final = 3.0
"""Minimum seconds for which the second caller is measured, so that short attacks leave samples, too."""
_MIB: Final = 1024
_SERVER_ERROR: Final = 500
_MOST_GROWTH_MIB: Final = 400
_LONGEST_PING_SECONDS: Final = 1.0

_JSON: Final = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Keys:
    """The `Authorization` headers of the attacker, who may read or write `PROJECT`, and of the second caller."""

    reader: str
    writer: str
    second_reader: str
    second: str


class Memory(NamedTuple):
    """Resident memory of a server in MiB."""

    before: float
    peak: float
    after: float


@dataclass(frozen=True)
class Row:
    """The result of one attack: the server's memory and CPU, and the second caller's samples, idle and under attack."""

    name: str
    seconds: float
    memory: Memory
    cpu: float
    idle: dict[str, list[Sample]]
    attacked: dict[str, list[Sample]]
    results: Results
    is_alive: bool

    def problems(self) -> list[str]:
        """Return a sentence for each sign that the server did not withstand the attack."""
        pings = [sample.seconds for sample in self.attacked[PING]]
        refused = {
            name: Counter(sample.result for sample in samples if sample.result not in SUCCESSES)
            for name, samples in self.attacked.items()
        }
        failed = {result: n for result, n in self.results.items() if _is_failure(result)}
        exceeded = {
            "the server died": not self.is_alive,
            f"{self.memory.peak - self.memory.before:.0f} MiB more at the peak": self.memory.peak - self.memory.before
            > _MOST_GROWTH_MIB,
            f"the longest ping took {max(pings, default=math.nan):.1f} s": not pings
            or max(pings) > _LONGEST_PING_SECONDS,
            f"the attacker got {counted(failed)}": bool(failed),
            **{f"the second caller's {name} got {counted(counts)}": bool(counts) for name, counts in refused.items()},
            **{f"no {name} of the second caller was measured": not self.attacked[name] for name in _FEW},
        }
        return [sentence for sentence, is_so in exceeded.items() if is_so]

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row, in the order of `COLUMNS`."""
        return (
            self.name,
            f"{self.seconds:.1f}",
            " / ".join(f"{mib:.0f}" for mib in self.memory),
            f"{self.cpu:.1f}",
            *(_latency(self.idle[name], self.attacked[name]) for name in (PING, READ)),
            *(_results(self.attacked[name]) for name in _FEW),
            counted(self.results),
            "; ".join(self.problems()) or "none",
        )


COLUMNS: Final = (
    *("attack", "s", "MiB before / peak / after", "CPU s", "ping ms p50 / p99 / max (idle p99)"),
    *("read ms p50 / p99 / max (idle p99)", "6 MB write", "100 kB of traces", "scan", "attacker got", "problems"),
)


async def run(
    attack: Attack,
    name: str,
    uri: str,
    database: str,
    checkout: Path,
    folder: Path,
    *,
    idle_seconds: float = 10.0,
) -> Row:
    """Run one attack on a new server of a checkout.

    Before it, only the second caller sends requests, for `idle_seconds`.
    """
    keys = await _make_keys(uri, database)
    settings = {
        "PYTHONPATH": str(checkout),
        "LOOMQL_MONGODB_URI": uri,
        "LOOMQL_MONGODB_DATABASE": database,
        "LOOMQL_KEYS": "required",
    }
    with serving(folder / f"{name}.log", program=PROGRAM, folder=str(checkout), **settings) as server:
        wire = Wire(server.url)
        await write_calls(wire, Pool(), Caller("second caller", keys.second), SECOND_PROJECT)
        await wire.close()
        with second_caller(server.url, _plan(keys), folder / f"{name}.samples") as second:
            row = await _measure(attack, name, server, keys, second, idle_seconds)
        # A server that did not withstand the attack may not stop in time.
        server.process.kill()
    return row


async def _measure(
    attack: Attack, name: str, server: Server, keys: Keys, second: SecondCaller, idle_seconds: float
) -> Row:
    await second.is_ready()
    began = time.monotonic()
    await asyncio.sleep(idle_seconds)
    idle = await _samples(second, began, time.monotonic())
    pid = server.process.pid
    clock, before = clock_of(pid), _memory(pid, "VmRSS")
    _reset_peak(pid)
    cpu, began = clock(), time.monotonic()
    results = await attack(Target(server.url, keys.reader, keys.writer, keys.second_reader, server.output))
    seconds = time.monotonic() - began
    await asyncio.sleep(max(0.0, _SHORTEST_SECONDS - seconds))
    ended = time.monotonic()
    attacked = await _samples(second, began, ended)
    is_alive = server.process.poll() is None
    used, peak = clock() - cpu, _memory(pid, "VmHWM") if is_alive else math.nan
    await asyncio.sleep(_SETTLE_SECONDS)
    memory = Memory(before, peak, _memory(pid, "VmRSS") if is_alive else math.nan)
    return Row(name, seconds, memory, used, idle, attacked, results, is_alive)


async def _samples(second: SecondCaller, since: float, until: float) -> dict[str, list[Sample]]:
    return {repeated.name: await second.samples(repeated.name, since, until) for repeated in second.plan}


def _plan(keys: Keys) -> list[Repeated]:
    headers = (_JSON, ("Authorization", keys.second))
    starts = [call(SECOND_PROJECT, number)[0]["start"] for number in range(50, 56)]
    batch = [{"start": {**start, "inputs": {"text": "x" * 1_000_000}}} for start in starts]
    body = json.dumps({"query": BATCH, "variables": {"b": batch}}).encode()
    return [
        Repeated(PING, Request("healthz", "GET", "/healthz"), 0.1),
        small_query((("Authorization", keys.second),)),
        Repeated(WRITE, Request("graphql", "POST", "/graphql", headers, body), 2.0, 1),
        Repeated(
            TRACES,
            Request("otlp", "POST", "/v1/traces", (*headers, ("project_id", SECOND_PROJECT)), _traces()),
            1.0,
            1,
        ),
        Repeated(SCAN, Request("graphql", "POST", "/graphql", headers, _scan()), 1.0, 1),
    ]


def _scan() -> bytes:
    where = 'query: { expr: { eq: [{ getField: "inputs.none" }, { literal: "none" }] } }'
    query = f'{{ calls(projectId: "{SECOND_PROJECT}", first: 1, {where}) {{ nodes {{ id }} }} }}'
    return json.dumps({"query": query}).encode()


def _traces() -> bytes:
    """Return about 100 kB of spans as OTLP's JSON."""
    spans = [
        {
            "traceId": f"{1:032x}",
            "spanId": f"{number + 1:016x}",
            "name": "step",
            "startTimeUnixNano": "1770000000000000000",
            "endTimeUnixNano": "1770000001000000000",
            "attributes": [{"key": "input.value", "value": {"stringValue": "x" * 4_700}}],
        }
        for number in range(20)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


async def _make_keys(uri: str, name: str) -> Keys:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    store = KeysStore(database, settle_seconds=0)
    grants = (
        *(Grant(PROJECT, role) for role in (Role.READER, Role.WRITER, Role.READER)),
        Grant(SECOND_PROJECT, Role.WRITER),
    )
    made = [bearer((await store.create([grant], "attacks")).text) for grant in grants]
    database.close()
    return Keys(*made)


def _reset_peak(process_id: int) -> None:
    """Reset VmHWM, the kernel's record of the peak memory."""
    Path(f"/proc/{process_id}/clear_refs").write_text("5")


def _memory(process_id: int, line: str) -> float:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / _MIB


def _is_failure(result: str) -> bool:
    """Return whether the attacker's result shows a bug: an unexpected error, or no answer."""
    is_error = result.isdecimal() and int(result) >= _SERVER_ERROR and result != "503"
    return is_error or result in _FAILURES or "log" in result


def _latency(idle: Sequence[Sample], attacked: Sequence[Sample]) -> str:
    shares = " / ".join(f"{1e3 * percentile(attacked, share):.0f}" for share in (0.5, 0.99, 1.0))
    return f"{shares} ({1e3 * percentile(idle, 0.99):.0f})"


def _results(samples: Sequence[Sample]) -> str:
    longest = max((sample.seconds for sample in samples), default=math.nan)
    return f"{counted(Counter(sample.result for sample in samples))}, at most {longest:.1f} s"
