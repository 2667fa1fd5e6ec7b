"""Metrics of a group, computed from accumulators that can be merged, so groups can be grouped again.

Percentiles of latencies are exact: of n sorted values the one at index q * (n - 1), interpolated between neighbours.
The values of a group are sorted in memory; 100,000 take a few megabytes. If a group exceeds MongoDB's memory limit,
calls are counted by latency instead and the counts are accumulated in order: slower, but without a size limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bson import Int64

from stores.json.bson_copy import INT64
from stores.query.text_expressions import Expression, let_v
from stores.usage.classes import FIELDS, INPUT, PARTS, STORED, Side

Pipeline = list[dict[str, Any]]

PERCENTILES: Final = {"p50_latency_ms": 50, "p95_latency_ms": 95, "p99_latency_ms": 99}

_LATENCY: Final = "$latency_ms"
_WITH_LATENCY: Final = {"$cond": [{"$isNumber": _LATENCY}, 1, 0]}


def in_memory(keys: Expression, summed: dict[str, Any], percentiles: Mapping[str, int]) -> Pipeline:
    """Build the stages that group calls by `keys`, with sums and percentiles, sorting latencies in memory."""
    neighbours = {
        _neighbour(percent, above): {"$arrayElemAt": ["$latencies", _rank(percent, above)]}
        for percent in percentiles.values()
        for above in (0, 1)
    }
    return [
        {"$group": {"_id": keys, **summed, "latencies": {"$push": _LATENCY}}},
        {"$set": {"latencies": {"$sortArray": {"input": "$latencies", "sortBy": 1}}}},
        {"$set": {"all": {"$size": "$latencies"}}},
        {"$set": neighbours},
        *_interpolated(percentiles),
        {"$unset": ["latencies", "all", *neighbours]},
    ]


def by_counts(
    keys: Expression, summed: dict[str, Any], resummed: dict[str, Any], percentiles: Mapping[str, int]
) -> Pipeline:
    """Build the stages of `in_memory` from counts per latency, so that each stage holds only a few numbers."""
    running_count = {"$sum": "$calls", "window": {"documents": ["unbounded", "current"]}}
    # The last document in this order has the total; in reverse order it comes first.
    first_total = {"$first": "$up_to", "window": {"documents": ["unbounded", "current"]}}
    neighbours = {
        _neighbour(percent, above): {"$max": {"$cond": [_covers(_rank(percent, above)), "$_id.ms", None]}}
        for percent in percentiles.values()
        for above in (0, 1)
    }
    by_latency = {"partitionBy": "$_id.of", "sortBy": {"_id.ms": 1}, "output": {"up_to": running_count}}
    backward = {"partitionBy": "$_id.of", "sortBy": {"up_to": -1}, "output": {"all": first_total}}
    return [
        {"$group": {"_id": {"of": keys, "ms": _LATENCY}, **summed, "calls": {"$sum": _WITH_LATENCY}}},
        {"$setWindowFields": by_latency},
        {"$setWindowFields": backward},
        {"$group": {"_id": "$_id.of", **resummed, "all": {"$max": "$all"}, **neighbours}},
        *_interpolated(percentiles),
        {"$unset": ["all", *neighbours]},
    ]


def _interpolated(percentiles: Mapping[str, int]) -> Pipeline:
    """Interpolate between two neighbours among `$all` values; null for an empty group."""
    values = {}
    for name, percent in percentiles.items():
        lower, upper = (f"${_neighbour(percent, above)}" for above in (0, 1))
        # Integer hundredths avoid rounding errors.
        fraction = {"$divide": [{"$mod": [_hundredths(percent), 100]}, 100]}
        interpolated = {"$add": [lower, {"$multiply": [fraction, {"$subtract": [upper, lower]}]}]}
        values[name] = {"$cond": [{"$gt": ["$all", 0]}, {"$toDouble": interpolated}, None]}
    return [{"$set": values}]


def _hundredths(percent: int) -> Expression:
    return {"$multiply": [percent, {"$subtract": ["$all", 1]}]}


def _rank(percent: int, above: int) -> Expression:
    """Build the rank, from 0, of a neighbour among `$all` values; it is clamped to the last value."""
    below = {"$toInt": {"$floor": {"$divide": [_hundredths(percent), 100]}}}
    return {"$min": [{"$add": [below, above]}, {"$subtract": ["$all", 1]}]}


def _covers(rank: Expression) -> Expression:
    """Test whether the calls of this latency cover the rank."""
    before = {"$subtract": ["$up_to", "$calls"]}
    return let_v(rank, {"$and": [{"$lte": [before, "$$v"]}, {"$gt": ["$up_to", "$$v"]}]})


def _neighbour(percent: int, above: int) -> str:
    return f"at_{percent}_{above}"


COUNT: Final = "count"
COSTS: Final = "costs"
"""Name of the computed cost of a call's usage: a Decimal128; null if nothing has a price."""
UNPRICED: Final = "unpriced"
"""Name of the computed number of tokens without a price."""


@dataclass(frozen=True, slots=True)
class Part:
    """An accumulator over documents: operator, operand, and the fields it reads."""

    accumulator: str
    value: Expression
    reads: tuple[str, ...] = ()


def _total(count: str) -> Part:
    # The inner sum is over the usage entries of a call, the outer one over calls.
    return Part("$sum", {"$sum": f"$usage.{count}"}, ("usage",))


COUNTS: Final = {
    COUNT: Part("$sum", 1),
    "error_count": Part("$sum", {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}, ("status",)),
    **{name: _total(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens", "requests")},
    **{FIELDS[name]: _total(f"classes.{name}") for name in STORED},
    "unpriced_tokens": Part("$sum", f"${UNPRICED}", (UNPRICED,)),
}
"""Metrics that are sums of counts; they are clamped to 64 bits like a call's own sums."""

ACCUMULATORS: Final = COUNTS | {
    "ended": Part("$sum", _WITH_LATENCY, ("latency_ms",)),
    "latency": Part("$sum", _LATENCY, ("latency_ms",)),
    "least": Part("$min", _LATENCY, ("latency_ms",)),
    "most": Part("$max", _LATENCY, ("latency_ms",)),
    "cost": Part("$sum", f"${COSTS}", (COSTS,)),
    "dearest": Part("$max", f"${COSTS}", (COSTS,)),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: the accumulators it needs, and its expression over them."""

    parts: tuple[str, ...]
    value: Expression


def _bounded(number: Expression) -> Expression:
    return {"$toLong": {"$min": [number, Int64(INT64 - 1)]}}


def _mean(total: str, number: str) -> Metric:
    return Metric((total, number), {"$cond": [f"${number}", {"$divide": [f"${total}", f"${number}"]}, None]})


def _rest(total: str, parts: tuple[str, ...]) -> Metric:
    """Build the metric of a total minus the sums of `parts`."""
    beyond = {"$subtract": [f"${total}", {"$add": [f"${part}" for part in parts]}]}
    return Metric((total, *parts), _bounded({"$max": [0, beyond]}))


METRICS: Final = {name: Metric((name,), _bounded(f"${name}")) for name in COUNTS} | {
    "error_rate": _mean("error_count", COUNT),
    "mean_latency_ms": _mean("latency", "ended"),
    "min_latency_ms": Metric(("least",), "$least"),
    "max_latency_ms": Metric(("most",), "$most"),
    FIELDS[INPUT]: _rest("prompt_tokens", tuple(FIELDS[name] for name in PARTS[Side.INPUT])),
    # The maximum is null if nothing has a price.
    "cost": Metric(("cost", "dearest"), {"$cond": [{"$eq": ["$dearest", None]}, None, {"$toDouble": "$cost"}]}),
}

NAMES: Final = frozenset({*METRICS, *PERCENTILES})
"""All names of metrics, including percentiles."""
