"""Percentiles of the latency, exact: of n values in order the one at q * (n - 1) from 0, or between its neighbours.

The values of a group are put in order in memory, where 100,000 of them take a few megabytes. Where that is more than
MongoDB lets a stage take, they are counted instead, and the counts added up in order: slower, and of any size.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stores.query.value_expressions import Expression, bound

Pipeline = list[dict[str, Any]]

PERCENTILES: Final = {"p50_latency_ms": 50, "p95_latency_ms": 95, "p99_latency_ms": 99}

_LATENCY: Final = "$latency_ms"
_WITH_LATENCY: Final = {"$cond": [{"$isNumber": _LATENCY}, 1, 0]}


def in_memory(keys: Any, summed: dict[str, Any], percentiles: Mapping[str, int]) -> Pipeline:  # noqa: ANN401 -- an expression
    """The stages that group calls by keys, with their sums and percentiles."""
    grouped = {"$group": {"_id": keys, **summed, "latencies": {"$push": _LATENCY}}}
    ordered = {"$set": {"latencies": {"$sortArray": {"input": "$latencies", "sortBy": 1}}}}
    found = {
        name: _percentile({"$size": "$latencies"}, _at_in_memory, percent) for name, percent in percentiles.items()
    }
    return [grouped, ordered, {"$set": found}, {"$unset": "latencies"}]


def by_counts(
    keys: Any,  # noqa: ANN401 -- an expression
    summed: dict[str, Any],
    resummed: dict[str, Any],
    percentiles: Mapping[str, int],
) -> Pipeline:
    """The same, by the number of calls of each latency: all that a stage holds at once is some numbers."""
    counted = {"$group": {"_id": {"of": keys, "ms": _LATENCY}, **summed, "calls": {"$sum": _WITH_LATENCY}}}
    up_to_here = {"$sum": "$calls", "window": {"documents": ["unbounded", "current"]}}
    added = {"partitionBy": "$_id.of", "sortBy": {"_id.ms": 1}, "output": {"up_to": up_to_here}}
    # The last in that order has counted all: in the reverse order each is told by the first.
    told = {"$first": "$up_to", "window": {"documents": ["unbounded", "current"]}}
    totalled = {"partitionBy": "$_id.of", "sortBy": {"up_to": -1}, "output": {"all": told}}
    neighbours = {
        _neighbour(percent, above): {"$max": {"$cond": [_holds(_rank("$all", percent, above)), "$_id.ms", None]}}
        for percent in percentiles.values()
        for above in (0, 1)
    }
    regrouped = {"_id": "$_id.of", **resummed, "all": {"$max": "$all"}, **neighbours}
    found = {name: _percentile("$all", _at_by_counts, percent) for name, percent in percentiles.items()}
    dropped = ["all", *neighbours]
    return [
        counted,
        {"$setWindowFields": added},
        {"$setWindowFields": totalled},
        {"$group": regrouped},
        {"$set": found},
        {"$unset": dropped},
    ]


def _percentile(size: Expression, at: Callable[[int, int], Expression], percent: int) -> Expression:
    """The value between two neighbours; null of nothing. It is reckoned in whole hundredths, so that none is missed."""
    lower, upper = at(percent, 0), at(percent, 1)
    share = {"$divide": [{"$mod": [{"$multiply": [percent, {"$subtract": [size, 1]}]}, 100]}, 100]}
    between = {"$add": [lower, {"$multiply": [share, {"$subtract": [upper, lower]}]}]}
    return {"$cond": [{"$gt": [size, 0]}, {"$toDouble": between}, None]}


def _rank(size: Expression, percent: int, above: int) -> Expression:
    """The place, from 0, of a neighbour; there is none above the last, which then counts for nothing."""
    hundredths = {"$multiply": [percent, {"$subtract": [size, 1]}]}
    below = {"$toInt": {"$floor": {"$divide": [hundredths, 100]}}}
    return {"$min": [{"$add": [below, above]}, {"$subtract": [size, 1]}]}


def _at_in_memory(percent: int, above: int) -> Expression:
    return {"$arrayElemAt": ["$latencies", _rank({"$size": "$latencies"}, percent, above)]}


def _holds(rank: Expression) -> Expression:
    """Whether the calls of a latency stand where the rank is."""
    before = {"$subtract": ["$up_to", "$calls"]}
    return bound(rank, {"$and": [{"$lte": [before, "$$v"]}, {"$gt": ["$up_to", "$$v"]}]})


def _at_by_counts(percent: int, above: int) -> Expression:
    return f"${_neighbour(percent, above)}"


def _neighbour(percent: int, above: int) -> str:
    return f"at_{percent}_{above}"
