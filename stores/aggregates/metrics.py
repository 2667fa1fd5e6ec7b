"""Metrics of a group, computed from accumulators that can be merged, so groups can be grouped again.

Percentiles are exact: of n sorted values the one at index q * (n - 1), interpolated between neighbours. The values of
a group are sorted in memory; 100,000 take a few megabytes. If a group exceeds MongoDB's memory limit, calls are counted
by value instead and the counts are accumulated in order: slower, but without a size limit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bson import Int64

from stores.json.bson_copy import INT64
from stores.query.text_expressions import Expression, let_v
from stores.usage.classes import FIELDS, INPUT, PARTS, STORED, Side

Pipeline = list[dict[str, Any]]


class Percentile(NamedTuple):
    """A percentile of the numbers in a field of documents, which is missing in some."""

    field: str
    percent: int


_PERCENTS: Final = (50, 95, 99)
_LATENCY: Final = "latency_ms"

PERCENTILES: Final = {f"p{percent}_latency_ms": Percentile(_LATENCY, percent) for percent in _PERCENTS}

Percentiles = Mapping[str, Percentile]


def in_memory(keys: Expression, summed: dict[str, Any], percentiles: Percentiles) -> Pipeline:
    """Build the stages that group calls by `keys`, with sums and percentiles, sorting numbers in memory."""
    fields = _fields(percentiles)
    lists = [f"numbers_{number}" for number in range(len(fields))]
    neighbours = {
        neighbour: {"$arrayElemAt": [f"${lists[number]}", _rank(f"${_all(number)}", percent, above)]}
        for neighbour, number, percent, above in _neighbours(percentiles)
    }
    # A read of an index alone has null for a missing number.
    pushed = {
        name: {"$push": {"$cond": [{"$isNumber": f"${field}"}, f"${field}", "$$REMOVE"]}}
        for name, field in zip(lists, fields, strict=True)
    }
    return [
        {"$group": {"_id": keys, **summed, **pushed}},
        {"$set": {name: {"$sortArray": {"input": f"${name}", "sortBy": 1}} for name in lists}},
        {"$set": {_all(number): {"$size": f"${name}"} for number, name in enumerate(lists)}},
        {"$set": neighbours},
        *_interpolated(percentiles),
        {"$unset": [*lists, *map(_all, range(len(fields))), *neighbours]},
    ]


def by_counts(keys: Expression, summed: dict[str, Any], resummed: dict[str, Any], percentiles: Percentiles) -> Pipeline:
    """Build the stages of `in_memory` from counts per number, so that each stage holds only a few numbers.

    Each call becomes one document for each field with percentiles. The first of them counts in the sums.
    """
    fields = _fields(percentiles)
    each = [{"of": number, "number": f"${field}"} for number, field in enumerate(fields)]
    is_first = {"$eq": ["$each.of", 0]}
    summed = {
        name: {operator: {"$cond": [is_first, value, None]} for operator, value in accumulator.items()}
        for name, accumulator in summed.items()
    }
    running_count = {"$sum": "$calls", "window": {"documents": ["unbounded", "current"]}}
    # The last document in this order has the total; in reverse order it comes first.
    first_total = {"$first": "$up_to", "window": {"documents": ["unbounded", "current"]}}
    group = {"group": "$_id.group", "of": "$_id.of"}
    by_number = {"partitionBy": group, "sortBy": {"_id.number": 1}, "output": {"up_to": running_count}}
    backward = {"partitionBy": group, "sortBy": {"up_to": -1}, "output": {"all": first_total}}
    totals = {
        _all(number): {"$max": {"$cond": [{"$eq": ["$_id.of", number]}, "$all", 0]}} for number in range(len(fields))
    }
    neighbours = {
        neighbour: {"$max": {"$cond": [_covers(number, percent, above), "$_id.number", None]}}
        for neighbour, number, percent, above in _neighbours(percentiles)
    }
    count = {"$sum": {"$cond": [{"$isNumber": "$each.number"}, 1, 0]}}
    return [
        {"$set": {"each": each}},
        {"$unwind": "$each"},
        {
            "$group": {
                "_id": {"group": keys, "of": "$each.of", "number": {"$ifNull": ["$each.number", None]}},
                **summed,
                "calls": count,
            }
        },
        {"$setWindowFields": by_number},
        {"$setWindowFields": backward},
        {"$group": {"_id": "$_id.group", **resummed, **totals, **neighbours}},
        *_interpolated(percentiles),
        {"$unset": [*totals, *neighbours]},
    ]


def _fields(percentiles: Percentiles) -> list[str]:
    """Return the distinct fields of percentiles."""
    return list(dict.fromkeys(each.field for each in percentiles.values()))


def _neighbours(percentiles: Percentiles) -> Iterator[tuple[str, int, int, int]]:
    """Yield the two neighbours of each percentile: their name, position of the field, percent, and 0 or 1."""
    fields = _fields(percentiles)
    for field, percent in dict.fromkeys(percentiles.values()):
        for above in (0, 1):
            yield _neighbour(fields.index(field), percent, above), fields.index(field), percent, above


def _interpolated(percentiles: Percentiles) -> Pipeline:
    """Interpolate between the two neighbours of each percentile; null for a group without numbers."""
    values, fields = {}, _fields(percentiles)
    for name, (field, percent) in percentiles.items():
        number = fields.index(field)
        lower, upper = (f"${_neighbour(number, percent, above)}" for above in (0, 1))
        # Integer hundredths avoid rounding errors.
        fraction = {"$divide": [{"$mod": [_hundredths(f"${_all(number)}", percent), 100]}, 100]}
        interpolated = {"$add": [lower, {"$multiply": [fraction, {"$subtract": [upper, lower]}]}]}
        values[name] = {"$cond": [{"$gt": [f"${_all(number)}", 0]}, {"$toDouble": interpolated}, None]}
    return [{"$set": values}]


def _all(number: int) -> str:
    """Return the name of the count of a field's numbers."""
    return f"all_{number}"


def _hundredths(total: Expression, percent: int) -> Expression:
    return {"$multiply": [percent, {"$subtract": [total, 1]}]}


def _rank(total: Expression, percent: int, above: int) -> Expression:
    """Build the rank, from 0, of a neighbour among `total` numbers; it is clamped to the last one."""
    below = {"$toInt": {"$floor": {"$divide": [_hundredths(total, percent), 100]}}}
    return {"$min": [{"$add": [below, above]}, {"$subtract": [total, 1]}]}


def _covers(number: int, percent: int, above: int) -> Expression:
    """Test whether the calls with this number cover the rank of a neighbour in the field at a position."""
    before = {"$subtract": ["$up_to", "$calls"]}
    covers = let_v(_rank("$all", percent, above), {"$and": [{"$lte": [before, "$$v"]}, {"$gt": ["$up_to", "$$v"]}]})
    return {"$and": [{"$eq": ["$_id.of", number]}, covers]}


def _neighbour(number: int, percent: int, above: int) -> str:
    return f"at_{number}_{percent}_{above}"


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

_LATENCY_PATH: Final = f"${_LATENCY}"

ACCUMULATORS: Final = COUNTS | {
    "ended": Part("$sum", {"$cond": [{"$isNumber": _LATENCY_PATH}, 1, 0]}, (_LATENCY,)),
    "latency": Part("$sum", _LATENCY_PATH, (_LATENCY,)),
    "least": Part("$min", _LATENCY_PATH, (_LATENCY,)),
    "most": Part("$max", _LATENCY_PATH, (_LATENCY,)),
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

NUMBER: Final = "number_"
"""Prefix of the document field with a number to aggregate, followed by the position of its name."""

_OF_NUMBERS: Final = ("count", "sum", "average", "minimum", "maximum")
NUMBER_METRICS: Final = (*_OF_NUMBERS, *(f"p{percent}" for percent in _PERCENTS))
"""Metrics of the numbers in a field; a metric of the field at a position is `number_metric`."""


def number_metric(position: int, metric: str) -> str:
    """Return the name of a metric of the numbers at a position."""
    return f"{NUMBER}{position}_{metric}"


def metrics_of_numbers(position: int) -> tuple[dict[str, Part], dict[str, Metric], dict[str, Percentile]]:
    """Return the accumulators, metrics and percentiles of the numbers at a position, by their names in rows."""
    field = f"{NUMBER}{position}"
    path = f"${field}"
    count, total, least, greatest = (number_metric(position, f"_{name}") for name in ("n", "sum", "min", "max"))
    parts = {
        count: Part("$sum", {"$cond": [{"$isNumber": path}, 1, 0]}, (field,)),
        total: Part("$sum", path, (field,)),
        least: Part("$min", path, (field,)),
        greatest: Part("$max", path, (field,)),
    }
    found = {
        "count": Metric((count,), _bounded(f"${count}")),
        "sum": Metric((total, count), {"$cond": [f"${count}", {"$toDouble": f"${total}"}, None]}),
        "average": Metric((total, count), {"$cond": [f"${count}", _quotient(total, count), None]}),
        "minimum": Metric((least,), {"$toDouble": f"${least}"}),
        "maximum": Metric((greatest,), {"$toDouble": f"${greatest}"}),
    }
    percentiles = {number_metric(position, f"p{percent}"): Percentile(field, percent) for percent in _PERCENTS}
    return parts, {number_metric(position, name): metric for name, metric in found.items()}, percentiles


def _quotient(total: str, count: str) -> Expression:
    return {"$divide": [{"$toDouble": f"${total}"}, f"${count}"]}


NAMES: Final = frozenset({*METRICS, *PERCENTILES})
"""All names of metrics, including percentiles."""
