"""Benchmarks of lists of calls by their feedback, compared with hand-written reads in MongoDB's CPU time.

The hand-written reads fetch the ids of the calls from the feedback and then those calls. They rely on the knowledge
that there are few.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from pymongo import MongoClient

from stores.calls import CallsStore
from stores.database import Database
from stores.feedback import FeedbackStore, NewFeedback
from stores.paging import PageRequest
from stores.query import Query
from tests.benchmarks.by_hand import compared_row
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.stock import PROJECT, id_of
from tests.benchmarks.timing import Clock

APART: Final = 100
"""Distance between two calls with a reaction; every other reaction is a thumbs-down."""

REACTION: Final = "wandb.reaction.1"
_BATCH: Final = 1000
_BOUND: Final = Must("ratio", 1.5)
_SHOWN: Final = ("id", "op_name", "started_at")
_EMOJI: Final = {"$getField": f"feedback.[{REACTION}].payload.emoji"}
_DOWN: Final = {"$eq": [_EMOJI, {"$literal": "👎"}]}
_OLDEST_FIRST: Final = {"started_at": 1, "id": 1}

ByHand = Any
"""A database of pymongo, for the hand-written reads."""


@dataclass(frozen=True, slots=True)
class Case:
    """A list of calls as LoomQL's query, and the function that finds the ids of its first page by hand."""

    name: str
    query: dict[str, Any]
    by_hand: Callable[[ByHand], list[str]]


def load_feedback(uri: str, name: str, count: int) -> None:
    """Store a reaction to every hundredth of `count` calls."""
    asyncio.run(_load(uri, name, count))


async def _load(uri: str, name: str, count: int) -> None:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    for batch in _batches(count):
        await FeedbackStore(database).create(batch)
    database.close()


def _batches(count: int) -> Iterator[list[NewFeedback]]:
    step = APART * _BATCH
    for first in range(0, count, step):
        yield [_reaction(number) for number in range(first, min(first + step, count), APART)]


def _reaction(number: int) -> NewFeedback:
    emoji = "👎" if number // APART % 2 else "👍"
    return NewFeedback(PROJECT, f"weave:///{PROJECT}/call/{id_of(number)}", REACTION, {"emoji": emoji})


def _with_a_thumbs_down(database: ByHand) -> list[str]:
    return _page(database, {"$in": _thumbs_down(database)})


def _without_a_thumbs_down(database: ByHand) -> list[str]:
    return _page(database, {"$nin": _thumbs_down(database)})


def _thumbs_down(database: ByHand) -> list[str]:
    match = {"project_id": PROJECT, "feedback_type": REACTION, "payload.emoji": "👎"}
    return [f"{PROJECT}:{row['call_id']}" for row in database.feedback.find(match, {"_id": 0, "call_id": 1})]


def _page(database: ByHand, key: dict[str, list[str]]) -> list[str]:
    stages = [
        {"$match": {"project_id": PROJECT, "visible": True, "_id": key}},
        {"$sort": _OLDEST_FIRST},
        {"$limit": PageRequest().size + 1},
        {"$project": {"_id": 0} | dict.fromkeys(_SHOWN, 1)},
    ]
    return [row["id"] for row in database.calls.aggregate(stages)][: PageRequest().size]


CASES: Final = (
    Case("calls with a thumbs-down", _DOWN, _with_a_thumbs_down),
    Case("calls without a thumbs-down", {"$not": [_DOWN]}, _without_a_thumbs_down),
)


def measure_feedback(uri: str, name: str, clock: Clock, rounds: int, only: str = "") -> Section:
    """Measure every case on a stock of calls with feedback; the hand-written reads are the floor."""
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


async def _compiled(database: Database, case: Case) -> list[str]:
    query = Query({"$expr": case.query})
    page = await CallsStore(database).page(PROJECT, PageRequest(), _SHOWN, query=query)
    return [row["id"] for row in page.rows]


def _compared(
    case: Case, runner: asyncio.Runner, database: Database, by_hand: ByHand, clock: Clock, rounds: int
) -> Row:
    def compiled() -> list[str]:
        return runner.run(_compiled(database, case))

    return compared_row(case.name, lambda: case.by_hand(by_hand), compiled, must=_BOUND, clock=clock, rounds=rounds)
