"""Percentiles of the durations of turns, exact: linear between the two values next to the position q * (n - 1).

They are found in one of two ways. `Gathered` ones come of the turns that a group collects anyway: quick, but it keeps
the durations of a thread in one document, so that a thread may not have too many. Those of a thread that has are
`walked`: they come of one more walk through its turns, in the order of their durations, which takes several times as
long; the other threads' come of what was gathered all the same.
"""

from collections.abc import Iterable
from typing import Any, Final

from stores.threads.fields import P50, P99

Stages = list[dict[str, Any]]
Expression = Any

PERCENTILES: Final = {P50: 50, P99: 99}

MAX_GATHERED: Final = 400_000
"""Durations of one thread in one document: in BSON some 7 MB, of the 16 that it may take."""

TOO_MANY: Final = 241
"""MongoDB's code for a conversion that fails, as the one in `gathered` does for a thread that has too many turns."""

_FINISHED: Final = "_finished"
_DURATIONS: Final = "_durations"
_WALKED: Final = "_walked"
_NO_THREAD: Final = True
"""No text, and so the id of no thread: an index is asked once for nothing."""

COLLECTED: Final = (_FINISHED, _DURATIONS)
"""Where documents keep what is collected for percentiles, until it is used."""

_DURATION: Final = {"$subtract": ["$ended_at", "$started_at"]}
_MICROSECONDS: Final = 1000


def gathering() -> dict[str, Any]:
    """What a group collects for `gathered`."""
    return {_DURATIONS: {"$firstN": {"n": MAX_GATHERED + 1, "input": _DURATION}}}


def gathered(names: Iterable[str]) -> Stages:
    """The stages that make percentiles of what was collected; they fail with `TOO_MANY` where there is too much."""
    # No text with these letters is a number, whatever the thread's id.
    return _of_gathered(names, {"$toInt": {"$concat": ["too many turns: ", "$id"]}})


def _of_gathered(names: Iterable[str], where_too_many: Expression) -> Stages:
    finished = {"$filter": {"input": f"${_DURATIONS}", "cond": {"$ne": ["$$this", None]}}}
    bounded = _where_too_many(where_too_many, finished)
    return [
        {"$set": {_DURATIONS: {"$sortArray": {"input": bounded, "sortBy": 1}}}},
        {"$set": {name: _of_sorted(f"${_DURATIONS}", PERCENTILES[name]) for name in names}},
        {"$unset": _DURATIONS},
    ]


def _where_too_many(then: Expression, otherwise: Expression) -> Expression:
    return {"$cond": [{"$gt": [{"$size": f"${_DURATIONS}"}, MAX_GATHERED]}, then, otherwise]}


def counting() -> dict[str, Any]:
    """What a group collects for `walked`: what it does for `gathered`, and how many turns have finished."""
    return gathering() | {_FINISHED: {"$sum": {"$toInt": {"$isNumber": "$ended_at"}}}}


def walked(names: Iterable[str], collection: str, turns: dict[str, Any]) -> Stages:
    """The stages that make percentiles of documents with a thread's `id` and `counting`, however many turns it has.

    The walk goes through those of its turns that match.
    """
    names = list(names)
    places = {name: {"$add": [1, _position(f"${_FINISHED}", PERCENTILES[name])]} for name in names}
    numbered = {"at": {"$documentNumber": {}}, "next": {"$shift": {"output": "$duration", "by": 1}}}
    lower = {name: {"$floor": f"$${name}"} for name in names}
    walk: Stages = [
        {"$match": turns},
        {"$project": {"_id": 0, "duration": _DURATION}},
        {"$setWindowFields": {"sortBy": {"duration": 1}, "output": numbered}},
        {"$match": {"$expr": {"$in": ["$at", list(lower.values())]}}},
        {"$group": {"_id": None} | {name: {"$max": _at_place(lower[name], f"$${name}")} for name in names}},
    ]
    looked_up = {
        "from": collection,
        "localField": _WALKED,
        "foreignField": "turn_of",
        "let": places,
        "pipeline": walk,
        "as": _WALKED,
    }
    nothing: list[object] = []
    return [
        {"$set": {_WALKED: _where_too_many("$id", _NO_THREAD)}},
        *_of_gathered(names, nothing),
        {"$lookup": looked_up},
        {"$set": {name: {"$ifNull": [{"$first": f"${_WALKED}.{name}"}, f"${name}"]} for name in names}},
        {"$unset": [_WALKED, _FINISHED]},
    ]


def _position(count: Expression, percent: int) -> Expression:
    """Where a percentile stands among so many values, from 0; rounded but once."""
    return {"$divide": [{"$multiply": [{"$subtract": [count, 1]}, percent]}, 100]}


def _of_sorted(durations: Expression, percent: int) -> Expression:
    """A percentile of a sorted list of microseconds, in milliseconds."""
    at = {"$let": {"vars": {"at": _position({"$size": durations}, percent)}, "in": None}}
    lower = {"$arrayElemAt": [durations, {"$toInt": {"$floor": "$$at"}}]}
    upper = {"$arrayElemAt": [durations, {"$toInt": {"$ceil": "$$at"}}]}
    at["$let"]["in"] = _between(lower, upper, {"$subtract": ["$$at", {"$floor": "$$at"}]})
    return at


def _at_place(lower: Expression, place: Expression) -> Expression:
    """The percentile, in the document where the value below it stands; null in any other."""
    found = _between("$duration", {"$ifNull": ["$next", "$duration"]}, {"$subtract": [place, lower]})
    return {"$cond": [{"$eq": ["$at", lower]}, found, None]}


def _between(lower: Expression, upper: Expression, share: Expression) -> Expression:
    """What lies a share of the way from one to the other, in milliseconds."""
    way = {"$multiply": [{"$subtract": [upper, lower]}, share]}
    return {"$divide": [{"$add": [lower, way]}, _MICROSECONDS]}
