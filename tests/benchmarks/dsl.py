"""Benchmarks of the Query DSL: compiled pipelines, compared with hand-written ones in MongoDB's CPU time."""

import time
import timeit
from typing import Any, Final

from pymongo import MongoClient

from stores.calls.fields import CALL_FIELDS
from stores.query import Query
from tests.benchmarks.by_hand import compared_row
from tests.benchmarks.cases import Case, cases, hundred_terms
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.timing import Clock

_COMPILE: Final = Must("ms", 2.0)
_HUNDRED: Final = "parse and compile 100 terms"


def measure_dsl(uri: str, database: str, count: int, clock: Clock, rounds: int, only: str) -> Section:
    """Measure every case of the DSL on a stock of `count` calls; the hand-written pipeline is the floor."""
    section: Section = {}
    with MongoClient[dict[str, Any]](uri) as client:
        calls = client[database]["calls"]
        for case in cases(count):
            if only in case.name:
                section[case.name] = _compared(case, calls, clock, rounds)
    if only in _HUNDRED:
        took = _compile_milliseconds()
        section[_HUNDRED] = Row(loomql_ms=took).held_to(_COMPILE, took)
    return section


def _compared(case: Case, calls: Any, clock: Clock, rounds: int) -> Row:
    def page(pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(calls.aggregate(pipeline, allowDiskUse=True))

    return compared_row(
        case.name,
        lambda: page(case.by_hand),
        lambda: page(case.compiled),
        must=Must("ratio", case.target),
        clock=clock,
        rounds=rounds,
        comparable=lambda rows: [row["id"] for row in rows],
    )


def _compile_milliseconds() -> float:
    """Return the minimum of many runs, because a longer run includes other work of the machine."""
    query = Query(hundred_terms())
    return 1000 * min(timeit.repeat(lambda: query.match(CALL_FIELDS), timer=time.process_time, number=1, repeat=200))
