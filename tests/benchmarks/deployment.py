"""`python -m tests.benchmarks.deployment`: what decides the size of a deployment, as the tables of the documentation.

- The index pages that MongoDB reads and writes for more calls, with the random ids of OpenTelemetry, with ids in the
  order of time, and with two forms of `_id` that LoomQL does not use. Its cache is a tenth of the indexes.
- The rates, memory and idle work of several LoomQL processes on one MongoDB.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import shake_128
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from stores.database import Document
from stores.hours import DAY
from tests.benchmarks.ingest import bodies_of, cut, pairs_of_stock
from tests.benchmarks.servers import LoomQL, server
from tests.benchmarks.sides import Connection
from tests.benchmarks.spans import SPANS, TEMPLATES, Copies, Traces, converted, load
from tests.benchmarks.timing import Clock, clock_of
from tests.faults.mongods import one_mongod

CALLS: Final = 300_000
PROCESSES: Final = (1, 4, 10)
CLIENTS: Final = 20
BATCHES: Final = 600
SECONDS: Final = 10.0

_DATABASE: Final = "deployment"
_BATCH: Final = 100
_CHECKPOINT: Final = 1_000
"""Calls between two checkpoints, which write all changed pages."""
_ROUNDS: Final = 10
_CACHE_SHARE: Final = 10
_LEAST_CACHE: Final = 8
"""MiB of cache without which MongoDB almost stops."""
_SHOWN: Final = {
    "_id_": "_id",
    "latency_ms_id": "latency_ms",
    "parent_id_started_at_id": "parent_id",
    "trace_id_started_at_id_storage_size_bytes": "trace_id",
    "unique_id": "unique id",
}
"""The indexes with most pages, each with its first field besides the project."""
_COUNTERS: Final = {
    "read": "pages read into cache",
    "requested": "pages requested from the cache",
    "written": "pages written from cache",
}

Pages = Counter[tuple[str, str]]
"""Numbers of pages by index, and by "read", "requested" or "written"."""


class OrderedTraces(Traces):
    """Traces whose ids are in the order of time."""

    @staticmethod
    def ids(number: int) -> list[str]:
        """Return the id of a trace and those of its spans: its number first, then random digits."""
        digits = shake_128(number.to_bytes(8)).hexdigest(11 + 4 * SPANS)
        spans = (f"{number:07x}{at:x}{digits[22 + 8 * at : 30 + 8 * at]}" for at in range(SPANS))
        return [f"{number:010x}{digits[:22]}", *spans]


class PlacedCopies(Copies):
    """Copies of calls whose `_id` has the start between the project and the id, in whole `unit`s of microseconds.

    To change a document takes time, so the calls per second are fewer than those of MongoDB.
    """

    def __init__(self, traces: Traces, documents: Iterable[Document], unit: int) -> None:
        super().__init__(traces, documents, lambda _: b"")
        self._unit = unit

    def of(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the BSON document of each call of a trace, and an empty text."""
        for document, row in super().of(number):
            call = bson.decode(document)
            call["_id"] = f"{call['project_id']}:{call['started_at'] // self._unit}:{call['id']}"
            yield bson.encode(call), row


def main() -> None:
    """Measure what is asked for, and print a table of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.deployment", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls that exist before (default: %(default)s)")
    parser.add_argument("--only", choices=("pages", "processes"), help="print this table alone")
    options = parser.parse_args()
    if options.calls < (least := TEMPLATES * SPANS):
        parser.error(f"--calls must be {least:,} or more: the later calls repeat the content of so many")
    if options.only != "processes":
        print_pages(options.calls)
    if options.only != "pages":
        print_processes(PROCESSES, BATCHES, SECONDS)


def print_pages(calls: int) -> None:
    """Print the index pages that MongoDB handles for 1,000 more calls, by the order of ids and the form of `_id`.

    An index has the number of pages written, and its bytes per call.
    """
    columns = [
        "Ids",
        "Indexes",
        "Cache",
        "Pages written",
        *_SHOWN.values(),
        "Pages read",
        "Found in the cache",
        "Calls/s",
    ]
    _print(columns)
    random, ordered = Traces(calls // SPANS), OrderedTraces(calls // SPANS)
    forms = (
        ("random", random, None),
        ("in the order of time", ordered, None),
        ("random, `_id` begins with the start", random, 1),
        ("random, `_id` begins with the day", random, DAY),
    )
    for name, traces, unit in forms:
        with one_mongod() as uri:
            _print([name, *_pages(uri, traces, unit)])


def _pages(uri: str, traces: Traces, unit: int | None) -> list[str]:
    """Load the traces into a database, make the cache small, write more, and return the cells of a row.

    With a `unit` in microseconds, `_id` has the start in this unit before the id. If it is the exact start, a unique
    index of ids is necessary, too.
    """
    documents = asyncio.run(converted(uri, f"{_DATABASE}_spans", traces, traces.templates))
    copies = PlacedCopies(traces, documents, unit) if unit else Copies(traces, documents, lambda _: b"")
    if unit == 1:
        with MongoClient[Document](uri) as client:
            client[_DATABASE]["calls"].create_index({"project_id": 1, "id": 1}, name="unique_id", unique=True)
    asyncio.run(load(uri, _DATABASE, traces, copies, lambda _: None))
    later = chain.from_iterable(copies.of(number) for number in count(traces.count))
    with MongoClient[Document](uri) as client:
        collection = client[_DATABASE]["calls"]
        sizes = _statistics(client)["indexSizes"]
        size = sum(sizes.values())
        cache = max(_LEAST_CACHE, (size // _CACHE_SHARE) >> 20)
        client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=f"cache_size={cache}M")

        def write() -> None:
            for _ in range(_CHECKPOINT // _BATCH):
                batch = [RawBSONDocument(document) for document, _ in islice(later, _BATCH)]
                collection.insert_many(batch, ordered=False)
            client.admin.command("fsync")

        for _ in range(_ROUNDS):  # the cache then has what such writes leave there
            write()
        before, began = _handled(client), time.monotonic()
        for _ in range(_ROUNDS):
            write()
        seconds, handled = time.monotonic() - began, _handled(client)
    handled.subtract(before)
    total = Counter[str]()
    for (_, what), number in handled.items():
        total[what] += number
    loaded = SPANS * traces.count
    return [
        f"{size / 1e6:.0f} MB",
        f"{cache} MiB",
        f"{total['written'] / _ROUNDS:,.0f}",
        *(f"{handled[name, 'written'] / _ROUNDS:,.0f} ({sizes.get(name, 0) / loaded:.0f} B)" for name in _SHOWN),
        f"{total['read'] / _ROUNDS:,.0f}",
        f"{1 - total['read'] / total['requested']:.0%}",
        f"{_ROUNDS * _CHECKPOINT / seconds:,.0f}",
    ]


def _handled(client: MongoClient[Document]) -> Pages:
    """Return how many pages of each index of the calls MongoDB has read, requested and written."""
    return Counter(
        {
            (name, what): index["cache"][counter]
            for name, index in _statistics(client)["indexDetails"].items()
            for what, counter in _COUNTERS.items()
        }
    )


def _statistics(client: MongoClient[Document]) -> Document:
    [found] = client[_DATABASE]["calls"].aggregate([{"$collStats": {"storageStats": {}}}])
    statistics: Document = found["storageStats"]
    return statistics


def print_processes(numbers: Sequence[int], batches: int, seconds: float) -> None:
    """Print what each number of LoomQL processes on one MongoDB does and needs.

    Args:
        numbers: numbers of processes.
        batches: batches of 100 calls to write.
        seconds: duration of the idle time.
    """
    _print(["Processes", "Calls/s", "Memory of each", "Connections", "Idle, each process", "Idle, MongoDB"])
    bodies = [bodies_of(pairs, apart=False)[0] for pairs in islice(cut(pairs_of_stock(), _BATCH), batches)]
    for number in numbers:
        with one_mongod() as uri, ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
            servers = []
            for name in map(str, range(number)):
                (folder / name).mkdir()
                servers.append(stack.enter_context(server(folder / name, uri, _DATABASE)))
            _print([str(number), *_work(uri, servers, bodies, seconds)])


def _work(uri: str, servers: list[LoomQL], bodies: list[bytes], seconds: float) -> list[str]:
    """Write through all servers at once, leave them idle, and return the cells of a row."""

    def write(number: int) -> None:
        with Connection(servers[number % len(servers)].url) as connection:
            for body in bodies[number::CLIENTS]:
                connection.ask(body)

    with MongoClient[Document](uri) as client, ThreadPoolExecutor(CLIENTS) as clients:
        began = time.monotonic()
        list(clients.map(write, range(CLIENTS)))
        took = time.monotonic() - began
        status = client.admin.command("serverStatus")
        time.sleep(seconds)  # the background jobs settle the calls
        clocks = [*(each.clock for each in servers), clock_of(status["pid"])]
        *idle, idle_mongod = _shares(clocks, seconds)
    return [
        f"{len(bodies) * _BATCH / took:,.0f}",
        f"{sum(each.most_memory_mib() for each in servers) / len(servers):.0f} MiB",
        str(status["connections"]["current"]),
        f"{sum(idle) / len(idle):.1%} of a core",
        f"{idle_mongod:.1%} of a core",
    ]


def _shares(clocks: list[Clock], seconds: float) -> list[float]:
    """Return the share of a core that each process uses during the next seconds."""
    before = [clock() for clock in clocks]
    time.sleep(seconds)
    return [(clock() - begun) / seconds for clock, begun in zip(clocks, before, strict=True)]


def _print(cells: Sequence[Any]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
