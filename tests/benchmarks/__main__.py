"""`python -m tests.benchmarks`: how far compiled queries are from ones written by hand, on a MongoDB of its own."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from rich.console import Console
from rich.table import Table

from app.embedded_mongod import DataFolder, embedded_mongod
from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.database import Database
from stores.query import Query
from tests.benchmarks.cases import Case, cases, hundred_terms
from tests.benchmarks.stock import batches
from tests.benchmarks.timing import Clock, clock_of, compare
from tests.benchmarks.user_indexes import measure_indexes

DATABASE: Final = "bench"
COMPILE_TARGET_MS: Final = 2.0

Report = dict[str, dict[str, Any]]


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    options = _options()
    with _mongod(options.cache_gb) as (uri, process_id):
        if options.indexes:
            report: Report = asyncio.run(measure_indexes(uri, options.calls, clock_of(process_id)))
        else:
            # Not what mongod does by itself, such as writing to disk what was loaded.
            report = _measure(uri, clock_of(process_id, "conn"), options)
    _print(
        report, f"{options.calls:,} calls; ms are CPU time of mongod on Linux, else of the wall", as_json=options.json
    )
    return 1 if any(row.get("met") is False for row in report.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000, help="calls to measure on (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each side (default: %(default)s)")
    parser.add_argument("--only", default="", help="measure the cases with this in their names")
    parser.add_argument("--cache-gb", type=float, default=0.5, help="MongoDB's cache in GiB (default: %(default)s)")
    parser.add_argument(
        "--indexes", action="store_true", help="measure what indexes of one's own cost and gain instead"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


@contextmanager
def _mongod(cache_gb: float) -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory(prefix="loomql-") as folder, embedded_mongod(Path(folder), None, cache_gb) as uri:
        yield uri, int((DataFolder(Path(folder)).database / "mongod.lock").read_text())


def _measure(uri: str, clock: Clock, options: argparse.Namespace) -> Report:
    report: Report = {"write": {"calls a second": asyncio.run(_load(uri, options.calls))}}
    with MongoClient[dict[str, Any]](uri) as client:
        calls = client[DATABASE]["calls"]
        for case in cases(options.calls):
            if options.only in case.name:
                report[case.name] = _compared(case, calls, clock, options.rounds)
    took = _compile_milliseconds()
    report["parse and compile 100 terms"] = _row(took, COMPILE_TARGET_MS) | {"compiled ms": took}
    return report


async def _load(uri: str, count: int) -> float:
    """Write the stock as any client would; calls a second."""
    database = Database.open(uri, DATABASE)
    await database.ensure_indexes()
    spent = 0.0
    for batch in batches(count):
        began = time.perf_counter()
        await CallsStore(database).write(batch)
        spent += time.perf_counter() - began
    database.close()
    return count / spent


def _compared(case: Case, calls: Any, clock: Clock, rounds: int) -> dict[str, Any]:  # noqa: ANN401 -- any document's
    def page(pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(calls.aggregate(pipeline, allowDiskUse=True))

    found = [[row["id"] for row in page(pipeline)] for pipeline in (case.by_hand, case.compiled)]
    if found[0] != found[1] or not found[0]:
        raise AssertionError(f"{case.name}: the two sides differ, or nothing matches")
    by_hand, compiled = compare(lambda: page(case.by_hand), lambda: page(case.compiled), clock, rounds)
    return {"rows": len(found[0]), "by hand ms": 1000 * by_hand, "compiled ms": 1000 * compiled} | _row(
        compiled / by_hand, case.target
    )


def _row(ratio: float, target: float) -> dict[str, Any]:
    return {"ratio": ratio, "target": target, "met": ratio <= target}


def _compile_milliseconds() -> float:
    """The least of many runs: what takes longer in others is not this work."""
    query = Query(hundred_terms())
    return 1000 * min(timeit.repeat(lambda: query.match(CALL_FIELDS), timer=time.process_time, number=1, repeat=200))


def _print(report: Report, title: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"title": title, "report": report}, indent=2) + "\n")
        return
    columns = list(dict.fromkeys(name for row in report.values() for name in row))
    table = Table("", *columns, title=title)
    for name, row in report.items():
        table.add_row(name, *(_cell(row.get(column)) for column in columns))
    Console(width=160).print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "NO"
        case float():
            return f"{value:,.2f}"
        case _:
            return str(value)


if __name__ == "__main__":
    sys.exit(main())
