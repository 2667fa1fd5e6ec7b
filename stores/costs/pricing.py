"""Costs of usage by the prices of its project: in Python, and as expressions that pipelines compute alike.

The cost of an entry of usage (`stores.usage.entries`) is the sum over its classes of tokens: each count times the rate
of its class in US dollars, in the tier that `tier_tokens` of the entry reach. Classes that are priced in another
currency are left out: no sum mixes currencies. A call's cost is the sum over its models; where nothing is priced in
dollars it is null, which is not 0. Sums are of decimal numbers (see `stores.costs.decimals`); the last of them becomes
a double.
"""

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache, reduce
from itertools import groupby
from typing import Final, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument

from stores.costs.decimals import ZERO, exact, in_pipeline, minus, plus, times
from stores.costs.inputs import USD
from stores.costs.model_names import resolve
from stores.costs.price_timeline import Price, tier_tokens, timelines
from stores.database.content_store import batches
from stores.query.value_expressions import Expression, bound
from stores.usage.classes import BY_NAME, INPUT, OUTPUT, Side
from stores.usage.counts import STORED
from stores.usage.entries import SUMS_UP, Usage, has_several_requests

_SHORT: Final = 15
"""Digits of a rate whose product with any count is exact in 34 digits, so that terms of a sum may be put otherwise."""

UNKNOWN_MODEL: Final = "a call has a model that this pipeline does not know: "
"""The start of the text that MongoDB quotes when a pipeline fails on another model."""

_RUN: Final = 16
"""Model names in one list. MongoDB compares them one by one."""


class Prices:
    """The prices of a project's models, its own and shipped ones."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._timelines = timelines(prices)
        self._charges: dict[int, _Charges | None] = {}
        self._unpriced: list[str] = []
        self._fails_on_others = False
        self._expressions: dict[tuple[object, ...], Expression] = {}

    def resolve(self, model: str) -> str | None:
        """The name whose price is that of a model, by the rules of `stores.costs.model_names`; None without a price."""
        return resolve(model, self._timelines)

    def of(self, models: Iterable[str], *, fails_on_others: bool = False) -> "Prices":
        """The prices of some models under just the names that these have here, which may be other names of theirs.

        For pipelines, which find a price by the exact name of a model. `at` and `cost` resolve names themselves.

        Args:
            models: the names.
            fails_on_others: whether a pipeline fails with `CONVERSION_FAILURE` and `UNKNOWN_MODEL` on an entry of any
                other model, which has no price otherwise.
        """
        found = Prices(())
        resolved = {model: self.resolve(model) for model in models}
        found._timelines = {model: self._timelines[name] for model, name in resolved.items() if name is not None}
        if fails_on_others:
            found._unpriced = [model for model, name in resolved.items() if name is None]
            found._fails_on_others = True
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
        charges = self._charged(price) if price else None
        return charges.cost(entry) if charges else None

    def _charged(self, price: Price) -> "_Charges | None":
        key = id(price)  # the timelines keep the price, so that no other gets its id
        if key not in self._charges:
            self._charges[key] = _Charges.of(price)
        return self._charges[key]

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

    def hides_tiers(self, usage: Iterable[Usage], started_at: int) -> bool:
        """Whether an entry may sum several requests and reaches a tier, which one of the requests may reach, too."""
        for entry in usage:
            price = self.at(entry["model"], started_at) if has_several_requests(entry) else None
            if price and price.tiers and entry["prompt_tokens"] > price.tiers[0][0]:
                return True
        return False

    def cost_expression(self, entry: str = "$usage", started_at: str = "$started_at") -> Expression:
        """The cost of an entry of usage at a path, for a call that starts at what is at another; null if not priced.

        It is a Decimal128. Sum it with `$sum`, which leaves out nulls, and make a double of the sum by `$toDouble`.
        """
        return self._by_price(entry, started_at, _Charges.expression, None)

    def is_unpriced_expression(self, entry: str = "$usage", started_at: str = "$started_at") -> Expression:
        """True if an entry of usage at a path has no cost, as above."""
        return self._by_price(entry, started_at, lambda *_: False, otherwise=True)

    def _by_price(
        self, entry: str, started_at: str, use: Callable[["_Charges", str], Expression], otherwise: Expression
    ) -> Expression:
        """An expression that selects the price of an entry and applies `use` to it; encoded once.

        It searches names, dates and tiers by halves: a comparison takes MongoDB a fraction of what a list does.
        """
        key = entry, started_at, otherwise
        if key not in self._expressions:
            self._expressions[key] = _encoded(self._searched(entry, started_at, use, otherwise))
        return self._expressions[key]

    def _searched(
        self, entry: str, started_at: str, use: Callable[["_Charges", str], Expression], otherwise: Expression
    ) -> Expression:
        model = f"{entry}.model"
        # What makes no time of a text fails; it is no constant, or it would fail for all.
        other = {"$toDate": {"$concat": [UNKNOWN_MODEL, model]}} if self._fails_on_others else otherwise
        found = dict.fromkeys(self._unpriced, otherwise)
        for name, timeline in self._timelines.items():
            charges = map(self._charged, timeline.prices)
            held = [use(each, entry) if each else otherwise for each in charges]
            found[name] = _steps(started_at, timeline.dates, held)
        starts: list[str] = []
        values: list[Expression] = []
        # Neighbours with the same value share a branch: a project may have thousands of names without a price.
        for value, names in groupby(sorted(found, key=str.encode), found.__getitem__):
            for run in batches(list(names), _RUN):
                starts.append(run[0])
                # MongoDB compares with one name faster than it looks into a list.
                is_one = (
                    {"$eq": [model, {"$literal": run[0]}]} if len(run) == 1 else {"$in": [model, {"$literal": run}]}
                )
                values.append({"$cond": [is_one, value, other]})
        return _steps(model, starts[1:], values) if values else other

    def call_cost_expression(self) -> Expression:
        """The cost of the usage of a call over its document, a Decimal128; null if not priced."""
        return self._of_call("$$v")

    def total_cost_expression(self) -> Expression:
        """The same cost as a double."""
        return self._of_call({"$toDouble": "$$v"})

    def _of_call(self, use: Expression) -> Expression:
        each = {"$map": {"input": "$usage", "as": "entry", "in": self.cost_expression("$$entry")}}
        # The sum of nulls alone is the integer 0.
        return bound({"$sum": each}, {"$cond": [{"$eq": [{"$type": "$$v"}, "decimal"]}, use, None]})


class _Charges(NamedTuple):
    """The rates of a price in US dollars, by tier, the lowest first; a class in another currency costs nothing."""

    starts: tuple[int, ...]
    """The least number of prompt tokens of each tier but the lowest."""
    tiers: tuple["_Rates", ...]

    @classmethod
    @lru_cache(10_000)  # each page of calls takes those of its models, the same ones again and again
    def of(cls, price: Price) -> "_Charges | None":
        """Those of a price; None if no class is priced in US dollars."""
        in_dollars = {name for name in BY_NAME if is_usd(price.unit(name))}
        if not in_dollars:
            return None
        starts = tuple(above + 1 for above, _ in price.tiers)
        return cls(starts, tuple(_Rates.of(price, start, in_dollars) for start in (0, *starts)))

    def cost(self, entry: Usage) -> Decimal:
        """The cost of an entry."""
        return self.tiers[bisect_right(self.starts, tier_tokens(entry)) if self.starts else 0].cost(entry)

    def expression(self, entry: str) -> Expression:
        """The cost of the entry at a path, as an expression."""
        lowest, *higher = (rates.expression(entry) for rates in self.tiers)
        if all(each == lowest for each in higher):
            return lowest
        prompt_tokens = f"{entry}.prompt_tokens"
        has_lowest: Expression = {
            "$or": [
                {"$lt": [prompt_tokens, {"$literal": self.starts[0]}]},
                {"$gt": [f"{entry}.requests", 1]},
                f"{entry}.{SUMS_UP}",
            ]
        }
        return {"$cond": [has_lowest, lowest, _steps(prompt_tokens, self.starts[1:], higher)]}


class _Rates(NamedTuple):
    """The rates of a tier. A class that costs as much as the rest of its side is counted as that rest."""

    prompt: Decimal
    """That of the rest of the input."""
    completion: Decimal
    """That of the rest of the output."""
    parts: tuple[tuple[str, Side, Decimal], ...]
    """The other classes that cost something else, with their rates."""

    @classmethod
    def of(cls, price: Price, prompt_tokens: int, in_dollars: Container[str]) -> "_Rates":
        """Those for so many prompt tokens."""
        stated = price.rates_for(prompt_tokens).items()
        rates = {name: exact(rate) if name in in_dollars else ZERO for name, rate in stated}
        usual = {Side.INPUT: rates[INPUT], Side.OUTPUT: rates[OUTPUT], Side.REQUEST: ZERO}
        parts = ((name, BY_NAME[name].side, rates[name]) for name in STORED)
        return cls(rates[INPUT], rates[OUTPUT], tuple(part for part in parts if part[2] != usual[part[1]]))

    def cost(self, entry: Usage) -> Decimal:
        """The cost of an entry."""
        prompt, completion = entry["prompt_tokens"], entry["completion_tokens"]
        costs = []
        if classes := entry.get("classes"):
            for name, side, rate in self.parts:
                if count := classes.get(name):
                    costs.append(times(count, rate))
                    if side is Side.INPUT:
                        prompt -= count
                    elif side is Side.OUTPUT:
                        completion -= count
        rests = plus(times(prompt, self.prompt), times(completion, self.completion))
        return reduce(plus, costs, rests) if costs else rests

    def expression(self, entry: str) -> Expression:
        """The cost of the entry at a path, as an expression."""
        rests: dict[Side, Expression] = {
            Side.INPUT: f"{entry}.prompt_tokens",
            Side.OUTPUT: f"{entry}.completion_tokens",
        }
        usual = {Side.INPUT: self.prompt, Side.OUTPUT: self.completion, Side.REQUEST: ZERO}
        plain = [_product(total, usual[side]) for side, total in rests.items()]
        if not self.parts:
            return {"$add": plain}
        counts = {name: f"{entry}.classes.{name}" for name, _, _ in self.parts}
        beyond = {name: minus(rate, usual[side]) for name, side, rate in self.parts}
        if all(len(each.as_tuple().digits) <= _SHORT for each in (*usual.values(), *beyond.values())):
            costs, rates = plain, beyond  # as if all were of the rest, which takes MongoDB less time
        else:
            for side, total in rests.items():
                of_side = [counts[name] for name, of, _ in self.parts if of is side]
                rests[side] = {"$subtract": [total, {"$sum": of_side}]}
            costs = [_product(total, usual[side]) for side, total in rests.items()]
            rates = {name: rate for name, _, rate in self.parts}
        # The product of a count that is not there is null, which `$sum` leaves out.
        costs = [*costs, *(_product(counts[name], rates[name]) for name in counts)]
        return {"$cond": [f"{entry}.classes", {"$sum": costs}, {"$add": plain}]}


def _product(count: Expression, rate: Decimal) -> Expression:
    return {"$multiply": [count, in_pipeline(rate)]}


def _steps(path: str, starts: Sequence[int | str], values: Sequence[Expression]) -> Expression:
    """The first value for what is below all starts, which rise, and each other one from its start on."""
    if all(value == values[0] for value in values):
        return values[0]
    middle = len(starts) // 2
    below, above = (starts[:middle], values[: middle + 1]), (starts[middle + 1 :], values[middle + 1 :])
    return {"$cond": [{"$lt": [path, {"$literal": starts[middle]}]}, _steps(path, *below), _steps(path, *above)]}


def is_usd(unit: str) -> bool:
    """Whether a currency is US dollars."""
    return unit.upper() == USD


def _encoded(expression: Expression) -> Expression:
    return RawBSONDocument(bson.encode(expression)) if isinstance(expression, dict) else expression
