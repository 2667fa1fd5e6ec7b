"""Benchmarks of aggregates: a project's charts, compared with hand-written pipelines in MongoDB's CPU time.

The hand-written pipelines rely on knowledge of the data. There is one model with one price, every call has ended, no
parent sums up usage, and no group has very many calls.
"""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from bson import Decimal128

from stores.aggregates import AggregatesStore, Bucket, FacetsStore, GroupBy, Grouping
from stores.aggregates.facets import DEFAULT_LIMIT
from stores.calls import CallsStore
from stores.calls.fields import PRICES
from stores.costs import CostsStore, NewCost
from stores.database import Collection, Database, Document
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from tests.benchmarks.by_hand import compared_row
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.stock import BEGIN, PROJECT, SECOND
from tests.benchmarks.timing import Clock

MODEL: Final = "loom-large"
PROMPT, COMPLETION = 0.0000025, 0.00001
DAY: Final = 86_400 * SECOND

PAGE: Final = 100

Stages = list[dict[str, Any]]

_AS_DOUBLE: Final = {"$project": {"number": {"$toDouble": "$number"}}}


@dataclass(frozen=True, slots=True)
class Case:
    """A chart as LoomQL's input, the hand-written pipeline for it, and the highest allowed ratio of their times.

    Without a grouping, the case is the facets of some `fields`, or the page of the most expensive calls. `numbers` are
    fields whose numbers are aggregated, of which `number` is a metric. The hand-written rows have the key under `_id`,
    and the number that both sides must agree on under `number`.
    """

    name: str
    grouping: Grouping | None
    number: str
    by_hand: Stages
    target: float
    query: Query | None = None
    fields: Sequence[str] = ()
    numbers: Sequence[str] = ()


FIELDS: Final = (
    *("status", "op_name", "thread_id", "wb_user_id", "latency_ms"),
    *("attributes.environment", "attributes.release", "inputs.order.items"),
)


def cases(count: int) -> list[Case]:
    """Return all cases for a stock of `count` calls."""
    day = {"$dateTrunc": {"date": {"$toDate": {"$toLong": {"$divide": ["$started_at", 1000]}}}, "unit": "day"}}
    of_each = {"$map": {"input": "$usage", "as": "entry", "in": _dollars("$$entry")}}
    used: Stages = [{"$project": {"_id": 0, "usage": 1, "started_at": 1}}, {"$unwind": "$usage"}]
    latencies: Stages = [
        {"$group": {"_id": "$op_trace_name", "took": {"$push": "$latency_ms"}}},
        {"$set": {"took": {"$sortArray": {"input": "$took", "sortBy": 1}}}},
        {"$project": {"number": _p99()}},
    ]
    failed = {"$avg": {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}}
    hour = {"$subtract": ["$started_at", {"$mod": ["$started_at", DAY // 24]}]}
    late = BEGIN + count * SECOND * 9 // 10
    return [
        Case(
            "cost by model by day",
            Grouping([GroupBy.MODEL, GroupBy.TIME_BUCKET], Bucket.DAY),
            "cost",
            [
                _all(),
                *used,
                {"$group": {"_id": {"model": "$usage.model", "day": day}, "number": {"$sum": _dollars("$usage")}}},
                _AS_DOUBLE,
            ],
            target=1.5,
        ),
        Case(
            "the 100 calls that cost most",
            None,
            "cost",
            [_all(), {"$set": {"number": {"$sum": of_each}}}, {"$sort": {"number": -1}}, {"$limit": PAGE}, _AS_DOUBLE],
            target=1.5,
        ),
        Case(
            "p99 of latency by op",
            Grouping([GroupBy.OP_NAME]),
            "p99_latency_ms",
            [_all(), *latencies],
            target=1.3,
        ),
        Case(
            "p99 of latency by op, the last tenth of time",
            Grouping([GroupBy.OP_NAME]),
            "p99_latency_ms",
            [_all(started_at={"$gte": late}), *latencies],
            target=1.3,
            query=Query({"$expr": {"$gte": [{"$getField": "started_at"}, {"$literal": late / SECOND}]}}),
        ),
        Case(
            "error rate by hour",
            Grouping([GroupBy.TIME_BUCKET], Bucket.HOUR),
            "error_rate",
            [_all(), {"$group": {"_id": hour, "number": failed}}],
            target=1.3,
        ),
        Case(
            "calls by version of an op, which an index serves",
            Grouping([GroupBy.OP_VERSION]),
            "count",
            [_all(), {"$group": {"_id": "$op_name", "number": {"$sum": 1}}}],
            target=1.3,
        ),
        Case(
            "mean score by environment, at paths into the JSON",
            Grouping(paths=["attributes.environment"]),
            "average",
            [_all(), {"$group": {"_id": "$attributes.environment", "number": {"$avg": "$output.score"}}}],
            target=2,
            numbers=["output.score"],
        ),
        Case(
            "facets of five columns and three paths",
            None,
            "count",
            [
                _all(),
                {"$facet": {f"f{number}": _most_frequent(field) for number, field in enumerate(FIELDS)}},
                {"$project": {"all": {"$concatArrays": [f"$f{number}" for number in range(len(FIELDS))]}}},
                {"$unwind": "$all"},
                {"$replaceRoot": {"newRoot": "$all"}},
            ],
            target=2,
            fields=FIELDS,
        ),
    ]


def _most_frequent(field: str) -> Stages:
    counted = {"$group": {"_id": f"${field}", "number": {"$sum": 1}}}
    return [counted, {"$sort": {"number": -1}}, {"$limit": DEFAULT_LIMIT}]


def _dollars(entry: str) -> Document:
    """Return the cost of an entry of usage in decimals, because a sum of doubles depends on the order of calls."""
    rates = (("prompt_tokens", PROMPT), ("completion_tokens", COMPLETION))
    return {"$add": [{"$multiply": [f"{entry}.{count}", Decimal128(str(rate))]} for count, rate in rates]}


def _all(**conditions: object) -> dict[str, Any]:
    return {"$match": {"project_id": PROJECT, "visible": True, **conditions}}


def _p99() -> Document:
    at = {"$multiply": [0.99, {"$subtract": [{"$size": "$took"}, 1]}]}
    below = {"$arrayElemAt": ["$took", {"$toInt": {"$floor": at}}]}
    above = {"$arrayElemAt": ["$took", {"$toInt": {"$ceil": at}}]}
    return {"$add": [below, {"$multiply": [{"$subtract": [above, below]}, {"$subtract": [at, {"$floor": at}]}]}]}


def measure_aggregates(uri: str, name: str, count: int, clock: Clock, rounds: int, only: str = "") -> Section:
    """Set a price for the model of a stock of `count` calls and measure every case.

    The hand-written pipeline is the floor.
    """
    section: Section = {}
    with asyncio.Runner() as runner, closing(runner.run(_opened(uri, name))) as database:
        for case in cases(count):
            if only in case.name:
                section[case.name] = _compared(runner, database, case, clock, rounds)
    return section


async def _opened(uri: str, name: str) -> Database:
    database = Database.open(uri, name)
    await CostsStore(database).create(PROJECT, [NewCost(MODEL, PROMPT, COMPLETION, effective_date=0)])
    return database


def _compared(runner: asyncio.Runner, database: Database, case: Case, clock: Clock, rounds: int) -> Row:
    return compared_row(
        case.name,
        lambda: [row["number"] for row in runner.run(_by_hand(database.calls, case))],
        lambda: [row[case.number] for row in runner.run(_compiled(database, case))],
        must=Must("ratio", case.target),
        clock=clock,
        rounds=rounds,
        comparable=_comparable,
    )


def _comparable(numbers: list[float]) -> list[float]:
    """Return the comparable part of the numbers: both sides may differ in the order of rows and in the last bits."""
    return sorted(round(number, 9) for number in numbers)


async def _by_hand(calls: Collection, case: Case) -> list[Document]:
    return await calls.aggregate([*case.by_hand, {"$sort": {"_id": 1}}], allowDiskUse=True).to_list(None)


async def _compiled(database: Database, case: Case) -> list[Document]:
    if case.fields:
        facets = await FacetsStore(database).facets(PROJECT, case.fields, with_histograms=False)
        return [{"count": value.count} for facet in facets for value in facet.values]
    if case.grouping is None:
        order = [SortBy("total_cost", descending=True)]
        page = await CallsStore(database).page(PROJECT, PageRequest(PAGE), ["total_cost"], sort_by=order)
        return [{"cost": row[PRICES].total_cost(row["usage"], row["started_at"])} for row in page.rows]
    found = await AggregatesStore(database).calls(
        PROJECT,
        case.grouping,
        [case.number],
        query=case.query,
        numbers=case.numbers,
        wanted_of_numbers=[case.number] if case.numbers else [],
        exact_percentiles=True,
    )
    return [number for row in found.rows for number in row["numbers"]] if case.numbers else found.rows
