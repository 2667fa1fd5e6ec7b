"""The pipeline of an aggregate: find calls, project them, group them, and sort the rows."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from stores.aggregates import metrics
from stores.aggregates.grouping import Grouping
from stores.aggregates.metrics import ACCUMULATORS, COSTS, COUNTS, METRICS, NAMES, PERCENTILES, UNPRICED
from stores.aggregates.own_usage import Unclear, UsageOf, with_own_usage
from stores.costs import Prices
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import Expression
from stores.usage.classes import FIELDS, STORED

Pipeline = list[dict[str, Any]]

GROUPS: Final = "_groups"
"""Field of each row with the total number of groups."""

_COMPUTED: Final = {COSTS, UNPRICED}


class Rows:
    """The rows of an aggregate.

    Args:
        grouping: the keys of the rows.
        wanted: the selected metrics; other names are ignored.
        usage_of: which usage of calls counts.
        sort_by: the order of the rows.

    Attributes:
        counts_own: True if the pipeline computes own usage.
        is_priced: True if the pipeline needs prices.
        percentiles: selected latency percentiles, in percent by name.

    Raises:
        BadInputError: the sort names a field that rows do not have.
    """

    def __init__(
        self,
        grouping: Grouping,
        wanted: Iterable[str],
        usage_of: UsageOf = UsageOf.OWN,
        sort_by: Sequence[SortBy] = (),
    ) -> None:
        for position, key in enumerate(sort_by):
            grouping.check_sort(key.field, f"sort_by.{position}.field")
        fields = FieldTable([*grouping.fields, *(Field(name, name, Kind.NUMBER) for name in sorted(NAMES))])
        compile_sort(sort_by, fields)
        named = {fields[key.field].field.name for key in sort_by}
        ties = [SortBy(field.name) for field in grouping.fields if field.name not in named]  # time first
        self._order = compile_sort([*sort_by, *ties], fields)
        self._grouping = grouping
        self._names = NAMES.intersection({*wanted, *named})
        self._metrics = {name: metric for name, metric in METRICS.items() if name in self._names}
        self.percentiles = {name: percent for name, percent in PERCENTILES.items() if name in self._names}
        needed = {part for metric in self._metrics.values() for part in metric.parts}
        self._parts = {name: part for name, part in ACCUMULATORS.items() if name in needed}
        reads = {field for part in self._parts.values() for field in part.reads}
        self._reads = reads | ({"latency_ms"} if self.percentiles else set())
        self._computed = reads & _COMPUTED
        self._reads_usage = grouping.by_model or bool(self._computed or "usage" in reads)
        self.counts_own = self._reads_usage and usage_of is UsageOf.OWN
        self.is_priced = bool(self._computed)

    @property
    def of_nothing(self) -> dict[str, Any]:
        """The row of a group without calls."""
        return {name: 0 if name in COUNTS or name in FIELDS.values() else None for name in self._names}

    def facts(
        self,
        found: Sequence[dict[str, Any]],
        calls: str,
        project_id: str,
        prices: Prices | None = None,
        unclear: Unclear | None = None,
    ) -> Pipeline:
        """Build the stages that project the calls that `found` returns, one document per call or per model."""
        paths = (self._grouping.paths | self._reads) - _COMPUTED
        if not self._reads_usage:
            return [*found, {"$project": {"_id": 0} | dict.fromkeys(sorted(paths), 1)}] if paths else [*found]
        paths |= {"usage"} | ({"started_at"} if prices else set())
        if self.counts_own:
            has_classes = COSTS in self._computed or any(FIELDS[name] in self._parts for name in STORED)
            stages = with_own_usage(calls, project_id, found, sorted(paths), unclear, has_classes=has_classes)
        else:
            stages = [*found, {"$project": {"_id": 0} | dict.fromkeys(sorted(paths), 1)}]
        if self._grouping.by_model:
            stages.append({"$unwind": {"path": "$usage", "preserveNullAndEmptyArrays": True}})
        return [*stages, {"$set": self.priced(prices)}] if prices else stages

    def priced(self, prices: Prices) -> dict[str, Expression]:
        """Build the cost of a call's usage, or of one entry, and its tokens without a price."""
        if self._grouping.by_model:
            expressions = {COSTS: prices.cost_expression(), UNPRICED: _unpriced(prices, "$usage")}
        else:
            each = {"$map": {"input": "$usage", "as": "entry", "in": _unpriced(prices, "$$entry")}}
            expressions = {COSTS: prices.call_cost_expression(), UNPRICED: {"$sum": each}}
        return {name: expressions[name] for name in sorted(self._computed)}

    def groups(self, *, in_memory: bool) -> Pipeline:
        """Build the stages that group the calls, with all metrics."""
        keys = self._grouping.keys or None
        summed: dict[str, Any] = {name: {part.accumulator: part.value} for name, part in self._parts.items()}
        if not self.percentiles:
            return [{"$group": {"_id": keys, **summed}}]
        if in_memory:
            return metrics.in_memory(keys, summed, self.percentiles)
        resummed = {name: {part.accumulator: f"${name}"} for name, part in self._parts.items()}
        return metrics.by_counts(keys, summed, resummed, self.percentiles)

    def rows(self, limit: int, max_groups: int) -> Pipeline:
        """Build the stages that sort the groups and return at most `limit` rows, each with `GROUPS`.

        `GROUPS` counts up to `max_groups` + 1.
        """
        values = {name: metric.value for name, metric in self._metrics.items()}
        shown = self._grouping.shown | values | dict.fromkeys(self.percentiles, 1)
        numbered = {"output": {GROUPS: {"$sum": 1, "window": {"documents": ["unbounded", "unbounded"]}}}}
        return [
            {"$limit": max_groups + 1},
            {"$project": {"_id": 0} | shown},
            {"$setWindowFields": numbered},
            *([{"$set": self._order.computed}] if self._order.computed else []),
            {"$sort": {key.path: key.direction(backward=False) for key in self._order.keys}},
            {"$limit": limit},
        ]


def _unpriced(prices: Prices, entry: str) -> Expression:
    return {"$cond": [prices.is_unpriced_expression(entry), f"{entry}.total_tokens", 0]}
