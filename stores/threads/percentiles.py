"""Exact percentiles of turn durations, interpolated linearly between the two values around position q * (n - 1).

There are two methods. The fast one collects a thread's durations in one document while grouping, which limits the turns
of a thread. The slow one reads the turns of a thread beyond that limit once more, sorted by duration, which takes
several times as long; other threads still use their collected durations.
"""

from collections.abc import Iterable
from typing import Any, Final

Stages = list[dict[str, Any]]
Expression = Any

P50: Final = "p50_turn_duration_ms"
P99: Final = "p99_turn_duration_ms"
PERCENTILES: Final = {P50: 50, P99: 99}

MAX_COLLECTED: Final = 400_000
"""Durations collected per thread: about 7 MB of BSON, out of 16 MB per document."""

TOO_MANY: Final = 241
"""MongoDB's code for a failed conversion; `from_collected` provokes one if a thread has too many turns."""

_FINISHED: Final = "_finished"
_DURATIONS: Final = "_durations"
_SORTED_TURNS: Final = "_sorted_turns"
_NO_THREAD: Final = True
"""Not a text, so no thread has this id and the lookup finds nothing."""

COLLECTED_FIELDS: Final = (_FINISHED, _DURATIONS)
"""Fields in which documents keep the collected values until the percentiles are computed."""

_DURATION: Final = {"$subtract": ["$ended_at", "$started_at"]}


def duration_accumulators() -> dict[str, Any]:
    """Return the accumulator that `from_collected` needs."""
    return {_DURATIONS: {"$firstN": {"n": MAX_COLLECTED + 1, "input": _DURATION}}}


def from_collected(names: Iterable[str]) -> Stages:
    """Build the stages that compute percentiles from collected durations; they may fail with `TOO_MANY`."""
    # The letters make the conversion fail for any thread id.
    return _percentile_stages(names, {"$toInt": {"$concat": ["too many turns: ", "$id"]}})


def _percentile_stages(names: Iterable[str], if_too_many: Expression) -> Stages:
    finished = {"$filter": {"input": f"${_DURATIONS}", "cond": {"$ne": ["$$this", None]}}}
    bounded = _if_too_many(if_too_many, finished)
    return [
        {"$set": {_DURATIONS: {"$sortArray": {"input": bounded, "sortBy": 1}}}},
        {"$set": {name: _percentile_of_sorted(f"${_DURATIONS}", PERCENTILES[name]) for name in names}},
        {"$unset": _DURATIONS},
    ]


def _if_too_many(then: Expression, otherwise: Expression) -> Expression:
    return {"$cond": [{"$gt": [{"$size": f"${_DURATIONS}"}, MAX_COLLECTED]}, then, otherwise]}


def finished_accumulators() -> dict[str, Any]:
    """Return the accumulators that `from_sorted_turns` needs: the durations, and the number of finished turns."""
    return duration_accumulators() | {_FINISHED: {"$sum": {"$toInt": {"$isNumber": "$ended_at"}}}}


def from_sorted_turns(names: Iterable[str], collection: str, turns: dict[str, Any]) -> Stages:
    """Return the stages that compute percentiles for any number of turns.

    The input documents have a thread's `id` and the fields of `finished_accumulators`. `turns` matches the turns that
    count.
    """
    names = list(names)
    positions = {name: {"$add": [1, _position(f"${_FINISHED}", PERCENTILES[name])]} for name in names}
    numbered = {"at": {"$documentNumber": {}}, "next": {"$shift": {"output": "$duration", "by": 1}}}
    lower = {name: {"$floor": f"$${name}"} for name in names}
    pipeline: Stages = [
        {"$match": turns},
        {"$project": {"_id": 0, "duration": _DURATION}},
        {"$setWindowFields": {"sortBy": {"duration": 1}, "output": numbered}},
        {"$match": {"$expr": {"$in": ["$at", list(lower.values())]}}},
        {"$group": {"_id": None} | {name: {"$max": _percentile_at(lower[name], f"$${name}")} for name in names}},
    ]
    lookup = {
        "from": collection,
        "localField": _SORTED_TURNS,
        "foreignField": "turn_of",
        "let": positions,
        "pipeline": pipeline,
        "as": _SORTED_TURNS,
    }
    no_durations: list[object] = []
    return [
        {"$set": {_SORTED_TURNS: _if_too_many("$id", _NO_THREAD)}},
        *_percentile_stages(names, no_durations),
        {"$lookup": lookup},
        {"$set": {name: {"$ifNull": [{"$first": f"${_SORTED_TURNS}.{name}"}, f"${name}"]} for name in names}},
        {"$unset": [_SORTED_TURNS, _FINISHED]},
    ]


def _position(count: Expression, percent: int) -> Expression:
    """Build the zero-based position of a percentile among `count` values; one division, so one rounding."""
    return {"$divide": [{"$multiply": [{"$subtract": [count, 1]}, percent]}, 100]}


def _percentile_of_sorted(durations: Expression, percent: int) -> Expression:
    """Build a percentile, in milliseconds, of a sorted list of microseconds."""
    result = {"$let": {"vars": {"at": _position({"$size": durations}, percent)}, "in": None}}
    lower = {"$arrayElemAt": [durations, {"$toInt": {"$floor": "$$at"}}]}
    upper = {"$arrayElemAt": [durations, {"$toInt": {"$ceil": "$$at"}}]}
    result["$let"]["in"] = _interpolate(lower, upper, {"$subtract": ["$$at", {"$floor": "$$at"}]})
    return result


def _percentile_at(lower: Expression, position: Expression) -> Expression:
    """Build the percentile in the document at the lower position; null in any other document."""
    percentile = _interpolate("$duration", {"$ifNull": ["$next", "$duration"]}, {"$subtract": [position, lower]})
    return {"$cond": [{"$eq": ["$at", lower]}, percentile, None]}


def _interpolate(lower: Expression, upper: Expression, fraction: Expression) -> Expression:
    """Build the value at a fraction of the distance between two durations, in milliseconds."""
    difference = {"$multiply": [{"$subtract": [upper, lower]}, fraction]}
    return {"$divide": [{"$add": [lower, difference]}, 1000]}
