"""Benchmarks of a project's sizes and counts, compared with hand-written queries in MongoDB's CPU time.

The hand-written queries sum over the index that holds the numbers, and count its keys, without concurrent writes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from pymongo import MongoClient

from stores.database import Database
from stores.projects import ProjectsStore
from tests.benchmarks.by_hand import compared_row
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.stock import PROJECT
from tests.benchmarks.timing import Clock

_BOUND: Final = Must("ratio", 1.3)
_SUMS: Final = {
    "trace_storage_size_bytes": ("calls", "storage_size_bytes"),
    "objects_storage_size_bytes": ("objects", "size_bytes"),
    "tables_storage_size_bytes": ("table_rows", "size_bytes"),
    "files_storage_size_bytes": ("files.files", "length"),
}

ByHand = Any
"""A database of pymongo, for the hand-written queries."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request to LoomQL's stores, and the hand-written query for the same answer."""

    name: str
    loomql: Callable[[Database], Coroutine[Any, Any, object]]
    by_hand: Callable[[ByHand], object]


async def _sizes(database: Database) -> object:
    return (await ProjectsStore(database).sizes([PROJECT], frozenset(_SUMS)))[PROJECT]


def _sizes_by_hand(database: ByHand) -> dict[str, int]:
    return {name: _sum(database[collection], path) for name, (collection, path) in _SUMS.items()}


def _sum(collection: ByHand, path: str) -> int:
    stages = [{"$match": {"project_id": PROJECT}}, {"$group": {"_id": None, "sum": {"$sum": f"${path}"}}}]
    return sum(row["sum"] for row in collection.aggregate(stages))


async def _count(database: Database) -> object:
    return (await ProjectsStore(database).count_calls([PROJECT]))[PROJECT]


def _count_by_hand(database: ByHand) -> object:
    return database.command("count", "calls", query={"project_id": PROJECT, "visible": True})["n"]


CASES: Final = (
    Case("projectStats, all four sizes", _sizes, _sizes_by_hand),
    Case("count of a project's calls", _count, _count_by_hand),
)


def measure_sizes(uri: str, name: str, clock: Clock, rounds: int, only: str = "") -> Section:
    """Measure every case on a stock of calls; the hand-written queries are the floor."""
    section: Section = {}
    with (
        asyncio.Runner() as runner,
        closing(runner.run(_open(uri, name))) as database,
        MongoClient[dict[str, Any]](uri) as client,
    ):
        for case in CASES:
            if only in case.name:
                section[case.name] = _compared(case, runner, database, client[name], clock, rounds)
    return section


async def _open(uri: str, name: str) -> Database:
    """Open a database on the running loop, because Motor uses the current one."""
    return Database.open(uri, name)


def _compared(
    case: Case, runner: asyncio.Runner, database: Database, by_hand: ByHand, clock: Clock, rounds: int
) -> Row:
    return compared_row(
        case.name,
        lambda: case.by_hand(by_hand),
        lambda: runner.run(case.loomql(database)),
        must=_BOUND,
        clock=clock,
        rounds=rounds,
    )
