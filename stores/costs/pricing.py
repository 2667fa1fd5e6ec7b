"""Costs of usage by the prices of its project: in Python, and as expressions that pipelines compute alike.

The cost of an entry of usage (`stores.usage.entries`) is the sum over its classes of tokens: each count times the rate
of its class in the tier that the entry's prompt tokens reach, in US dollars. Classes that are priced in another
currency are left out: no sum mixes currencies. A call's cost is the sum over its models; where nothing is priced in
dollars it is null, which is not 0. Sums are of decimal numbers (see `stores.costs.decimals`); the last of them becomes
a double.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument

from stores.costs.decimals import ZERO, exact, in_pipeline, plus, times
from stores.costs.inputs import USD
from stores.costs.model_names import resolve
from stores.costs.prices import Price, Timeline, timelines
from stores.query.values import Expression, bound
from stores.usage.classes import CLASSES, INPUT, OUTPUT, Side
from stores.usage.counts import PARTS, by_class
from stores.usage.entries import Usage

_NOT_PRICED: Final[dict[str, list[Any]]] = {"from": [], "prompt": [None], "completion": [None]}
_REST: Final = {Side.INPUT: INPUT, Side.OUTPUT: OUTPUT}
_BASE: Final = -1
"""Every number of prompt tokens is above it."""
_PLAIN: Final = 3
"""Members of a tier that has the rates of input and output alone."""


class Prices:
    """The prices of a project's models, its own and shipped ones."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._timelines = timelines(prices)
        self._charges: dict[int, _Charges] = {}

    def resolve(self, model: str) -> str | None:
        """The name whose price is that of a model, by the rules of `stores.costs.model_names`; None without a price."""
        return resolve(model, self._timelines)

    def of(self, models: Iterable[str]) -> "Prices":
        """The prices of some models under just the names that these have here, which may be other names of theirs.

        For pipelines, which find a price by the exact name of a model. `at` and `cost` resolve names themselves.
        """
        found = Prices(())
        resolved = ((model, self.resolve(model)) for model in models)
        found._timelines = {model: self._timelines[name] for model, name in resolved if name is not None}
        return found

    def at(self, model: str, started_at: int) -> Price | None:
        """The price of a model that holds for a call that starts then."""
        timeline = self._timelines.get(model)
        if timeline is None:
            name = self.resolve(model)
            if name is None:
                return None
            timeline = self._timelines[name]
        return timeline.at(started_at)

    def exact_cost(self, entry: Usage, started_at: int) -> Decimal | None:
        """The cost in US dollars of an entry of usage of a call that starts then; None if it has no price in them."""
        price = self.at(entry["model"], started_at)
        if price is None:
            return None
        charges = self._charges.get(id(price))
        if charges is None:  # the timelines keep the price, so that no other gets its id
            charges = self._charges[id(price)] = _Charges(price)
        return charges.cost(entry) if charges.tiers else None

    def cost(self, entry: Usage, started_at: int) -> float | None:
        """The same cost as a double."""
        cost = self.exact_cost(entry, started_at)
        return None if cost is None else float(cost)

    def total_cost(self, usage: Sequence[Usage], started_at: int) -> float | None:
        """The cost in US dollars of the usage of a call that starts then; None if nothing has a price in them."""
        total = None
        for entry in usage:
            cost = self.exact_cost(entry, started_at)
            if cost is not None:
                total = cost if total is None else plus(total, cost)
        return None if total is None else float(total)

    @cached_property
    def _models(self) -> RawBSONDocument:
        """The names of the models, as a literal of pipelines that is encoded once for all of them."""
        return _encoded(list(self._timelines))

    @cached_property
    def _rows(self) -> RawBSONDocument:
        """The timelines of the models, as such a literal; what is not priced comes last."""
        return _encoded([*map(_row, self._timelines.values()), _NOT_PRICED])

    @property
    def size(self) -> int:
        """The bytes that an expression takes by them."""
        return len(self._models.raw) + len(self._rows.raw)

    def cost_expression(self, entry: str = "$usage", started_at: str = "$started_at") -> Expression:
        """The cost of an entry of usage at a path, for a call that starts at what is at another; null if not priced.

        It is a Decimal128. Sum it with `$sum`, which leaves out nulls, and make a double of the sum by `$toDouble`.
        """
        plain = {
            "$add": [
                {"$multiply": [f"{entry}.{name}_tokens", _held(name)]}  # null without a price
                for name in ("prompt", "completion")
            ]
        }
        # Most entries store no classes, and most prices have no tiers.
        is_classed = {"$or": [f"{entry}.classes", "$$row.has_tiers"]}
        return self._with_row(entry, started_at, {"$cond": [is_classed, _cost_by_class(entry), plain]})

    def is_unpriced_expression(self, entry: str = "$usage", started_at: str = "$started_at") -> Expression:
        """True if an entry of usage at a path has no cost, as above."""
        return self._with_row(entry, started_at, {"$eq": [_held("prompt"), None]})

    def _with_row(self, entry: str, started_at: str, use: Expression) -> Expression:
        """An expression over the timeline of an entry's model, `$$row`, and the place of its price there, `$$v`."""
        # No model is at -1, which leads to the last row.
        found = {"$indexOfArray": [self._models, f"{entry}.model"]}
        number = {"$size": {"$filter": {"input": "$$v.from", "cond": {"$lte": ["$$this", started_at]}}}}
        placed = {"$let": {"vars": {"row": "$$v"}, "in": bound(number, use)}}
        return bound({"$arrayElemAt": [self._rows, found]}, placed)

    def total_cost_expression(self) -> Expression:
        """The cost of the usage of a call over its document, as a double; null if not priced."""
        each = {"$map": {"input": {"$ifNull": ["$usage", []]}, "as": "entry", "in": self.cost_expression("$$entry")}}
        priced = {"$filter": {"input": each, "cond": {"$ne": ["$$this", None]}}}
        return bound(priced, {"$cond": [{"$eq": ["$$v", []]}, None, {"$toDouble": {"$sum": "$$v"}}]})


class _Charges:
    """The rates of a price in US dollars: of each tier, the highest first, those of all classes.

    A class that is priced in another currency has the rate 0; there are no tiers if all classes are.
    """

    __slots__ = ("tiers",)

    def __init__(self, price: Price) -> None:
        in_dollars = {each.name for each in CLASSES if is_usd(price.unit(each.name))}
        steps = [_BASE, *(above for above, _ in price.tiers)] if in_dollars else []
        self.tiers = [(above, _rates(price, above + 1, in_dollars)) for above in reversed(steps)]

    def cost(self, entry: Usage) -> Decimal:
        """The cost of an entry."""
        prompt = entry["prompt_tokens"]
        rates = next(rates for above, rates in self.tiers if prompt > above)
        if not entry.get("classes"):
            return plus(times(prompt, rates[INPUT]), times(entry["completion_tokens"], rates[OUTPUT]))
        total = ZERO
        for name, count in by_class(entry).items():
            total = plus(total, times(count, rates[name]))
        return total


def _rates(price: Price, prompt_tokens: int, in_dollars: set[str]) -> dict[str, Decimal]:
    return {
        each.name: exact(price.rate(each.name, prompt_tokens)) if each.name in in_dollars else ZERO for each in CLASSES
    }


def is_usd(unit: str) -> bool:
    """Whether a currency is US dollars."""
    return unit.upper() == USD


def _encoded(members: list[Any]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"$literal": members}))


def _row(timeline: Timeline) -> dict[str, Any]:
    """A timeline as a document of a pipeline.

    `prompt` and `completion` have the rates of tokens that are of no further class, and below all tiers. If any price
    has other rates, `rates` has them all, tier by tier.
    """
    charges = [_Charges(price).tiers for price in timeline.prices]
    base = [tiers[-1][1] if tiers else {} for tiers in charges]
    row: dict[str, Any] = {
        "from": timeline.dates,
        "prompt": [in_pipeline(rates[INPUT]) if rates else None for rates in base],
        "completion": [in_pipeline(rates[OUTPUT]) if rates else None for rates in base],
    }
    by_tier = [[{"above": above} | _shown(rates) for above, rates in reversed(tiers)] for tiers in charges]
    if any(len(tiers) > 1 for tiers in by_tier):
        row["has_tiers"] = True
    if any(len(tiers) > 1 or len(tiers[0]) > _PLAIN for tiers in by_tier if tiers):
        row["rates"] = by_tier
    return row


def _shown(rates: dict[str, Decimal]) -> dict[str, Any]:
    """The rates of a tier, but for those that are the rate of the class's side, or of requests and 0."""
    usual = {each.name: rates[_REST[each.side]] if each.side in _REST else ZERO for each in CLASSES}
    rests = _REST.values()
    return {name: in_pipeline(rate) for name, rate in rates.items() if name in rests or rate != usual[name]}


def _held(name: str) -> Expression:
    return {"$arrayElemAt": [f"$$row.{name}", "$$v"]}


def _cost_by_class(entry: str) -> Expression:
    """The sum over all classes, in the order of the table."""
    prompt = f"{entry}.prompt_tokens"
    reached = {"input": _held("rates"), "as": "tier", "cond": {"$lt": ["$$tier.above", prompt]}}
    plain = {INPUT: _held("prompt"), OUTPUT: _held("completion")}
    rates = {"$ifNull": [{"$last": {"$filter": reached}}, plain]}
    totals = {INPUT: prompt, OUTPUT: f"{entry}.completion_tokens"}
    costs: list[Expression] = []
    for each in CLASSES:
        if each.name in totals:
            parts = {"$sum": [f"{entry}.classes.{name}" for name in PARTS[each.side]]}
            count: Expression = {"$max": [0, {"$subtract": [totals[each.name], parts]}]}
        else:
            count = f"{entry}.classes.{each.name}"
        rate: Expression = f"$$rates.{each.name}"
        if each.side in _REST and each.name not in totals:
            rate = {"$ifNull": [rate, f"$$rates.{_REST[each.side]}"]}
        costs.append({"$multiply": [count, rate]})  # null, which `$sum` leaves out, where either is missing
    summed = {"$let": {"vars": {"rates": rates}, "in": {"$sum": costs}}}
    return {"$cond": [{"$eq": [_held("prompt"), None]}, None, summed]}
