"""Writes through two routers while the primary of a shard is killed: `python -m tests.topologies.lost_primary`.

One shard has three members. Whenever its primary is killed, another one is elected, and the killed one comes back. Two
servers, one for each router, take batches of whole calls from several clients, which repeat what was not acknowledged.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from stores.aggregates import AggregatesStore, GroupBy, Grouping, UsageOf
from stores.calls import CallsStore
from stores.database import Database
from stores.hours import HOURS
from tests.app.calls_client import number_of, whole_call
from tests.faults.client import FaultsClient
from tests.faults.faults import LOSSES
from tests.faults.invariant import broken
from tests.faults.mongods import ReplicaSet
from tests.faults.serving import Serving, serving
from tests.faults.surplus import surplus
from tests.faults.writers.calls import BatchWriter
from tests.topologies.cluster import PROJECT, Client, Cluster, cluster, shard
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT

_NAME: Final = "loomql"
_CLIENTS: Final = 3
"""Clients of each server."""

_KILL: Final = next(fault for fault in LOSSES if fault.name.startswith("kill -9 of the primary"))
_MARK_SECONDS: Final = "2"
_SETTLING_SECONDS: Final = 300
_TOKENS: Final = ("prompt_tokens", "requests")


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Args:
        seconds: the duration of the writes.
        kills: the number of killed primaries.
        acknowledged: the number of acknowledged calls.
        stored: the number of stored calls, with those whose acknowledgement got lost.
        seen: the number of answers, by kind.
        wrong: the number of answers that no client should get, by description.
        longest_seconds: the time of the slowest answer.
        lost: a sentence for each missing, broken, unknown or duplicate document, and for each wrong count.
        settled_seconds: the time after the last write until roll-ups had all calls.
    """

    seconds: float
    kills: int
    acknowledged: int
    stored: int
    seen: Counter[str]
    wrong: Counter[str]
    longest_seconds: float
    lost: Sequence[str]
    settled_seconds: float

    def __str__(self) -> str:
        seen = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.seen.items()))
        return "\n".join(
            [
                f"{self.acknowledged:,} calls acknowledged in {self.seconds:.0f} s, {self.stored:,} stored",
                f"{self.kills} primaries killed; answers: {seen}; the longest took {self.longest_seconds:.1f} s",
                f"wrong answers: {dict(self.wrong) or 'none'}",
                f"lost: {len(self.lost)} {[*self.lost[:5]] or ''}",
                f"roll-ups had all calls after {self.settled_seconds:.0f} s",
            ]
        )


async def run(seconds: float, every: float, away: float) -> Outcome:
    """Start a cluster for `run_on`."""
    with cluster(members=(1, 3), history_seconds=60) as running:
        with Client(running.uri) as client:
            shard(client, _NAME)
        return await run_on(running, _NAME, seconds, every, away)


async def run_on(
    running: Cluster, name: str, seconds: float, every: float, away: float, *, settles: bool = True
) -> Outcome:
    """Write for some seconds, kill a primary `every` seconds and restart it when it was `away`; then check all data.

    The database `name` is empty and on both shards. With `settles`, counts are compared once roll-ups have all calls.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        numbers = range(len(running.routers))
        servers = [stack.enter_context(_server(folder, running, name, number)) for number in numbers]
        for server in servers:
            server.wait_until_up()
        return await _write(running, name, servers, seconds, every, away, settles=settles)


def _server(folder: Path, running: Cluster, name: str, number: int) -> AbstractContextManager[Serving]:
    """Start the server of a router, with hour marks that expire soon."""
    return serving(
        folder / str(number),
        module="tests.faults.hasty_server",
        MARKS=_MARK_SECONDS,
        LOOMQL_MONGODB_URI=running.uri_of(number),
        LOOMQL_MONGODB_DATABASE=name,
    )


async def _write(
    running: Cluster, name: str, servers: Sequence[Serving], seconds: float, every: float, away: float, *, settles: bool
) -> Outcome:
    clients = [FaultsClient(server.url, PROJECT) for server in servers for _ in range(_CLIENTS)]
    writers = [BatchWriter(client) for client in clients]
    stopped = asyncio.Event()
    began = monotonic()
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(writer.write(stopped))
        kills = await _kill(running.shards[-1], began + seconds, every, away)
        stopped.set()
    took = monotonic() - began
    seen = sum((client.seen for client in clients), Counter[str]())
    lost, stored, settled = await _check(running, name, writers, clients[-1], settles=settles)
    for client in clients:
        await client.close()
    return Outcome(
        took,
        kills,
        acknowledged=sum(len(writer.ended) for writer in writers),
        stored=stored,
        seen=seen,
        wrong=sum((client.wrong for client in clients), Counter[str]()),
        longest_seconds=max(client.longest_seconds for client in clients),
        lost=lost,
        settled_seconds=settled,
    )


async def _kill(members: ReplicaSet, until: float, every: float, away: float) -> int:
    """Kill the primary again and again until a time; return how often."""
    kills = 0
    while (left := until - monotonic()) > every + away:
        await asyncio.sleep(every)
        async with _KILL.do(members):
            await asyncio.sleep(away)
        kills += 1
    await asyncio.sleep(max(left, 0))
    return kills


async def _check(
    running: Cluster, name: str, writers: Sequence[BatchWriter], client: FaultsClient, *, settles: bool
) -> tuple[list[str], int, float]:
    """Return what is lost or counted wrongly, the number of stored calls, and the seconds until roll-ups had them."""
    client.retry_until = monotonic() + TIMEOUT
    nodes = {number_of(node): node for node in await client.calls.read(1000)}
    acknowledged = set().union(*(writer.ended for writer in writers))
    lost = [f"call {number} was acknowledged and is not there" for number in acknowledged - nodes.keys()]
    lost += [f"call {number} is {node}" for number, node in nodes.items() if node != whole_call(number)]
    lost += surplus(running.uri, PROJECT, writers, name)
    lost += await broken(running.uri, client, name)
    database = Database.open(running.uri, name, timeout_seconds=DATABASE_TIMEOUT)
    began = monotonic()

    async def is_settled() -> bool:
        marks = database.hour_marks
        return await marks.distinct("ready") == [True] and not await marks.count_documents({HOURS: {"$exists": True}})

    async with asyncio.timeout(_SETTLING_SECONDS):
        while settles and not await is_settled():  # noqa: ASYNC110 -- the servers settle, and MongoDB tells nobody
            await asyncio.sleep(0.5)
    settled = monotonic() - began
    if settles and not (await CallsStore(database).explain(PROJECT)).counts_by_rollups:
        lost.append("counts read no roll-ups")
    count = await CallsStore(database).count(PROJECT, None, None)
    by = Grouping([GroupBy.OP_NAME, GroupBy.STATUS])
    chart = await AggregatesStore(database).calls(PROJECT, by, ("count", *_TOKENS), usage_of=UsageOf.REPORTED)
    database.close()
    found = {(row["op_name"], row["status"]): [row["count"], *(row[name] for name in _TOKENS)] for row in chart.rows}
    expected: dict[tuple[str, str], list[int]] = {}
    for node in nodes.values():
        row = expected.setdefault((node["opName"], "success"), [0] * (1 + len(_TOKENS)))
        for at, number in enumerate((1, *(sum(of[name] for of in node["usage"].values()) for name in _TOKENS))):
            row[at] += number
    lost += [f"{count} calls are counted, and {len(nodes)} are there"] if count != len(nodes) else []
    lost += [f"the chart is {found}, and {expected} by a recount"] if found != expected else []
    return lost, len(nodes), settled


def main() -> int:
    """Run, print the outcome, and return 1 if something was lost or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.topologies.lost_primary", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=10, help="seconds between two kills")
    parser.add_argument("--away", type=float, default=5, help="seconds until a killed member comes back")
    given = parser.parse_args()
    outcome = asyncio.run(run(given.seconds, given.every, given.away))
    sys.stdout.write(f"{outcome}\n")
    return int(bool(outcome.lost or outcome.wrong))


if __name__ == "__main__":
    sys.exit(main())
