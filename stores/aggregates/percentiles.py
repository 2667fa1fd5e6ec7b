"""Exact latency percentiles: of n sorted values the one at index q * (n - 1), interpolated between neighbours.

The values of a group are sorted in memory; 100,000 take a few megabytes. If a group exceeds MongoDB's memory limit,
calls are counted by latency instead and the counts are accumulated in order: slower, but without a size limit.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stores.query.value_expressions import Expression, let_v

Pipeline = list[dict[str, Any]]

PERCENTILES: Final = {"p50_latency_ms": 50, "p95_latency_ms": 95, "p99_latency_ms": 99}

_LATENCY: Final = "$latency_ms"
_WITH_LATENCY: Final = {"$cond": [{"$isNumber": _LATENCY}, 1, 0]}


def in_memory(keys: Any, summed: dict[str, Any], percentiles: Mapping[str, int]) -> Pipeline:  # noqa: ANN401 -- an expression
    """Build the stages that group calls by `keys`, with sums and percentiles, sorting latencies in memory."""
    grouped = {"$group": {"_id": keys, **summed, "latencies": {"$push": _LATENCY}}}
    ordered = {"$set": {"latencies": {"$sortArray": {"input": "$latencies", "sortBy": 1}}}}
    values = {
        name: _percentile({"$size": "$latencies"}, _value_in_memory, percent) for name, percent in percentiles.items()
    }
    return [grouped, ordered, {"$set": values}, {"$unset": "latencies"}]


def by_counts(
    keys: Any,  # noqa: ANN401 -- an expression
    summed: dict[str, Any],
    resummed: dict[str, Any],
    percentiles: Mapping[str, int],
) -> Pipeline:
    """Build the stages of `in_memory` from counts per latency, so that each stage holds only a few numbers."""
    counted = {"$group": {"_id": {"of": keys, "ms": _LATENCY}, **summed, "calls": {"$sum": _WITH_LATENCY}}}
    running_count = {"$sum": "$calls", "window": {"documents": ["unbounded", "current"]}}
    added = {"partitionBy": "$_id.of", "sortBy": {"_id.ms": 1}, "output": {"up_to": running_count}}
    # The last document in this order has the total; in reverse order it comes first.
    first_total = {"$first": "$up_to", "window": {"documents": ["unbounded", "current"]}}
    totalled = {"partitionBy": "$_id.of", "sortBy": {"up_to": -1}, "output": {"all": first_total}}
    neighbours = {
        _neighbour(percent, above): {"$max": {"$cond": [_covers(_rank("$all", percent, above)), "$_id.ms", None]}}
        for percent in percentiles.values()
        for above in (0, 1)
    }
    regrouped = {"_id": "$_id.of", **resummed, "all": {"$max": "$all"}, **neighbours}
    values = {name: _percentile("$all", _value_by_counts, percent) for name, percent in percentiles.items()}
    dropped = ["all", *neighbours]
    return [
        counted,
        {"$setWindowFields": added},
        {"$setWindowFields": totalled},
        {"$group": regrouped},
        {"$set": values},
        {"$unset": dropped},
    ]


def _percentile(size: Expression, at: Callable[[int, int], Expression], percent: int) -> Expression:
    """Interpolate between two neighbours; null for an empty group. Integer hundredths avoid rounding errors."""
    lower, upper = at(percent, 0), at(percent, 1)
    fraction = {"$divide": [{"$mod": [{"$multiply": [percent, {"$subtract": [size, 1]}]}, 100]}, 100]}
    interpolated = {"$add": [lower, {"$multiply": [fraction, {"$subtract": [upper, lower]}]}]}
    return {"$cond": [{"$gt": [size, 0]}, {"$toDouble": interpolated}, None]}


def _rank(size: Expression, percent: int, above: int) -> Expression:
    """Build the rank, from 0, of a neighbour; it is clamped to the last value."""
    hundredths = {"$multiply": [percent, {"$subtract": [size, 1]}]}
    below = {"$toInt": {"$floor": {"$divide": [hundredths, 100]}}}
    return {"$min": [{"$add": [below, above]}, {"$subtract": [size, 1]}]}


def _value_in_memory(percent: int, above: int) -> Expression:
    return {"$arrayElemAt": ["$latencies", _rank({"$size": "$latencies"}, percent, above)]}


def _covers(rank: Expression) -> Expression:
    """Test whether the calls of this latency cover the rank."""
    before = {"$subtract": ["$up_to", "$calls"]}
    return let_v(rank, {"$and": [{"$lte": [before, "$$v"]}, {"$gt": ["$up_to", "$$v"]}]})


def _value_by_counts(percent: int, above: int) -> Expression:
    return f"${_neighbour(percent, above)}"


def _neighbour(percent: int, above: int) -> str:
    return f"at_{percent}_{above}"
