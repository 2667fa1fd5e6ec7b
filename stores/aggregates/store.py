"""Store of aggregates: each covers the matching calls of one project in one snapshot.

Its pipeline finds calls, projects them, groups them, and sorts the rows.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from pymongo.errors import OperationFailure

from stores.aggregates import metrics
from stores.aggregates.call_values import CallValues, MatchingCalls, group_keys, matching_calls, number_of, shown
from stores.aggregates.grouping import VALUE, Bucket, Grouping, bucket_of
from stores.aggregates.metrics import (
    ACCUMULATORS,
    COSTS,
    COUNT,
    COUNTS,
    METRICS,
    NAMES,
    NUMBER,
    NUMBER_METRICS,
    PERCENTILES,
    UNPRICED,
    Part,
    metrics_of_numbers,
    number_metric,
)
from stores.calls import CallsFilter, CallsStore, Expansion
from stores.calls.fields import calls_match
from stores.calls.list_query import CallsQuery
from stores.concurrency.time_slices import cooperative
from stores.costs import CostsStore, Prices, pricing_of_found
from stores.costs.usage_tree import ALWAYS_READ, USAGE_READ, USAGES, check_depth, models_of, usage_tree
from stores.database import Collection, Database, database_query
from stores.database.connection import always, in_scan_slot
from stores.database.driver import in_one_read
from stores.database.error_translation import TOO_LARGE
from stores.database.scan_order import scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.hours import HOUR, HOURS, hour_of
from stores.ids import check_project_id, check_trace_id
from stores.input_checks import check_count
from stores.json import codec
from stores.paging import Row
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import Expression
from stores.rollups.documents import CALLS, LATENCIES, MODEL_COLUMN, OWN, REPORTED, VALUES, with_buckets
from stores.rollups.latencies import read_latencies
from stores.rollups.parents import find_parents, settled_parents
from stores.rollups.reads import Coverage, DimensionMatch, RolledUp, count, read_groups
from stores.rollups.sketches import Sketch
from stores.usage.classes import FIELDS, STORED
from stores.usage.own import MAX_PARENTS, Unclear, UsageOf, find_unclear, with_own_usage

Pipeline = list[dict[str, Any]]

GROUPS: Final = "_groups"
"""Field of each row with the total number of groups."""

_COMPUTED: Final = {COSTS, UNPRICED}
_LEAST_AND_MOST: Final = ("least", "most")

_GROUP_PATHS: Final = "group_paths"
_NUMBERS: Final = "numbers"
"""Names of the arguments."""

_CALLS: Final = "_calls"
"""Field of each row that is read from roll-ups with percentiles: the total number of calls."""

TIES: Final = "_ties"
"""Field of each row that sorts rows with equal sort keys."""

MAX_SORT_KEYS: Final = 15
"""Limit on the sort keys of rows: each may take two of the 32 that MongoDB accepts, and `TIES` takes one."""

MAX_ROWS: Final = 10_000
"""Limit on the rows of one response."""
MAX_GROUPS: Final = 100_000
"""Limit on the groups that are sorted."""
MAX_CALLS: Final = 100_000
"""Limit on the calls of one tree."""
MAX_EXACT: Final = 10_000
"""Calls that are read for exact percentiles although roll-ups have approximate ones."""


class Rows:
    """The rows of an aggregate.

    Args:
        grouping: the keys of the rows.
        wanted: the selected metrics; other names are ignored.
        usage_of: which usage of calls counts.
        sort_by: the order of the rows.
        numbers: names of fields whose numbers are aggregated.
        wanted_of_numbers: the selected ones of `NUMBER_METRICS`.

    Attributes:
        values: the fields of `grouping.paths` and `numbers`.
        counts_own: True if the pipeline computes own usage.
        is_priced: True if the pipeline needs prices.
        percentiles: selected percentiles by name.

    Raises:
        BadInputError: the sort names a field that rows do not have, or a field to group by or to aggregate is invalid.
    """

    def __init__(
        self,
        grouping: Grouping,
        wanted: Iterable[str],
        usage_of: UsageOf = UsageOf.OWN,
        sort_by: Sequence[SortBy] = (),
        numbers: Sequence[str] = (),
        wanted_of_numbers: Iterable[str] = (),
    ) -> None:
        self.values = CallValues({_GROUP_PATHS: grouping.paths, _NUMBERS: numbers})
        self._check_numbers(numbers)
        for position, key in enumerate(sort_by):
            grouping.check_sort(key.field, f"sort_by.{position}.field")
        parts, metrics_by_name, percentiles = dict(ACCUMULATORS), dict(METRICS), dict(PERCENTILES)
        for position in range(len(numbers)):
            of_number = metrics_of_numbers(position)
            parts |= of_number[0]
            metrics_by_name |= of_number[1]
            percentiles |= of_number[2]
        sortable = {name: name for name in sorted(NAMES)} | {
            f"{name}.{metric}": number_metric(position, metric)
            for position, name in enumerate(numbers)
            for metric in NUMBER_METRICS
        }
        fields = FieldTable([*grouping.fields, *(Field(name, path, Kind.NUMBER) for name, path in sortable.items())])
        check_count(len(sort_by), MAX_SORT_KEYS, "keys", "sort_by")
        self._order = compile_sort(sort_by, fields)
        self._sorted_by = [(fields[key.field].field.path, key.descending) for key in sort_by]
        named = {path for path, _ in self._sorted_by}
        self._ties = _ties([field for field in grouping.fields if field.path not in named])  # time first
        self._grouping = grouping
        self._numbers = numbers
        self._wanted_of_numbers = [name for name in NUMBER_METRICS if name in {*wanted_of_numbers}]
        of_numbers = {
            number_metric(position, metric) for position in range(len(numbers)) for metric in self._wanted_of_numbers
        }
        self._names = {*metrics_by_name, *percentiles}.intersection({*wanted, *named, *of_numbers})
        self._metrics = {name: metric for name, metric in metrics_by_name.items() if name in self._names}
        self.percentiles = {name: each for name, each in percentiles.items() if name in self._names}
        needed = {part for metric in self._metrics.values() for part in metric.parts}
        self._parts = {name: part for name, part in parts.items() if name in needed}
        reads = {field for part in self._parts.values() for field in part.reads}
        self._reads = reads | {each.field for each in self.percentiles.values()}
        self._computed = reads & _COMPUTED
        self._reads_usage = grouping.by_model or bool(self._computed or "usage" in reads)
        self.counts_own = self._reads_usage and usage_of is UsageOf.OWN
        self.is_priced = bool(self._computed)

    def _check_numbers(self, numbers: Sequence[str]) -> None:
        for position, (name, access) in enumerate(zip(numbers, self.values.accesses[_NUMBERS], strict=True)):
            if access.field.kind not in (Kind.NUMBER, Kind.JSON):
                raise BadInputError(
                    f"{name[:100]} is no number; name a path such as output.score, or a number such as latencyMs",
                    f"{_NUMBERS}.{position}",
                )

    @property
    def computed_values(self) -> dict[str, Expression]:
        """The fields of documents that are computed before they are grouped, as expressions over calls."""
        groups = self.values.accesses[_GROUP_PATHS]
        numbers = self.values.accesses[_NUMBERS]
        # The own usage of a call may be less than it reports, so the column applies to calls that report none.
        model = {MODEL_COLUMN: {"$cond": [{"$isArray": "$usage"}, "$$REMOVE", "$model"]}}
        return {
            **(model if self._grouping.by_model else {}),
            **{f"{VALUE}{position}": group_keys(access) for position, access in enumerate(groups)},
            **{
                name: number_of(access)
                for position, access in enumerate(numbers)
                if (name := f"{NUMBER}{position}") in self._reads
            },
        }

    def row(self, found: Row) -> Row:
        """Return a row with the values of its paths, as JSON texts, and with the metrics of its numbers."""
        if self._grouping.paths:
            found["path_values"] = [
                None if (value := found[f"{VALUE}{position}"]) is None else codec.encode(shown(value, access))
                for position, access in enumerate(self.values.accesses[_GROUP_PATHS])
            ]
        if self._numbers:
            found["numbers"] = [
                {"field": name} | {each: found[number_metric(position, each)] for each in self._wanted_of_numbers}
                for position, name in enumerate(self._numbers)
            ]
        return found

    @property
    def of_nothing(self) -> dict[str, Any]:
        """The row of a group without calls."""
        return {
            name: 0 if name in COUNTS or name in FIELDS.values() or name.endswith("_count") else None
            for name in self._names
        }

    @property
    def can_be_rolled_up(self) -> bool:
        """True if roll-ups have all keys and values of the rows."""
        return (
            self._grouping.can_be_rolled_up
            and self.percentiles.keys() <= PERCENTILES.keys()
            and all(
                _is_of_usage(part) or VALUES.get(name) == {part.accumulator: part.value}
                for name, part in self._parts.items()
            )
        )

    async def _live_facts(
        self, database: Database, coverage: Coverage, session: Session, prices: Prices | None = None
    ) -> Callable[[Pipeline], Pipeline] | None:
        """Return a function that builds `facts` of live calls; None if too many children must be looked up."""
        plan = None
        if self.counts_own and coverage.live:
            parents = await find_parents(database, coverage.project_id, coverage.live, session)
            if len(parents) > MAX_PARENTS:
                return None
            plan = Unclear.of_parents(coverage.project_id, parents, are_found=True)
        return lambda found: self.facts(found, database.calls.name, coverage.project_id, prices, plan)

    async def rolled_up(
        self,
        database: Database,
        coverage: Coverage,
        session: Session,
        limit: int,
        prices: Prices | None = None,
    ) -> list[Row] | None:
        """Read the rows of what a coverage stands for; None if that is impossible."""
        facts = await self._live_facts(database, coverage, session, prices)
        if facts is None:
            return None
        by_percentiles = any(path in self.percentiles for path, _ in self._sorted_by)
        further = self.rows(MAX_GROUPS + 1 if by_percentiles else limit, of_rollups=True)
        keys, rolled_up = self._grouping.keys, self._rolled_up(facts, prices)
        rows = await read_groups(database, [coverage], keys or None, rolled_up, session, further)
        if self.percentiles:
            sketch_of: Callable[[Row], Sketch] = partial(_sketch_of_parts, is_nested=bool(coverage.live))
            if not self._has_parts:
                family, facts = self._family_of_calls, facts if self._grouping.by_model else list
                shown = self._grouping.shown
                read = await read_latencies(database, coverage, family, keys, shown, facts, session)
                sketch_of = read.sketch
            percents = [each.percent for each in self.percentiles.values()]
            async for row in cooperative(rows):
                row.update(zip(self.percentiles, sketch_of(row).percentiles(percents), strict=True))
        return self._sorted(rows)[:limit] if by_percentiles else rows

    def _sorted(self, rows: list[Row]) -> list[Row]:
        """Sort rows that MongoDB has sorted without percentiles; nulls come last, and ties remain in order."""
        for path, descending in reversed(self._sorted_by):
            values = [row for row in rows if row[path] is not None]
            nulls = [row for row in rows if row[path] is None]
            rows = sorted(values, key=itemgetter(path), reverse=descending) + nulls
        return rows

    @property
    def families(self) -> list[str]:
        """The families of roll-ups that have the values of the rows."""
        return sorted({*self._family_of.values()}) or [self._family_of_calls]

    @property
    def _family_of_usage(self) -> str:
        return OWN if self.counts_own else REPORTED

    @property
    def _family_of_calls(self) -> str:
        return self._family_of_usage if self._grouping.by_model else CALLS

    @property
    def _family_of(self) -> dict[str, str]:
        return {
            name: self._family_of_usage if _is_of_usage(part) else self._family_of_calls
            for name, part in self._rolled_up_parts.items()
        }

    @property
    def _rolled_up_parts(self) -> dict[str, Part]:
        names = [COUNT] * bool(self.percentiles) + [*_LEAST_AND_MOST] * self._has_parts
        return self._parts | {name: ACCUMULATORS[name] for name in names}

    @property
    def _has_parts(self) -> bool:
        """True if groups have the parts of their sketches: those of short buckets do not exceed a document."""
        return bool(self.percentiles) and self._grouping.has_short_buckets

    def _rolled_up(self, facts: Callable[[Pipeline], Pipeline], prices: Prices | None) -> RolledUp:
        families, family_of = self.families, self._family_of
        merged: dict[str, Expression] = {}
        parts = self._rolled_up_parts
        for name, part in parts.items():
            value = part.value if _is_of_usage(part) else f"${name}"
            if len(families) > 1:
                value = {"$cond": [{"$in": [family_of[name], "$of"]}, value, None]}
            merged[name] = {part.accumulator: value}
        again = {name: {part.accumulator: f"${name}"} for name, part in parts.items()}
        keys = self._grouping.keys or None
        summed = {name: {part.accumulator: part.value} for name, part in parts.items()}
        groups = [{"$group": {"_id": keys, **summed}}]
        if self._has_parts:
            stored = {"$cond": [{"$in": [self._family_of_calls, "$of"]}, f"${LATENCIES}", "$$REMOVE"]}
            merged[LATENCIES], again[LATENCIES] = {"$push": stored}, {"$push": f"${LATENCIES}"}
            groups = with_buckets(keys, summed)
        computed = self._priced_rollup(prices) if prices else {}
        return RolledUp(families, merged, again, lambda found: [*facts(found), *groups], computed)

    def _priced_rollup(self, prices: Prices) -> dict[str, Expression]:
        """Build the cost of the usage of a roll-up, and its tokens without a price."""
        expressions = {COSTS: prices.rollup_cost_expression(), UNPRICED: _unpriced(prices, "$usage")}
        return {name: expressions[name] for name in sorted(self._computed)}

    def priced_with_rollups(self, prices: Prices) -> list[dict[str, Expression]]:
        """Build the expressions of prices over calls and over roll-ups."""
        return [self.priced(prices), self._priced_rollup(prices)]

    def facts(
        self,
        found: Sequence[dict[str, Any]],
        calls: str,
        project_id: str,
        prices: Prices | None = None,
        unclear: Unclear | None = None,
    ) -> Pipeline:
        """Build the stages that project the calls that `found` returns, one document per call or per model."""
        paths = (self._grouping.reads | self._reads) - _COMPUTED
        if computed := self.computed_values:
            found = [*found, {"$set": computed}]
        members = [
            {"$unwind": {"path": f"${path}", "preserveNullAndEmptyArrays": True}} for path in self._grouping.lists
        ]
        if not self._reads_usage:
            projected = [{"$project": {"_id": 0} | dict.fromkeys(sorted(paths), 1)}] if paths else []
            return [*found, *projected, *members]
        paths |= {"usage"} | ({"started_at"} if prices else set())
        if self.counts_own:
            has_classes = COSTS in self._computed or any(FIELDS[name] in self._parts for name in STORED)
            stages = with_own_usage(calls, project_id, found, sorted(paths), unclear, has_classes=has_classes)
        else:
            stages = [*found, {"$project": {"_id": 0} | dict.fromkeys(sorted(paths), 1)}]
        if self._grouping.by_model:
            stages.append({"$unwind": {"path": "$usage", "preserveNullAndEmptyArrays": True}})
        return [*stages, *([{"$set": self.priced(prices)}] if prices else []), *members]

    def priced(self, prices: Prices) -> dict[str, Expression]:
        """Build the cost of a call's usage, or of one entry, and its tokens without a price."""
        if self._grouping.by_model:
            expressions = {COSTS: prices.cost_expression(), UNPRICED: _unpriced(prices, "$usage")}
        else:
            each = {"$map": {"input": "$usage", "as": "entry", "in": _unpriced(prices, "$$entry")}}
            expressions = {COSTS: prices.call_cost_expression(), UNPRICED: {"$sum": each}}
        return {name: expressions[name] for name in sorted(self._computed)}

    @property
    def _summed(self) -> dict[str, Any]:
        return {name: {part.accumulator: part.value} for name, part in self._parts.items()}

    @property
    def _group(self) -> dict[str, Any]:
        return {"$group": {"_id": self._grouping.keys or None, **self._summed}}

    def groups(self, *, in_memory: bool) -> Pipeline:
        """Build the stages that group the calls, with all metrics."""
        if not self.percentiles:
            return [self._group]
        keys, summed = self._grouping.keys or None, self._summed
        if in_memory:
            return metrics.in_memory(keys, summed, self.percentiles)
        resummed = {name: {part.accumulator: f"${name}"} for name, part in self._parts.items()}
        return metrics.by_counts(keys, summed, resummed, self.percentiles)

    def rows(self, limit: int, *, of_rollups: bool = False) -> Pipeline:
        """Build the stages that sort the groups and return at most `limit` rows, each with `GROUPS`.

        `GROUPS` counts up to `MAX_GROUPS` + 1. Rows of roll-ups also have `_CALLS` and the parts of their sketches.
        """
        values = {name: metric.value for name, metric in self._metrics.items()}
        shown = self._grouping.shown | values | dict.fromkeys(self.percentiles, 1)
        totals: dict[str, Expression] = {GROUPS: 1}
        if of_rollups and self.percentiles:
            parts = (LATENCIES, *_LEAST_AND_MOST) if self._has_parts else ()
            shown |= {_CALLS: f"${COUNT}"} | dict.fromkeys(parts, 1)
            totals[_CALLS] = f"${_CALLS}"
        everywhere = {"documents": ["unbounded", "unbounded"]}
        numbered = {name: {"$sum": value, "window": everywhere} for name, value in totals.items()}
        return [
            {"$limit": MAX_GROUPS + 1},
            {"$project": {"_id": 0} | shown},
            {"$setWindowFields": {"output": numbered}},
            {"$set": self._order.computed | {TIES: self._ties}},
            {"$sort": {key.path: key.direction(backward=False) for key in self._order.keys[:-1]} | {TIES: 1}},
            {"$limit": limit},
        ]


def _ties(fields: Sequence[Field]) -> Expression:
    """Build an object that sorts as some fields do, with nulls last.

    MongoDB sorts by at most 32 keys, and compares objects member by member.
    """
    members: dict[str, Expression] = {}
    for number, each in enumerate(fields):
        value = {"$ifNull": [f"${each.path}", None]}
        members |= {f"is_null_{number}": {"$eq": [value, None]}, f"value_{number}": value}
    return members or {"$literal": {}}


def _sketch_of_parts(row: Row, *, is_nested: bool) -> Sketch:
    """Return the sketch of a row's parts, which it loses; `is_nested` parts are in lists of roll-ups and of calls."""
    parts, least, most = (row.pop(name) for name in (LATENCIES, *_LEAST_AND_MOST))
    return Sketch().add(chain.from_iterable(parts) if is_nested else parts, least, most)


def _is_of_usage(part: Part) -> bool:
    """Return True for an accumulator over the usage of calls, which roll-ups have as if they were calls."""
    return not {"usage", *_COMPUTED}.isdisjoint(part.reads)


def _unpriced(prices: Prices, entry: str) -> Expression:
    return {"$cond": [prices.is_unpriced_expression(entry), f"{entry}.total_tokens", 0]}


_CALL_FIELDS: Final = frozenset({"op_name", "display_name", "trace_name", "ended_at", "latency_ms"})
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4]):?([0-5]\d)?")
_EXCEEDED_MEMORY: Final = 146
_BAD_TIMEZONE: Final = 40485


def _is_too_large(error: OperationFailure) -> bool:
    """Return True if MongoDB could not collect the values of a group."""
    return error.code in (_EXCEEDED_MEMORY, *TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The rows of an aggregate, dicts of keys and metrics, and the total number of groups."""

    rows: list[Row]
    num_groups: int
    has_exact_percentiles: bool = True
    uses_rollups: bool = field(default=False, compare=False)


class AggregatesStore:
    """Computes aggregates of the calls in MongoDB."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._costs = CostsStore(database)
        self._calls = database.calls

    @in_scan_slot(always)
    @database_query
    async def calls(
        self,
        project_id: str,
        grouping: Grouping,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
        usage_of: UsageOf = UsageOf.OWN,
        sort_by: Sequence[SortBy] = (),
        limit: int | None = None,
        numbers: Sequence[str] = (),
        wanted_of_numbers: Iterable[str] = NUMBER_METRICS,
        *,
        exact_percentiles: bool = False,
    ) -> Aggregate:
        """Compute the selected metrics of each group of calls; the default order is by time, then by the other keys.

        Without keys there is one row, even if no call matches. Row fields are the names of `GroupBy` and
        `metrics.NAMES`, and `bucket_end`; `path_values`, JSON texts in the order of `grouping.paths`; and `numbers`,
        each with its `field` and the selected ones of `NUMBER_METRICS`.

        Percentiles of the latency that roll-ups answer are within `sketches.ERROR`, unless `exact_percentiles` is True
        or few calls match.

        Raises:
            BadInputError: the grouping, filter, query, expansion, sort or limit is invalid, the time zone is unknown,
                or there are too many groups.
        """
        check_project_id(project_id)
        grouping.check()
        if limit is not None and not 1 <= limit <= MAX_ROWS:
            raise BadInputError(f"{limit:,} is out of range; use 1 to {MAX_ROWS:,} rows", "limit")
        rows = Rows(grouping, wanted, usage_of, sort_by, numbers, wanted_of_numbers)
        await self._check_timezone(grouping.timezone)
        result = None
        if rows.can_be_rolled_up and not (exact_percentiles and rows.percentiles):
            match = CallsQuery(self.database, project_id, calls_filter, query, expansion=expansion).over_dimensions()
            is_served = not CallsStore.indexed.needs_scan(calls_filter, query)
            try:
                if match:
                    result = await self._roll_up(project_id, grouping, rows, match, limit, is_served=is_served)
            except OperationFailure as error:
                if not (rows.percentiles and _is_too_large(error)):
                    raise
        uses_rollups = result is not None
        is_exact = not (uses_rollups and rows.percentiles)
        if result is None:
            result = await self._read_calls(project_id, rows, calls_filter, query, expansion, limit)
        if not result and not grouping.by and not grouping.paths:
            return Aggregate([rows.row(rows.of_nothing)], 1, is_exact, uses_rollups)
        groups = result[0][GROUPS] if result else 0
        self._check_groups(groups, limit)
        return Aggregate([rows.row(each) for each in result], groups, is_exact, uses_rollups)

    async def _roll_up(
        self,
        project_id: str,
        grouping: Grouping,
        rows: Rows,
        match: DimensionMatch,
        limit: int | None,
        *,
        is_served: bool,
    ) -> list[Row] | None:
        """Read the rows from roll-ups; None if that is impossible, or if few calls give exact percentiles.

        `is_served` is True if an index finds the matching calls.
        """
        async with self.database.snapshot_session([project_id]) as session:
            split = await self._split_hours(project_id, grouping, match, session)
            by_day = grouping.has_whole_days
            coverage = await Coverage.find(
                *(self.database, project_id, match, session, split),
                by_day=by_day,
                of_own=rows.counts_own,
                has_dimensions=grouping.has_dimensions,
            )
            if coverage is None:
                return None
            rolled_up = partial(rows.rolled_up, self.database, session=session)
            max_rows = MAX_ROWS if limit is None else limit
            if not rows.is_priced:
                result = await rolled_up(coverage, limit=max_rows)
            else:
                found = partial(coverage.aggregate, self.database, session, rows.families)
                pricing = pricing_of_found(self.database, project_id, [], session, rows.priced_with_rollups, found)
                async with pricing as prices:
                    priced = await coverage.split_by_price(self.database, session, rows.families, prices)
                    result = await rolled_up(priced, limit=max_rows, prices=prices) if priced else None
        if result is None or not rows.percentiles:
            return result
        number = result[0][_CALLS] if result else 0
        return None if await self._are_few(project_id, match, number, is_served=is_served) else result

    async def _are_few(self, project_id: str, match: DimensionMatch, number: int, *, is_served: bool) -> bool:
        """Return True if a number of matching calls can be read for exact percentiles."""
        if number <= MAX_EXACT and not is_served:  # all calls of the time range must be read
            number = await count(self.database, project_id, replace(match, clauses=()), MAX_EXACT + 1) or 0
        return number <= MAX_EXACT

    async def _split_hours(
        self, project_id: str, grouping: Grouping, match: DimensionMatch, session: Session
    ) -> list[int]:
        """Return the hours that belong to two time buckets."""
        if grouping.is_split is None:
            return []
        stages: Pipeline = [
            {
                "$match": {
                    "project_id": project_id,
                    "unit": HOURS,
                    "started_at": {"$gte": match.first, "$lt": match.end},
                }
            },
            {"$group": {"_id": "$started_at"}},
            {"$match": {"$expr": grouping.is_split}},
        ]
        return [row["_id"] for row in await self._read(self.database.rollups, stages, session)]

    async def _read_calls(
        self,
        project_id: str,
        rows: Rows,
        calls_filter: CallsFilter | None,
        query: Query | None,
        expansion: Expansion | None,
        limit: int | None,
    ) -> list[Row]:
        async with matching_calls(self.database, project_id, rows.values, calls_filter, query, expansion) as found:
            pricing = pricing_of_found(self.database, project_id, found.stages, found.session, rows.priced)
            async with pricing if rows.is_priced else nullcontext() as prices:
                return await self._rows(project_id, found, rows, prices, limit)

    async def usage_tree(
        self, project_id: str, trace_id: str, wanted: Iterable[str], max_depth: int | None = None
    ) -> list[Row]:
        """Return the selected fields of the calls of a trace, in tree order; empty if the trace does not exist.

        Besides fields of calls these are `depth`, `num_calls` and `num_errors` (of the subtree), `own_usage` and
        `total_usage`. Usage is priced only if `wanted` has `cost` or `unpriced_tokens`.

        Raises:
            BadInputError: the trace id is invalid, the depth is negative, or the trace has too many calls.
        """
        check_project_id(project_id)
        check_trace_id(trace_id, "trace_id")
        check_depth(max_depth)
        wanted = set(wanted)
        rows = await self._trace(project_id, trace_id, wanted)
        prices = None
        if not wanted.isdisjoint(("cost", "unpriced_tokens")):
            models = project_id, tuple(sorted(models_of(rows)))
            prices = (await self._costs.prices([models]))[models]
        return await usage_tree(rows, wanted, prices, max_depth)

    @database_query
    async def _trace(self, project_id: str, trace_id: str, wanted: set[str]) -> list[Row]:
        """Read the calls of a trace, oldest first."""
        match = calls_match(project_id) | {"trace_id": trace_id}
        usage = USAGE_READ if wanted.intersection(USAGES) else ()
        paths = sorted({*ALWAYS_READ, *usage, *wanted.intersection(_CALL_FIELDS)})
        snapshot_calls = in_one_read(self._calls)
        limit = MAX_CALLS + 1
        cursor = snapshot_calls.find(match, {"_id": 0} | dict.fromkeys(paths, 1), sort=[("started_at", 1), ("id", 1)])
        rows = await cursor.limit(limit).to_list(None)
        if len(rows) == limit:
            raise BadInputError(
                f"this trace has more than {MAX_CALLS:,} calls, the limit; use callsAggregate with filter.traceIds",
                "trace_id",
            )
        return rows

    async def _rows(
        self, project_id: str, found: MatchingCalls, rows: Rows, prices: Prices | None, limit: int | None
    ) -> list[Row]:
        max_rows = MAX_ROWS if limit is None else limit
        session = found.session
        unclear = None
        if rows.counts_own:
            known = partial(self._known_parents, project_id, session)
            unclear = await find_unclear(self._calls, project_id, found.stages, session, known)
        facts = rows.facts(found.with_values, self._calls.name, project_id, prices, unclear)
        row_stages = rows.rows(max(max_rows, 1))
        try:
            return await self._read(self._calls, [*facts, *rows.groups(in_memory=True), *row_stages], session)
        except OperationFailure as error:
            if not (rows.percentiles and _is_too_large(error)):
                raise
        return await self._read(self._calls, [*facts, *rows.groups(in_memory=False), *row_stages], session)

    async def _known_parents(self, project_id: str, session: Session, first: int, last: int) -> set[str] | None:
        """Return the calls whose own usage depends on their children, of the hours from one start to another.

        None if roll-ups do not know, or if there are too many.
        """
        hours = DimensionMatch(first=hour_of(first), end=hour_of(last) + HOUR)
        coverage = await Coverage.find(self.database, project_id, hours, session, of_own=True)
        if coverage is None:
            return None
        live = coverage.live_hours
        parents = await settled_parents(self.database, project_id, hours.first, hours.end, live, session)
        if coverage.live and len(parents) <= MAX_PARENTS:
            parents |= (await find_parents(self.database, project_id, coverage.live, session)).keys()
        return parents if len(parents) <= MAX_PARENTS else None

    async def _read(self, collection: Collection, pipeline: Pipeline, session: Session) -> list[Row]:
        hint = await scan_hint(collection, pipeline)
        cursor = collection.aggregate(pipeline, session=session, allowDiskUse=True, batchSize=MAX_ROWS + 1, **hint)
        return await cursor.to_list(None)

    async def _check_timezone(self, timezone: str | None) -> None:
        """Check a time zone by using it in MongoDB, which has its own list of zones.

        Raises:
            BadInputError: MongoDB does not know the zone.
        """
        if timezone is None:
            return
        known = "use an IANA name such as Europe/Berlin, or an offset such as +05:30"
        unknown = BadInputError(f"{timezone!r} is not a time zone that MongoDB knows; {known}", "timezone")
        if timezone[:1] in {"+", "-"} and not _OFFSET.fullmatch(timezone):
            raise unknown  # MongoDB accepts any digits
        stages: Pipeline = [{"$documents": [{}]}, {"$set": {"day": bucket_of(0, Bucket.MONTH, timezone)}}]
        try:
            await self._calls.database.aggregate(stages).to_list(None)
        except OperationFailure as error:
            if error.code != _BAD_TIMEZONE:
                raise
            raise unknown from None

    def _check_groups(self, groups: int, limit: int | None) -> None:
        if groups > MAX_GROUPS:
            raise BadInputError(
                f"makes more than {MAX_GROUPS:,} groups, the limit; group by fewer keys or a longer bucket, or "
                "narrow the filter, for example to a time range",
                "group_by",
            )
        if limit is None and groups > MAX_ROWS:
            raise BadInputError(
                f"makes {groups:,} rows, more than the {MAX_ROWS:,} of one response; use sortBy and limit, "
                "group by fewer keys or a longer bucket, or narrow the filter",
                "group_by",
            )
