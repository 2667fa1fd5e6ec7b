"""`python -m tests.benchmarks`: compare LoomQL with the floor and stock Strawberry, on a MongoDB of its own."""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.embedded_mongod import DataFolder, embedded_mongod
from tests.benchmarks import clickhouse, floor, report
from tests.benchmarks.aggregates import measure_aggregates
from tests.benchmarks.bench import Bench
from tests.benchmarks.dsl import measure_dsl
from tests.benchmarks.executor import measure_executor
from tests.benchmarks.exports import measure_exports
from tests.benchmarks.feedback import load_feedback, measure_feedback
from tests.benchmarks.graph import load_graph, measure_graph
from tests.benchmarks.growth import COUNTS, QUICK_COUNTS, measure_growth
from tests.benchmarks.ingest import measure_ingest
from tests.benchmarks.keys import measure_keys
from tests.benchmarks.live import SECONDS, measure_live
from tests.benchmarks.loading import load_stock
from tests.benchmarks.reading import measure_reads
from tests.benchmarks.report import Report
from tests.benchmarks.scale import CACHE_GB, QUICK_SIZES, SIZES, measure_scale
from tests.benchmarks.servers import server
from tests.benchmarks.sizes import measure_sizes
from tests.benchmarks.text_search import measure_search
from tests.benchmarks.threads import load_threads, measure_threads
from tests.benchmarks.timing import clock_of
from tests.benchmarks.user_indexes import measure_indexes, print_indexes

DATABASE: Final = "bench"
INGEST: Final = "ingest"
THREADS: Final = "threads"
GRAPH: Final = "graph"
KEYS: Final = "keys"
_PYTHONS_OWN: Final = (700, 10, 10)
SECTIONS: Final = (
    "read",
    "graph",
    "executor",
    "write",
    "grow",
    "dsl",
    "sizes",
    "keys",
    "threads",
    "aggregates",
    "exports",
    "live",
    "scale",
)
QUICK_CALLS: Final = 20_000
DEPTH: Final = 100_000
CALLS_PER_THREAD: Final = 20
"""Calls for each thread of the threads benchmark: with 200,000 calls it has 10,000 threads of ten turns."""
SCALE: Final = "many calls of OpenTelemetry (floor: ClickHouse; growth: from fewer calls)"
TITLE: Final = (
    "{calls:,} calls of 2 kB; ms are the wall's p50 over HTTP, CPU is the server's for one request; "
    "of the Query DSL, threads and aggregates they are MongoDB's CPU, and the floor is written by hand"
)


def main() -> int:
    """Measure and print the results; return 1 if LoomQL missed a bound."""
    # The floor is a plain process, so it needs Python's defaults: the import of the server changed the collector.
    gc.set_threshold(*_PYTHONS_OWN)
    options = _options()
    with tempfile.TemporaryDirectory(prefix="loomql-") as name, _mongod(options.cache_gb) as (uri, process_id):
        folder = Path(name)
        if options.indexes:
            print_indexes(asyncio.run(measure_indexes(uri, options.calls, clock_of(process_id))), as_json=options.json)
            return 0
        if options.search:
            print_indexes(asyncio.run(measure_search(uri, options.calls, clock_of(process_id))), as_json=options.json)
            return 0
        found = _measure(folder, uri, process_id, options)
    title = TITLE.format(calls=options.calls)
    match options:
        case argparse.Namespace(json=True):
            sys.stdout.write(report.as_json(found, title) + "\n")
        case argparse.Namespace(markdown=True):
            sys.stdout.write(report.as_markdown(found) + "\n")
        case _:
            report.print_table(found, title)
    return 0 if report.is_met(found) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000, help="calls to read from (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side (default: %(default)s)")
    parser.add_argument("--only", default="", help="measure the cases with this in their names")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help="measure these alone")
    parser.add_argument("--quick", action="store_true", help="fewer calls and turns: some minutes, to try it")
    parser.add_argument("--cache-gb", type=float, default=0.5, help="MongoDB's cache in GiB (default: %(default)s)")
    parser.add_argument(
        "--indexes", action="store_true", help="measure what indexes of one's own cost and gain instead"
    )
    parser.add_argument("--search", action="store_true", help="measure what an index of texts costs and gains instead")
    parser.add_argument(
        "--scale-calls", nargs=2, type=int, help=f"calls of the section scale (default: {SIZES[0]} {SIZES[1]})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="print the table of app/docs/explanation/benchmarks.md")
    options = parser.parse_args()
    if options.quick:
        options.calls, options.rounds = QUICK_CALLS, 3
    options.scale_calls = tuple(options.scale_calls or (QUICK_SIZES if options.quick else SIZES))
    return options


@contextmanager
def _mongod(cache_gb: float) -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory(prefix="loomql-") as folder, embedded_mongod(Path(folder), None, cache_gb) as uri:
        yield uri, int((DataFolder(Path(folder)).database / "mongod.lock").read_text())


def _measure(folder: Path, uri: str, process_id: int, options: argparse.Namespace) -> Report:
    found: Report = {}
    if {"read", "executor", "dsl", "sizes", "aggregates", "exports"} & set(options.sections):
        _log(f"loading {options.calls:,} calls")
        load_stock(uri, DATABASE, options.calls)
        floor.make_nested(uri, DATABASE)
    if "read" in options.sections:
        _log("reading")
        with _bench(folder, uri, DATABASE, options) as bench:
            found["reading"] = measure_reads(bench, options.calls, min(DEPTH, options.calls // 2))
    if "graph" in options.sections:
        _log("the graph")
        load_graph(uri, GRAPH)
        floor.make_nested(uri, GRAPH)
        with _bench(folder, uri, GRAPH, options) as bench:
            found["the graph"] = measure_graph(bench)
    if "executor" in options.sections:
        _log("the executor")
        found["the executor alone, without database and HTTP"] = measure_executor(
            uri, DATABASE, options.rounds, options.only
        )
    if "write" in options.sections:
        _log("writing")
        floor.index_nested(uri, INGEST)
        with _bench(folder, uri, INGEST, options, f"{INGEST}_stock") as bench:
            found["writing (ms for a batch; /s are calls)"] = measure_ingest(bench)
    if "dsl" in options.sections:
        _log("the Query DSL")
        # Other threads of mongod do background work, such as writing the loaded data to disk.
        clock = clock_of(process_id, "conn")
        found["the Query DSL"] = measure_dsl(uri, DATABASE, options.calls, clock, options.rounds, options.only)
        load_feedback(uri, DATABASE, options.calls)
        found["the Query DSL"] |= measure_feedback(uri, DATABASE, clock, options.rounds, options.only)
    if "threads" in options.sections:
        count = options.calls // CALLS_PER_THREAD
        _log(f"threads: loading {count:,}")
        load_threads(uri, THREADS, count)
        clock = clock_of(process_id, "conn")
        found["threads"] = measure_threads(uri, THREADS, count, clock, options.rounds, options.only)
    if "sizes" in options.sections:
        _log("sizes")
        clock = clock_of(process_id, "conn")
        found["sizes"] = measure_sizes(uri, DATABASE, clock, options.rounds, options.only)
    if "aggregates" in options.sections:
        _log("aggregates")
        clock = clock_of(process_id, "conn")
        found["aggregates"] = measure_aggregates(uri, DATABASE, options.calls, clock, options.rounds, options.only)
    return found | _measure_many(folder, options) | _measure_long(folder, uri, options)


def _measure_many(folder: Path, options: argparse.Namespace) -> Report:
    """Measure questions about many calls, on a MongoDB whose cache they exceed."""
    if "scale" not in options.sections:
        return {}
    _log("scale: loading {:,} and {:,} calls".format(*options.scale_calls))
    if not clickhouse.IS_INSTALLED:
        _log(clickhouse.WITHOUT)
    with _mongod(CACHE_GB) as (uri, _):
        return {SCALE: measure_scale(folder, uri, options.scale_calls, options.rounds, options.only)}


def _measure_long(folder: Path, uri: str, options: argparse.Namespace) -> Report:
    """Run the measurements that need a server or a process of their own for some time, and have no cases to choose."""
    found: Report = {}
    if options.only:
        return found
    if "keys" in options.sections:
        _log("keys")
        found["keys"] = measure_keys(uri, KEYS)
    if "exports" in options.sections:
        _log("exports")
        with server(folder, uri, DATABASE) as loomql:
            found["exports"] = measure_exports(loomql, options.calls, options.rounds)
    if "live" in options.sections:
        _log("events")
        found["events (ms from acknowledgement to socket, p99; CPU ms in a second; /s are messages)"] = measure_live(
            folder, uri, 3.0 if options.quick else SECONDS
        )
    if "grow" in options.sections:
        _log("growth")
        counts = QUICK_COUNTS if options.quick else COUNTS
        found["growth and memory"] = measure_growth(folder, uri, counts, options.rounds)
    return found


@contextmanager
def _bench(
    folder: Path, uri: str, database: str, options: argparse.Namespace, stocks_database: str = ""
) -> Iterator[Bench]:
    with (
        server(folder, uri, database) as compiled,
        server(folder, uri, stocks_database or database, compiled=False) as stock,
        floor.opened(uri, database) as (runner, nested),
    ):
        yield Bench(compiled, stock, runner, nested, options.rounds, options.only)


def _log(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


if __name__ == "__main__":
    sys.exit(main())
