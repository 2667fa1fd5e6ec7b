"""Benchmarks of user indexes: writes, disk space and reads, compared with a wildcard index."""

import json
import statistics
import sys
import time
from typing import Any, Final

from pymongo import ASCENDING, MongoClient
from rich.console import Console
from rich.table import Table

from stores.calls import CallsStore
from stores.calls.user_indexes import UserIndex, UserIndexes
from stores.database import Database
from tests.benchmarks.cases import of_a_customer
from tests.benchmarks.stock import batches
from tests.benchmarks.timing import Clock

NONE: Final = "no index of one's own"
PATH: Final = "an index of inputs.customer_id"
WILDCARD: Final = "a wildcard index of inputs"

_ROUNDS: Final = 5
_MIB: Final = 1024 * 1024

Row = dict[str, float]


async def measure_indexes(uri: str, count: int, clock: Clock) -> dict[str, Row]:
    """Measure each kind of index: calls written a second, CPU for each call, sizes in MiB, and the time of a page.

    The same batches are written in turns with each kind.
    """
    found = {}
    databases = {name: Database.open(uri, f"bench_{number}") for number, name in enumerate((NONE, PATH, WILDCARD))}
    for database in databases.values():
        await database.ensure_indexes()
    await UserIndexes(databases[PATH]).add(UserIndex.parse_field(None, "inputs.customer_id"))
    await databases[WILDCARD].calls.create_index([("inputs.$**", ASCENDING)], name=WILDCARD)
    spent = await _write(databases, count, clock)
    with MongoClient[dict[str, Any]](uri) as client:
        for number, name in enumerate(databases):
            calls = client[f"bench_{number}"]["calls"]
            sizes = client[f"bench_{number}"].command("collStats", "calls")
            own = sum(size for index, size in sizes["indexSizes"].items() if index.startswith((WILDCARD, "path:")))
            found[name] = {
                "calls a second": count / spent[name][0],
                "CPU ms a call": 1000 * spent[name][1] / count,
                "index MiB": own / _MIB,
                "other indexes MiB": (sizes["totalIndexSize"] - own) / _MIB,
                "data MiB": sizes["storageSize"] / _MIB,
                "page of a customer ms": 1000 * _read(calls, count),
            }
    for database in databases.values():
        database.close()
    return found


async def _write(databases: dict[str, Database], count: int, clock: Clock) -> dict[str, tuple[float, float]]:
    """Write batches with each kind of index in turns, and return the seconds by wall clock and by the given clock."""
    spent = dict.fromkeys(databases, (0.0, 0.0))
    for batch in batches(count):
        for name, database in databases.items():
            wall, cpu = time.perf_counter(), clock()
            await CallsStore(database).write(batch)
            spent[name] = spent[name][0] + time.perf_counter() - wall, spent[name][1] + clock() - cpu
    return spent


def _read(calls: Any, count: int) -> float:
    """Return the median seconds of a page of one customer's calls, with another customer in each round."""
    samples = []
    for number in range(_ROUNDS):
        pipeline = of_a_customer(count // 3 + number, count).compiled
        began = time.perf_counter()
        list(calls.aggregate(pipeline))
        samples.append(time.perf_counter() - began)
    return statistics.median(samples)


def print_indexes(report: dict[str, Row], *, as_json: bool) -> None:
    """Print the report as a table or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    columns = list(next(iter(report.values())))
    table = Table("", *columns)
    for name, row in report.items():
        table.add_row(name, *(f"{row[column]:,.2f}" for column in columns))
    Console(width=160).print(table)
