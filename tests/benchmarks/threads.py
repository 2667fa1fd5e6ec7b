"""Benchmarks of pages of threads, compared with hand-written pipelines in MongoDB's CPU time.

The hand-written pipelines rely on knowledge of the data: every turn has ended, no thread has very many, and
the index exists.
"""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Collection, Database, Document
from stores.paging import PageRequest
from stores.query.sort import SortBy
from stores.threads import ThreadsFilter, ThreadsStore
from tests.benchmarks.by_hand import compared_row
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.stock import BEGIN, SECOND, id_of
from tests.benchmarks.timing import Clock

PROJECT: Final = "acme/threads"
TURNS: Final = 10
"""Average number of turns of a thread."""

LONG: Final = "acme/long thread"
"""Project in which a single thread has all turns."""

_BATCH: Final = 1000
_SIZE: Final = 100
_PERCENTILES: Final = {"p50_turn_duration_ms": 0.5, "p99_turn_duration_ms": 0.99}
_FIELDS: Final = ("thread_id", "turn_count", "start_time", "last_updated", "first_turn_id", "last_turn_id")
_BOUND: Final = Must("ratio", 1.3)

Stages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """A list of threads as LoomQL's input, and the hand-written pipeline."""

    name: str
    by_hand: Stages
    which: ThreadsFilter | None = None
    sort_by: tuple[SortBy, ...] = ()
    project_id: str = PROJECT


def load_threads(uri: str, name: str, threads: int) -> None:
    """Load threads of about ten turns each, and one thread with as many turns as all of them.

    The turns start one second apart, each in a random thread.
    """
    asyncio.run(_load(uri, name, threads))


async def _load(uri: str, name: str, threads: int) -> None:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    store = CallsStore(database)
    for project_id, its_threads in ((PROJECT, threads), (LONG, 1)):
        for batch in _batches(project_id, threads * TURNS, its_threads):
            await store.write(batch)
    database.close()


def _batches(project_id: str, turns: int, threads: int) -> Iterator[list[CallStart | CallEnd]]:
    rng = Random(turns)
    for first in range(0, turns, _BATCH):
        numbers = range(first, min(first + _BATCH, turns))
        chosen = [(number, f"thread {rng.randrange(threads):06}") for number in numbers]
        yield [part for number, thread_id in chosen for part in _turn(project_id, number, thread_id, rng)]


def _turn(project_id: str, number: int, thread_id: str, rng: Random) -> list[CallStart | CallEnd]:
    turn_id, started_at = id_of(number), BEGIN + number * SECOND
    start = CallStart(project_id, "chat", started_at, {}, {"question": "…"}, id=turn_id, trace_id=turn_id)
    start.thread_id, start.turn_id = thread_id, turn_id
    return [start, CallEnd(project_id, turn_id, started_at + rng.randrange(SECOND // 2, 20 * SECOND), {}, None, "…")]


def cases(threads: int) -> list[Case]:
    """Return all cases for a number of threads."""
    worst = "p99_turn_duration_ms"
    recent = BEGIN + threads * TURNS * SECOND * 49 // 50
    latest: Stages = [{"$sort": {"last_updated": -1, "_id": -1}}, {"$limit": _SIZE + 1}]
    return [
        Case("first page of threads, all fields", [*_grouped({}), *latest, *_percentiles(), *_last_turns()]),
        Case(
            "worst threads by p99, all fields",
            [*_grouped({}), *_percentiles(), {"$sort": {worst: -1, "_id": -1}}, {"$limit": _SIZE + 1}, *_last_turns()],
            sort_by=(SortBy(worst, descending=True),),
        ),
        Case(
            "threads of the last 2 % of time, all fields",
            [*_grouped({"started_at": {"$gt": recent}}), *latest, *_percentiles(), *_last_turns(recent)],
            ThreadsFilter(after_datetime=recent),
        ),
        Case(
            "one thread of all the turns, all fields",
            [*_grouped({}, LONG), *latest, *_percentiles(), *_last_turns(0, LONG)],
            project_id=LONG,
        ),
    ]


def _grouped(also: Document, project_id: str = PROJECT) -> Stages:
    by_index = ("started_at", "turn_of", "id") if also else ("turn_of", "started_at", "id")
    return [
        {"$match": {"project_id": project_id, "visible": True, "turn_of": {"$gt": ""}, **also}},
        {"$sort": dict.fromkeys(by_index, 1)},
        {
            "$group": {
                "_id": "$turn_of",
                "turn_count": {"$sum": 1},
                "start_time": {"$first": "$started_at"},
                "last_updated": {"$max": "$ended_at"},
                "first_turn_id": {"$first": "$id"},
                "took": {"$push": {"$subtract": ["$ended_at", "$started_at"]}},
            }
        },
    ]


def _percentiles() -> Stages:
    found = {}
    for name, share in _PERCENTILES.items():
        at = {"$multiply": [share, {"$subtract": ["$turn_count", 1]}]}
        below = {"$arrayElemAt": ["$took", {"$toInt": {"$floor": at}}]}
        above = {"$arrayElemAt": ["$took", {"$toInt": {"$ceil": at}}]}
        way = {"$multiply": [{"$subtract": [above, below]}, {"$subtract": [at, {"$floor": at}]}]}
        found[name] = {"$divide": [{"$add": [below, way]}, 1000]}
    return [{"$set": {"took": {"$sortArray": {"input": "$took", "sortBy": 1}}}}, {"$set": found}, {"$unset": "took"}]


def _last_turns(after: int = 0, project_id: str = PROJECT) -> Stages:
    last: Stages = [
        {"$match": {"project_id": project_id, "visible": True, "started_at": {"$gt": after}}},
        {"$group": {"_id": None, "last": {"$max": {"ended_at": "$ended_at", "id": "$id"}}}},
    ]
    turns = {"from": "calls", "localField": "_id", "foreignField": "turn_of", "pipeline": last, "as": "last"}
    return [{"$lookup": turns}, {"$set": {"last_turn_id": {"$first": "$last.last.id"}, "thread_id": "$_id"}}]


def measure_threads(uri: str, name: str, threads: int, clock: Clock, rounds: int, only: str = "") -> Section:
    """Measure every case on a number of threads; the hand-written pipeline is the floor."""
    section: Section = {}
    with asyncio.Runner() as runner, closing(runner.run(_open(uri, name))) as database:
        for case in cases(threads):
            if only in case.name:
                section[case.name] = _compared(runner, database, case, clock, rounds)
    return section


async def _open(uri: str, name: str) -> Database:
    return Database.open(uri, name)


def _compared(runner: asyncio.Runner, database: Database, case: Case, clock: Clock, rounds: int) -> Row:
    def by_hand() -> list[Document]:
        return runner.run(_by_hand(database.calls, case))

    def compiled() -> list[Document]:
        return runner.run(_compiled(database, case))

    return compared_row(case.name, by_hand, compiled, must=_BOUND, clock=clock, rounds=rounds, comparable=_comparable)


async def _by_hand(calls: Collection, case: Case) -> list[Document]:
    found = await calls.aggregate(case.by_hand, allowDiskUse=True).to_list(None)
    return found[:_SIZE]


async def _compiled(database: Database, case: Case) -> list[Document]:
    wanted = {*_FIELDS, *_PERCENTILES}
    page = await ThreadsStore(database).page(case.project_id, PageRequest(_SIZE), wanted, case.which, case.sort_by)
    return page.rows


def _comparable(rows: list[Document]) -> list[tuple[object, ...]]:
    """Return the comparable part of the rows, with percentiles rounded, because their last bits may differ."""
    return [(*(row[name] for name in _FIELDS), *(round(row[name], 6) for name in _PERCENTILES)) for row in rows]
