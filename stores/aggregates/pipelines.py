"""The pipeline of an aggregate: find calls, project them, group them, and sort the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.aggregates import metrics
from stores.aggregates.grouping import Grouping
from stores.aggregates.metrics import COSTS, NAMES, UNPRICED, Wanted
from stores.aggregates.own_usage import Unclear, UsageOf, with_own_usage
from stores.costs import Prices
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import Expression

Pipeline = list[dict[str, Any]]

GROUPS: Final = "_groups"
"""Field of each row with the total number of groups."""

_COMPUTED: Final = {COSTS, UNPRICED}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an aggregate: grouping, metrics, usage scope and sort."""

    grouping: Grouping
    wanted: Wanted
    usage_of: UsageOf = UsageOf.OWN
    sort_by: Sequence[SortBy] = ()

    def sorted_wanted(self) -> Wanted:
        """Return the metrics with those of the sort added.

        Raises:
            BadInputError: the sort names a field that rows do not have.
        """
        for position, key in enumerate(self.sort_by):
            self.grouping.check_sort(key.field, f"sort_by.{position}.field")
        fields = self._fields
        compile_sort(self.sort_by, fields)
        return Wanted.of({*self.wanted.metrics, *(fields[key.field].field.name for key in self.sort_by)})

    @property
    def _fields(self) -> FieldTable:
        return FieldTable([*self.grouping.fields, *(Field(name, name, Kind.NUMBER) for name in sorted(NAMES))])

    @property
    def _reads_usage(self) -> bool:
        return self.grouping.by_model or bool(self._computed or "usage" in self.wanted.reads)

    @property
    def _computed(self) -> set[str]:
        return self.wanted.reads & _COMPUTED

    @property
    def counts_own(self) -> bool:
        """True if the pipeline computes own usage."""
        return self._reads_usage and self.usage_of is UsageOf.OWN

    @property
    def is_priced(self) -> bool:
        """True if the pipeline needs prices."""
        return bool(self._computed)

    def facts(
        self,
        found: Sequence[dict[str, Any]],
        calls: str,
        project_id: str,
        prices: Prices | None = None,
        unclear: Unclear | None = None,
    ) -> Pipeline:
        """Build the stages that project the calls that `found` returns, one document per call or per model."""
        paths = (self.grouping.paths | self.wanted.reads) - _COMPUTED
        if not self._reads_usage:
            return [*found, {"$project": {"_id": 0} | dict.fromkeys(sorted(paths), 1)}] if paths else [*found]
        paths |= {"usage"} | ({"started_at"} if prices else set())
        if self.counts_own:
            has_classes = COSTS in self._computed or self.wanted.reads_classes
            stages = with_own_usage(calls, project_id, found, sorted(paths), unclear, has_classes=has_classes)
        else:
            stages = [*found, {"$project": {"_id": 0} | dict.fromkeys(sorted(paths), 1)}]
        if self.grouping.by_model:
            stages.append({"$unwind": {"path": "$usage", "preserveNullAndEmptyArrays": True}})
        return [*stages, {"$set": self.priced(prices)}] if prices else stages

    def priced(self, prices: Prices) -> dict[str, Expression]:
        """Build the cost of a call's usage, or of one entry, and its tokens without a price."""
        if self.grouping.by_model:
            expressions = {COSTS: prices.cost_expression(), UNPRICED: _unpriced(prices, "$usage")}
        else:
            each = {"$map": {"input": "$usage", "as": "entry", "in": _unpriced(prices, "$$entry")}}
            expressions = {COSTS: prices.call_cost_expression(), UNPRICED: {"$sum": each}}
        return {name: expressions[name] for name in sorted(self._computed)}

    def groups(self, *, in_memory: bool) -> Pipeline:
        """Build the stages that group the calls, with all metrics."""
        keys, wanted = self.grouping.keys or None, self.wanted
        if not wanted.percentiles:
            return [{"$group": {"_id": keys, **wanted.summed}}]
        if in_memory:
            return metrics.in_memory(keys, wanted.summed, wanted.percentiles)
        return metrics.by_counts(keys, wanted.summed, wanted.resummed, wanted.percentiles)

    def rows(self, limit: int, max_groups: int) -> Pipeline:
        """Build the stages that sort the groups and return at most `limit` rows, each with `GROUPS`.

        `GROUPS` counts up to `max_groups` + 1.

        Raises:
            BadInputError: the sort names a field that rows do not have.
        """
        order = compile_sort([*self.sort_by, *self._tie_breakers()], self._fields)
        shown = self.grouping.shown | self.wanted.shown | dict.fromkeys(self.wanted.percentiles, 1)
        numbered = {"output": {GROUPS: {"$sum": 1, "window": {"documents": ["unbounded", "unbounded"]}}}}
        return [
            {"$limit": max_groups + 1},
            {"$project": {"_id": 0} | shown},
            {"$setWindowFields": numbered},
            *([{"$set": order.computed}] if order.computed else []),
            {"$sort": {key.path: key.direction(backward=False) for key in order.keys}},
            {"$limit": limit},
        ]

    def _tie_breakers(self) -> list[SortBy]:
        """Return the group keys that the sort does not name, time first, as tie-breakers."""
        fields = self._fields
        named = {fields[key.field].field.name for key in self.sort_by}
        return [SortBy(field.name) for field in self.grouping.fields if field.name not in named]


def _unpriced(prices: Prices, entry: str) -> Expression:
    return {"$cond": [prices.is_unpriced_expression(entry), f"{entry}.total_tokens", 0]}
