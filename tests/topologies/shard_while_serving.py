"""Sharding and purging beside clients: `python -m tests.topologies.shard_while_serving --calls 1000000`.

All calls of a database are on one shard. While two servers, one for each router, take writes and reads, `loomql shard`
shards the database, half of the calls move to the other shard, and `loomql project purge` removes them from both.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from bson import Int64

from stores.database import Database
from tests.app.command import PROGRAM, clean
from tests.benchmarks.spans import PROJECT as LOADED
from tests.benchmarks.spans import SPANS, TEMPLATES, Copies, Traces, converted, load
from tests.faults.client import FaultsClient, RefusedError
from tests.faults.serving import serving
from tests.faults.writers.calls import BatchWriter
from tests.stores.purges.test_purging import counted
from tests.topologies.cluster import Client, Cluster, cluster
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT

_NAME: Final = "loomql"
_WRITTEN: Final = "acme/chat"
"""The project of the writers; its calls do not move, since it comes before the other one."""
_READ_SECONDS: Final = 120.0
"""A count reads all calls until the server has rolled them up."""
_READ_PAUSE_SECONDS: Final = 0.5
_LOG: Final = 10_000
_RANGE: Final = 50_000
"""Calls that move at once; MongoDB refuses more than twice its chunk size of 128 MB."""

_READ: Final = """query ($projectId: ID!) {
  calls(projectId: $projectId, first: 50) { nodes { id opName inputs } }
  callsStats(projectId: $projectId) { count }
}"""


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Args:
        calls: the number of calls that existed before.
        moved: the number of them that moved to the other shard.
        seconds: the duration of each step, by name.
        acknowledged: the number of calls whose writes were acknowledged meanwhile.
        longest_seconds: the time of the slowest write and of the slowest read.
        seen: the number of answers of the readers, by kind.
        wrong: the number of answers that no client should get, by description.
        logs: the ends of the servers' logs if there are such answers.
        lost: a sentence for each missing or broken call of the writers, and for each count of reads that is wrong.
        left: the number of documents that the purge left, by collection.
    """

    calls: int
    moved: int
    seconds: dict[str, float]
    acknowledged: int
    longest_seconds: Sequence[float]
    seen: Counter[str]
    wrong: Counter[str]
    logs: Sequence[str]
    lost: Sequence[str]
    left: dict[str, int]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.calls:,} calls, of which {self.moved:,} moved to the other shard",
                *(f"{name}: {seconds:.1f} s" for name, seconds in self.seconds.items()),
                f"{self.acknowledged:,} calls acknowledged meanwhile",
                "the longest write took {:.1f} s, the longest read {:.1f} s".format(*self.longest_seconds),
                f"reads: {dict(self.seen)}",
                f"wrong answers: {dict(self.wrong) or 'none'}",
                *self.logs,
                f"lost: {len(self.lost)} {[*self.lost[:5]] or ''}",
                f"left after the purge: {self.left or 'nothing'}",
            ]
        )


async def run(calls: int) -> Outcome:
    """Start a cluster for `run_on`."""
    with cluster(history_seconds=60) as running:
        return await run_on(running, _NAME, calls)


async def run_on(running: Cluster, name: str, calls: int, *, purges: bool = True) -> Outcome:
    """Load calls into the database `name`, which does not exist, and shard it beside clients; then purge the calls."""
    traces = Traces(calls // SPANS)
    documents = await converted(running.uri, f"{name}_spans", traces, traces.templates)
    await load(running.uri, name, traces, Copies(traces, documents, lambda _: b""), lambda _: None)
    environment = {"LOOMQL_MONGODB_URI": running.uri, "LOOMQL_MONGODB_DATABASE": name}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        servers = [
            stack.enter_context(serving(folder / str(at), **environment | {"LOOMQL_MONGODB_URI": running.uri_of(at)}))
            for at in range(len(running.routers))
        ]
        for server in servers:
            server.wait_until_up()
        writers = [BatchWriter(FaultsClient(server.url, _WRITTEN)) for server in servers]
        readers = [FaultsClient(server.url, LOADED, _READ_SECONDS) for server in servers]
        seconds: dict[str, float] = {}
        stops = stopped_reading, stopped_writing = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(writer.write(stopped_writing))
            reads = [tasks.create_task(_read(reader, SPANS * traces.count, stopped_reading)) for reader in readers]
            try:
                seconds["loomql shard --apply"] = await _command(environment, "shard", "--apply")
                began = monotonic()
                moved = await asyncio.to_thread(_move_half, running, name, SPANS * traces.count // 2)
                seconds["move of the upper half"] = monotonic() - began
                stopped_reading.set()
                await asyncio.wait(reads)
                if purges:
                    purge = _command(environment, "project", "purge", LOADED, "--confirm", LOADED)
                    seconds["loomql project purge"] = await purge
            finally:
                for each in stops:
                    each.set()
        longest = [max(each.client.longest_seconds for each in writers), max(each.longest_seconds for each in readers)]
        lost = [each for read in reads for each in read.result()]
        for writer in writers:
            writer.client.retry_until = monotonic() + TIMEOUT
        lost += [each for writer in writers async for each in writer.lost()]
        clients = [*readers, *(writer.client for writer in writers)]
        for client in clients:
            await client.close()
        wrong = sum((client.wrong for client in clients), Counter[str]())
        logs = [server.output.read_text()[-_LOG:] for server in servers] if wrong else []
    return Outcome(
        SPANS * traces.count,
        moved,
        seconds,
        acknowledged=sum(len(writer.ended) for writer in writers),
        longest_seconds=longest,
        seen=sum((reader.seen for reader in readers), Counter[str]()),
        wrong=wrong,
        logs=logs,
        lost=lost,
        left=await _left(running, name) if purges else {},
    )


async def _command(environment: dict[str, str], *words: str) -> float:
    """Run a command, however long it takes, and return its seconds."""
    began, pipe = monotonic(), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*PROGRAM, *words, env=clean(environment), stderr=pipe, stdout=pipe)
    _, errors = await process.communicate()
    if process.returncode:
        raise AssertionError(errors.decode())
    return monotonic() - began


async def _read(client: FaultsClient, expected: int, stopped: asyncio.Event) -> list[str]:
    """Read a page and a count until stopped; return a sentence for each wrong count."""
    lost = []
    while not stopped.is_set():
        try:
            found = (await client.ask(_READ))["callsStats"]["count"]
        except RefusedError:
            await asyncio.sleep(_READ_PAUSE_SECONDS)
            continue
        if found != expected:
            lost.append(f"{found} calls are counted, and {expected} are there")
    return lost


def _move_half(running: Cluster, name: str, number: int) -> int:
    """Move the upper half of the loaded calls, some `number`, to the other shard; return the exact number."""
    parts = 1 + number // _RANGE
    starts = [{"project_id": LOADED, "id": Int64((1 << 63) // parts * part)} for part in range(parts)]
    with Client(running.uri) as client:
        found = client["config"]["databases"].find_one({"_id": name})
        assert found is not None
        other = next(shard for shard in running.shards if shard.name != found["primary"])
        for start in starts:
            client.admin.command("split", f"{name}.calls", middle=start)
        for start in starts:
            client.admin.command("moveRange", f"{name}.calls", toShard=other.name, min=start)
    with other.primary().client() as client:
        return client[name]["calls"].count_documents({"project_id": LOADED})


async def _left(running: Cluster, name: str) -> dict[str, int]:
    database = Database.open(running.uri, name, timeout_seconds=DATABASE_TIMEOUT)
    try:
        return await counted(database, LOADED)
    finally:
        database.close()


def main() -> int:
    """Run, print the outcome, and return 1 if something was lost or left, or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.topologies.shard_while_serving", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls that exist before (default: %(default)s)")
    given = parser.parse_args()
    if given.calls < (least := TEMPLATES * SPANS):
        parser.error(f"--calls must be {least:,} or more: the later calls repeat the content of so many")
    outcome = asyncio.run(run(given.calls))
    sys.stdout.write(f"{outcome}\n")
    return int(bool(outcome.lost or outcome.wrong or outcome.left))


if __name__ == "__main__":
    sys.exit(main())
