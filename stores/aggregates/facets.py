"""Facets of calls: for each of some fields the most frequent values, and a histogram of the numbers.

One aggregation finds the values of all fields, and a second one in its snapshot counts the numbers by range. MongoDB
groups calls by short keys and writes groups to disk beyond 100 MB, so a field may have millions of distinct values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Any, Final

from stores import times
from stores.aggregates.call_values import (
    CallValues,
    MatchingCalls,
    Pipeline,
    group_keys,
    matching_calls,
    may_be_list,
    shown,
    shown_number,
    value_of,
)
from stores.calls import CallsFilter
from stores.database import Database, database_query
from stores.database.connection import always, in_scan_slot
from stores.database.scan_order import scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.json import codec
from stores.json.bson_copy import INT64
from stores.query import Query
from stores.query.fields import Access, Kind
from stores.query.text_expressions import Expression, let_v

Groups = list[dict[str, Any]]

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 1_000
"""Maximum values of one field."""

MAX_BINS: Final = 20
"""Maximum ranges of a histogram."""

_START: Final = "start"
"""Key of a group that is the start of longer texts."""

_NESTED: Final[Expression] = {"nested": True}
"""Group of objects, and of lists in lists, which are no values."""

_STEPS: Final = tuple(map(Decimal, (1, 2, 5, 10, 20, 50)))
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TIME_STEPS: Final = tuple(
    Decimal(seconds)
    for seconds in (
        *(1, 2, 5, 10, 15, 30),
        *(number * _MINUTE for number in (1, 2, 5, 10, 15, 30)),
        *(number * _HOUR for number in (1, 2, 3, 6, 12)),
        *(number * _DAY for number in (1, 2, 7, 14, 28, 91, 182, 365, 3_650, 36_500)),
    )
)
"""Lengths of ranges of time in seconds, so that bounds are full minutes, hours and days in UTC."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value as JSON text, and its number of calls. If `is_start`, it is the start of longer texts."""

    value: str
    count: int
    is_start: bool = False


@dataclass(frozen=True, slots=True)
class Bin:
    """The number of calls with a number of at least `from_` and below `to`."""

    from_: float
    to: float
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of one field. `histogram` is None without numbers, or if it was not requested."""

    field: str
    values: list[FacetValue]
    num_distinct: int
    num_other: int
    num_missing: int
    histogram: list[Bin] | None = None


class FacetsStore:
    """Computes facets of calls in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls

    @in_scan_slot(always)
    @database_query
    async def facets(
        self,
        project_id: str,
        fields: Sequence[str],
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        limit: int | None = None,
        *,
        with_histograms: bool = True,
    ) -> list[Facet]:
        """Return the facets of fields in their order, each with at most `limit` values, the most frequent ones.

        Raises:
            BadInputError: the filter, the query, a field or the limit is invalid.
        """
        check_project_id(project_id)
        if not fields:
            raise BadInputError('is empty; name a field, such as "status" or "attributes.name"', "fields")
        values = CallValues({"fields": fields})
        limit = DEFAULT_LIMIT if limit is None else limit
        if not 1 <= limit <= MAX_LIMIT:
            raise BadInputError(f"{limit:,} is out of range; use 1 to {MAX_LIMIT:,} values", "limit")
        accesses = values.accesses["fields"]
        async with matching_calls(self.database, project_id, values, calls_filter, query) as found:
            counts = await self._read([*found.with_values, *_value_counts(accesses, limit)], found.session)
            bins = await self._histograms(found, accesses, counts) if with_histograms else {}
        return [
            _facet(name, access, rows[0], limit, bins.get(number)) if rows else Facet(name, [], 0, 0, 0)
            for number, (name, access, rows) in enumerate(zip(fields, accesses, counts, strict=True))
        ]

    async def _histograms(
        self, found: MatchingCalls, accesses: Sequence[Access], counts: Sequence[Groups]
    ) -> dict[int, list[Bin]]:
        """Return the histograms of the fields that have numbers, by the positions of the fields."""
        bounds = {
            number: bin_bounds(
                row["least"],
                row["greatest"],
                are_whole=not row["has_fractions"],
                is_time=accesses[number].field.kind is Kind.TIME,
            )
            for number, rows in enumerate(counts)
            for row in rows
            if row["least"] is not None
        }
        if not bounds:
            return {}
        found_bins = await self._read([*found.with_values, *_bin_counts(accesses, bounds)], found.session)
        histograms = {}
        for (number, ends), rows in zip(bounds.items(), found_bins, strict=True):
            calls = {row["_id"]: row["calls"] for row in rows}
            shown_ends = [shown_number(end, accesses[number]) for end in ends]
            histograms[number] = [
                Bin(*pair, calls.get(position, 0)) for position, pair in enumerate(pairwise(shown_ends))
            ]
        return histograms

    async def _read(self, pipeline: Pipeline, session: Session) -> list[Groups]:
        """Return the rows of each field."""
        hint = await scan_hint(self._calls, pipeline)
        [row] = await self._calls.aggregate(pipeline, session=session, allowDiskUse=True, **hint).to_list(None)
        return list(row.values())


_NUMBER: Final = {"$cond": [{"$isNumber": "$_id"}, "$_id", None]}


def _value_counts(accesses: Sequence[Access], limit: int) -> Pipeline:
    """Build the stages that return for each field its most frequent groups, and counts of all of them."""
    # Two more, because the groups of missing and nested values are no values.
    most_frequent = {"n": limit + 2, "sortBy": {"calls": -1, "_id": 1}, "output": {"value": "$_id", "calls": "$calls"}}
    counts = {
        "values": {"$topN": most_frequent},
        "distinct": {"$sum": 1},
        "calls": {"$sum": "$calls"},
        "missing": _calls_of(None),
        "nested": _calls_of(_NESTED),
        "least": {"$min": _NUMBER},
        "greatest": {"$max": _NUMBER},
        "has_fractions": {"$max": {"$ne": [{"$trunc": _NUMBER}, _NUMBER]}},
    }
    return _by_field(
        {number: group_keys(access, _START, _NESTED) for number, access in enumerate(accesses)},
        lambda path: [
            {"$unwind": {"path": path, "preserveNullAndEmptyArrays": True}},
            {"$group": {"_id": {"$ifNull": [path, None]}, "calls": {"$sum": 1}}},
            {"$group": {"_id": None, **counts}},
        ],
    )


def _by_field(values: Mapping[int, Expression], stages: Callable[[str], Pipeline]) -> Pipeline:
    """Build the stages that run a pipeline for each field over its value in all calls, which are read once."""
    names = {number: f"f{number}" for number in values}
    return [
        {"$project": {"_id": 0} | {names[number]: value for number, value in values.items()}},
        {"$facet": {name: stages(f"${name}") for name in names.values()}},
    ]


def _calls_of(group: Expression) -> Expression:
    return {"$sum": {"$cond": [{"$eq": ["$_id", group]}, "$calls", 0]}}


def _facet(name: str, access: Access, row: Mapping[str, Any], limit: int, histogram: list[Bin] | None) -> Facet:
    groups = [group for group in row["values"] if group["value"] not in (None, _NESTED)][:limit]
    return Facet(
        name,
        [_facet_value(group, access) for group in groups],
        row["distinct"] - bool(row["missing"]) - bool(row["nested"]),
        row["calls"] - row["missing"] - sum(group["calls"] for group in groups),
        row["missing"],
        histogram,
    )


def _facet_value(group: Mapping[str, Any], access: Access) -> FacetValue:
    value = group["value"]
    if isinstance(value, dict):
        return FacetValue(codec.encode(value[_START]), group["calls"], is_start=True)
    return FacetValue(codec.encode(shown(value, access)), group["calls"])


def _bin_counts(accesses: Sequence[Access], bounds: Mapping[int, Sequence[float]]) -> Pipeline:
    """Build the stages that count the numbers of fields by range."""
    return _by_field(
        {number: _distinct_members(accesses[number]) for number in bounds},
        lambda path: [
            {"$unwind": path},
            {"$match": {"$expr": {"$isNumber": path}}},
            {"$group": {"_id": _bin_of(path, bounds[int(path.removeprefix("$f"))]), "calls": {"$sum": 1}}},
        ],
    )


def _distinct_members(access: Access) -> Expression:
    value = value_of(access)
    if not may_be_list(access):
        return value
    return let_v(value, {"$cond": [{"$isArray": "$$v"}, {"$setUnion": ["$$v"]}, "$$v"]})


def _bin_of(number: str, bounds: Sequence[float], first: int = 0) -> Expression:
    """Build the position of the range that contains a number, by binary search."""
    bins = len(bounds) - 1
    if bins == 1:
        return first
    middle = (bins + 1) // 2
    below, above = _bin_of(number, bounds[: middle + 1], first), _bin_of(number, bounds[middle:], first + middle)
    return {"$cond": [{"$lt": [number, bounds[middle]]}, below, above]}


def bin_bounds(least: float, greatest: float, *, are_whole: bool = False, is_time: bool = False) -> list[float]:
    """Return the bounds of at most `MAX_BINS` equal ranges, at round numbers, that contain some numbers.

    Args:
        least: the least number; microseconds for a time.
        greatest: the greatest number.
        are_whole: True if all numbers are whole.
        is_time: True for times, whose ranges are full minutes, hours or days in UTC.
    """
    # The shortest decimal of a double: 0.3 is at a bound of ranges of 0.1.
    low, high = Decimal(repr(least)), Decimal(repr(greatest))
    span = high - low or abs(low) / 10 or Decimal(1)
    # Narrower ranges could have equal bounds as doubles.
    width = max(span / MAX_BINS, abs(low).scaleb(-14), abs(high).scaleb(-14))
    if are_whole:
        width = max(width, Decimal(1))
    power = Decimal(1).scaleb(width.adjusted())
    steps = [step * times.SECOND for step in _TIME_STEPS] if is_time else []
    for step in [*steps, *(step * power for step in _STEPS)]:
        first, last = ((number / step).to_integral_value(ROUND_FLOOR) for number in (low, high))
        if step >= width and last - first < MAX_BINS:
            return [_exact((first + number) * step) for number in range(int(last - first) + 2)]
    raise AssertionError("no step is wide enough")


def _exact(number: Decimal) -> float:
    """Return a number as an integer if it is one that MongoDB stores exactly."""
    return int(number) if abs(number) < INT64 and number == int(number) else float(number)
