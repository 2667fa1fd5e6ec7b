"""Queries on a sharded cluster beside those on one server: `python -m tests.topologies.queries --calls 80000`.

Both have the same calls, feedback and totals. On the cluster, each of two shards has half of the calls. The number of
commands that the shards ran for a query shows whether they joined documents one by one. Times contain those of the
stand-in routers, and one machine runs everything, so a ratio says less than the number of commands.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Final

from stores.database.content_store import batches
from tests.benchmarks.questions import questions
from tests.benchmarks.scale import PATIENT, loaded, prepared
from tests.benchmarks.servers import LoomQL, server
from tests.benchmarks.sides import Connection, request
from tests.benchmarks.spans import PROJECT, SPANS, TEMPLATES, Traces
from tests.faults.mongods import one_mongod
from tests.topologies.cluster import Cluster, cluster
from tests.topologies.shard_while_serving import run_on

CALLS: Final = 80_000

_ROUNDS: Final = 3
_TRACES_PER_REACTION: Final = 3
_BATCH: Final = 500
_EMOJIS: Final = "👍👎🎉"
_READS: Final = ("aggregate", "find", "getMore", "distinct")
_SHOWN: Final = 1_000
_FIELD: Final = "feedback.[wandb.reaction.1].payload.emoji"
_CREATE: Final = """mutation ($batch: [FeedbackCreateReq!]!) {
  feedbackCreateBatch(batch: $batch) { res { id } } }"""

_LIKED: Final = f'{{eq: [{{getField: "{_FIELD}"}}, {{literal: "{_EMOJIS[0]}"}}]}}'
_SLOW: Final = 'query: {expr: {gt: [{getField: "latency_ms"}, {literal: 100}]}}'
_OWN: Final = "usage: OWN) { rows { opName model totalTokens } }"
_MORE: Final = {
    "sizes of traces": "callsStats(OF) { totalStorageSizeBytes }",
    "own usage by model": f"callsAggregate(OF, groupBy: [MODEL], {_OWN}",
    "own usage of slow calls by op": f"callsAggregate(OF, groupBy: [OP_NAME], {_SLOW}, {_OWN}",
    "newest 1,000 traces": "traces(OF, first: 1000) { nodes { traceId numCalls } }",
    "newest failed traces": "traces(OF, first: 50, filter: {errorsOnly: true}) { nodes { traceId } }",
    "slow traces with most errors": f"""
        traces(OF, first: 50, {_SLOW}, sortBy: [{{field: "num_errors", direction: DESC}}])
        {{ nodes {{ traceId numErrors }} totalCount }}""",
    "threads of slow turns": f"threads(OF, first: 50, {_SLOW}) {{ nodes {{ threadId turnCount }} totalCount }}",
    "100 calls with relations": """calls(OF, first: 100)
        { nodes { id parent { id } children { totalCount } feedback { totalCount nodes { payload } } } }""",
    "calls with a reaction": f"""calls(OF, first: 50, query: {{expr: {_LIKED}}}) {{ nodes {{ id }} totalCount }}""",
    "calls without this reaction": f"callsStats(OF, query: {{expr: {{not: [{_LIKED}]}}}}) {{ count }}",
    "calls sorted by reaction": f"""calls(OF, first: 50, sortBy: [{{field: "{_FIELD}", direction: DESC}}])
        {{ nodes {{ id }} }}""",
    "facet of reactions": f'callsFacets(OF, fields: ["{_FIELD}"]) {{ field values {{ value count }} }}',
}
"""Fields of the query besides those of `tests.benchmarks.questions`, by their name; `OF` stands for the project."""


def main() -> None:
    """Measure each query, and print a row of the table for it."""
    parser = argparse.ArgumentParser(prog="python -m tests.topologies.queries", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of the project (default: %(default)s)")
    given = parser.parse_args()
    if given.calls < (least := TEMPLATES * SPANS):
        parser.error(f"--calls must be {least:,} or more: the later calls repeat the content of so many")
    print_queries(given.calls)


def print_queries(calls: int) -> None:
    """Print the time of each query on one server and on a cluster, and its commands on the shards.

    Raises:
        AssertionError: an answer differs.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        single = stack.enter_context(one_mongod())
        running = stack.enter_context(cluster(history_seconds=60))
        size = loaded(single, calls, None)
        asyncio.run(run_on(running, size.database, calls, purges=False))
        servers, sides = list[LoomQL](), list[Connection]()
        for name, uri in (("one", single), ("cluster", running.uri)):
            (folder / name).mkdir()
            servers.append(stack.enter_context(server(folder / name, uri, size.database, PATIENT)))
            sides.append(stack.enter_context(Connection(servers[-1].url)))
            _give_feedback(sides[-1], size.traces)
        for uri, loomql in zip((single, running.uri), servers, strict=True):
            prepared(loomql, uri, size)
        bodies = {each.name: each.body for each in questions(size.traces)}
        for name, field in _MORE.items():
            of_project = field.replace("OF", "projectId: $project", 1)
            bodies[name] = request(f"query ($project: ID!) {{ {of_project} }}", project=PROJECT)
        _print("Query", "One server", "Cluster", "Ratio", "Commands of the shards")
        for name, body in bodies.items():
            seconds, commands = _measure(name, body, sides, running)
            one, of_cluster = (f"{1000 * each:,.0f} ms" for each in seconds)
            _print(name, one, of_cluster, f"{seconds[1] / seconds[0]:.1f}", f"{commands:,}")


def _give_feedback(connection: Connection, traces: Traces) -> None:
    """Give one call of some traces a reaction."""
    reactions = zip(range(0, traces.count, _TRACES_PER_REACTION), cycle(_EMOJIS), strict=False)
    items = [
        {
            "projectId": PROJECT,
            "weaveRef": f"weave:///{PROJECT}/call/{traces.ids(number)[1 + number % SPANS]}",
            "feedbackType": "wandb.reaction.1",
            "payload": {"emoji": emoji},
        }
        for number, emoji in reactions
    ]
    for batch in batches(items, _BATCH):
        connection.ask(request(_CREATE, batch=batch))


def _measure(name: str, body: bytes, sides: Sequence[Connection], running: Cluster) -> tuple[list[float], int]:
    """Ask a query of each side in turns; return the least seconds of each, and the least number of commands."""
    seconds, commands = [math.inf] * len(sides), sys.maxsize
    for _ in range(_ROUNDS):
        before, answers = running.commands(*_READS), []
        for at, connection in enumerate(sides):
            began = time.perf_counter()
            answers.append(connection.ask(body))
            seconds[at] = min(seconds[at], time.perf_counter() - began)
        commands = min(commands, running.commands(*_READS) - before)
        if answers[0] != answers[1]:
            raise AssertionError(f"the answers to {name!r} differ: {answers[0]} and {answers[1]}"[:_SHOWN])
    return seconds, commands


def _print(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
