"""Costs of usage at the prices of a project: in Python, and as equivalent pipeline expressions.

The cost of a usage entry (`stores.usage.entries`) is the sum over its token classes: count times rate in US dollars, in
the tier that `tier_tokens` selects. Classes priced in another currency are excluded, because a sum must not mix
currencies. A call's cost is the sum over its models; it is null, not 0, if nothing is priced in dollars. Sums are of
decimal numbers and converted to a double at the end.

Decimal arithmetic is that of MongoDB's Decimal128, so Python and pipelines compute identical digits. A double such as
0.000001 is rarely the decimal number it is written as: five times it prints as 0.0000049999999999999996. So costs are
computed from the decimal text of rates.
"""

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache, reduce
from itertools import groupby
from typing import Final, NamedTuple

import bson
from bson import Decimal128
from bson.raw_bson import RawBSONDocument

from stores.costs.model_names import resolve
from stores.costs.price_timeline import USD, Price, tier_tokens, timelines
from stores.database.content_store import batches
from stores.paging import Row
from stores.query.text_expressions import Expression, let_v
from stores.usage.classes import BY_NAME, INPUT, OUTPUT, STORED, Side, by_class, class_fields
from stores.usage.entries import SUMS_UP, TOTAL_IS_SUM, Usage, has_several_requests
from stores.usage.rules import STATED_COST

_DECIMAL128: Final = Context(prec=34, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, clamp=1)

ZERO: Final = Decimal(0)
plus: Final = _DECIMAL128.add
minus: Final = _DECIMAL128.subtract
times: Final = _DECIMAL128.multiply

_MAX_EXACT_DIGITS: Final = 15
"""Digits up to which the product of a rate and any count is exact in 34 digits, so terms may be reordered."""

UNKNOWN_MODEL: Final = "a call has a model that this pipeline does not know: "
"""Prefix of the text that MongoDB quotes if a pipeline fails on an unknown model."""

_NAMES_PER_LIST: Final = 16
"""Model names per list; MongoDB compares them one by one."""


@lru_cache(10_000)
def exact(number: float) -> Decimal:
    """Return the decimal number of a double's shortest text."""
    return Decimal(repr(number))


def sum_of_costs(costs: Iterable[Decimal | None]) -> float | None:
    """Return the sum of costs without Nones; None if there are none."""
    present = [cost for cost in costs if cost is not None]
    return float(reduce(plus, present)) if present else None


class Prices:
    """The prices of a project's models, including shipped ones."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._timelines = timelines(prices)
        self._charges: dict[int, _Charges | None] = {}
        self._unpriced: list[str] = []
        self._fails_on_others = False
        self._expressions: dict[tuple[object, ...], Expression] = {}

    def resolve(self, model: str) -> str | None:
        """Return the priced name of a model by the rules of `stores.costs.model_names`; None without a price."""
        return resolve(model, self._timelines)

    def of(self, models: Iterable[str], *, fails_on_others: bool = False) -> "Prices":
        """Return the prices of some models under exactly these names.

        This is for pipelines, which need the exact name of a model. `at` and `cost` resolve names themselves.

        Args:
            models: the names.
            fails_on_others: if true, a pipeline fails with `CONVERSION_FAILURE` and `UNKNOWN_MODEL` on any other model;
                otherwise such a model has no price.
        """
        selected = Prices(())
        resolved = {model: self.resolve(model) for model in models}
        selected._timelines = {model: self._timelines[name] for model, name in resolved.items() if name is not None}
        if fails_on_others:
            selected._unpriced = [model for model, name in resolved.items() if name is None]
            selected._fails_on_others = True
        return selected

    def at(self, model: str, started_at: int) -> Price | None:
        """Return the price of a model for a call that starts at `started_at`; None without a price."""
        name = model if model in self._timelines else self.resolve(model)
        return None if name is None else self._timelines[name].at(started_at)

    def exact_cost(self, entry: Usage, started_at: int) -> Decimal | None:
        """Return the cost in US dollars of a usage entry; None if it has no price in dollars."""
        price = self.at(entry["model"], started_at)
        charges = self._charges_of(price) if price else None
        return charges.cost(entry) if charges else None

    def cost_of_sum(self, sums: Usage, first: int, last: int) -> Decimal | None:
        """Return the cost of the sum of a model's entries in calls that start from `first` to `last`.

        `least` and `most` of the sum are the least and most tokens of an entry that select a tier.

        Raises:
            LookupError: if the entries have several prices or tiers.
        """
        model = sums["model"]
        name = model if model in self._timelines else self.resolve(model)
        if name is None:
            return None
        timeline = self._timelines[name]
        charges = self._charges_of(timeline.at(first))
        if timeline.changes(first, last) or (charges and charges.differ(sums["least"], sums["most"])):
            raise LookupError(name)
        return charges.cost(sums, sums["most"]) if charges else None

    def _charges_of(self, price: Price) -> "_Charges | None":
        # `_Charges.of` hashes all fields of a price. The timelines keep the price alive, so its id is unique.
        key = id(price)
        if key not in self._charges:
            self._charges[key] = _Charges.of(price)
        return self._charges[key]

    def total_cost(self, usage: Iterable[Usage], started_at: int) -> float | None:
        """Return the cost in US dollars of a call's usage; None if nothing has a price in dollars."""
        return sum_of_costs(self.exact_cost(entry, started_at) for entry in usage)

    def hides_tiers(self, usage: Iterable[Usage], started_at: int) -> bool:
        """Return True if an entry may sum several requests and reaches a tier, so a single request may reach it too."""
        for entry in usage:
            price = self.at(entry["model"], started_at) if has_several_requests(entry) else None
            if price and price.tiers and entry["prompt_tokens"] > price.tiers[0][0]:
                return True
        return False

    @property
    def dates(self) -> set[int]:
        """The times from which calls have another price than before."""
        return {date for timeline in self._timelines.values() for date in timeline.dates}

    @property
    def tier_starts(self) -> dict[int, list[str]]:
        """The least numbers of prompt tokens of a tier, each with the models that have such a tier at any time."""
        found: dict[int, list[str]] = {}
        for model, timeline in self._timelines.items():
            for start in {above + 1 for price in timeline.prices for above, _ in price.tiers}:
                found.setdefault(start, []).append(model)
        return found

    def cost_expression(self, entry: str = "$usage") -> Expression:
        """Build the cost of the usage entry at a path of a call; null if not priced.

        It is a Decimal128. Sum it with `$sum`, which ignores nulls, and convert the sum by `$toDouble`.
        """
        return self._by_price(entry, _Charges.expression, None)

    def rollup_cost_expression(self) -> Expression:
        """Build the cost of the entries of a roll-up (`stores.rollups`), which have one price and one tier."""
        return self._by_price("$usage", _Charges.rollup_expression, None)

    def is_unpriced_expression(self, entry: str = "$usage") -> Expression:
        """Build the expression that is true if the usage entry at a path has no cost."""
        return self._by_price(entry, _is_priced, otherwise=True)

    def _by_price(self, entry: str, use: Callable[["_Charges", str], Expression], otherwise: Expression) -> Expression:
        """Build an expression that selects the price of an entry and applies `use` to it; cached and encoded once.

        It is a binary search over names, dates and tiers: comparisons are much faster in MongoDB than lists.
        """
        key = entry, use
        if key not in self._expressions:
            self._expressions[key] = _encoded(self._binary_search(entry, use, otherwise))
        return self._expressions[key]

    def _binary_search(
        self, entry: str, use: Callable[["_Charges", str], Expression], otherwise: Expression
    ) -> Expression:
        model = f"{entry}.model"
        # `$toDate` fails on such text. A constant operand would fail for every document.
        other = {"$toDate": {"$concat": [UNKNOWN_MODEL, model]}} if self._fails_on_others else otherwise
        values_by_name = dict.fromkeys(self._unpriced, otherwise)
        for name, timeline in self._timelines.items():
            charges = map(_Charges.of, timeline.prices)
            values_over_time = [use(each, entry) if each else otherwise for each in charges]
            values_by_name[name] = _search("$started_at", timeline.dates, values_over_time)
        starts: list[str] = []
        values: list[Expression] = []
        # Neighbours with the same value share a branch: a project may have thousands of names without a price.
        for value, names in groupby(sorted(values_by_name, key=str.encode), values_by_name.__getitem__):
            for run in batches(list(names), _NAMES_PER_LIST):
                starts.append(run[0])
                # MongoDB compares one name faster than it searches a list.
                is_one = (
                    {"$eq": [model, {"$literal": run[0]}]} if len(run) == 1 else {"$in": [model, {"$literal": run}]}
                )
                values.append({"$cond": [is_one, value, other]})
        return _search(model, starts[1:], values) if values else other

    def call_cost_expression(self) -> Expression:
        """Build the cost of a call's usage over its document, a Decimal128; null if not priced."""
        return self._call_cost("$$v")

    def total_cost_expression(self) -> Expression:
        """Build the cost of a call's usage as a double."""
        return self._call_cost({"$toDouble": "$$v"})

    def _call_cost(self, use: Expression) -> Expression:
        each = {"$map": {"input": "$usage", "as": "entry", "in": self.cost_expression("$$entry")}}
        # The sum of nulls alone is the integer 0.
        return let_v({"$sum": each}, {"$cond": [{"$eq": [{"$type": "$$v"}, "decimal"]}, use, None]})


class _Charges(NamedTuple):
    """The rates of a price in US dollars by tier, lowest first; classes in other currencies cost nothing."""

    starts: tuple[int, ...]
    """Smallest number of prompt tokens of each tier except the lowest."""
    tiers: tuple["_Rates", ...]

    @classmethod
    @lru_cache(10_000)  # every page of calls needs the same few models
    def of(cls, price: Price) -> "_Charges | None":
        """Convert a price; None if no class is priced in US dollars."""
        in_dollars = {name for name in BY_NAME if price.unit(name).upper() == USD}
        if not in_dollars:
            return None
        starts = tuple(above + 1 for above, _ in price.tiers)
        return cls(starts, tuple(_Rates.of(price, start, in_dollars) for start in (0, *starts)))

    def cost(self, entry: Usage, tokens: int | None = None) -> Decimal:
        """Return the cost of an entry, in the tier of a number of tokens if it is not that of the entry."""
        if not self.starts:
            return self.tiers[0].cost(entry)
        return self.tiers[bisect_right(self.starts, tier_tokens(entry) if tokens is None else tokens)].cost(entry)

    def differ(self, least: int, most: int) -> bool:
        """Return True if two numbers of tokens select different tiers."""
        return bisect_right(self.starts, least) != bisect_right(self.starts, most)

    def rollup_expression(self, entry: str) -> Expression:
        """Build the cost of the sum of entries at a path of a roll-up."""
        return _search(f"{entry}.most", self.starts, [rates.expression(entry) for rates in self.tiers])

    def expression(self, entry: str) -> Expression:
        """Build the cost of the entry at a path."""
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
        return {"$cond": [has_lowest, lowest, _search(prompt_tokens, self.starts[1:], higher)]}


class _Rates(NamedTuple):
    """The rates of a tier. Only classes with a rate different from the rest of their side are listed."""

    prompt: Decimal
    """Rate of the remaining input tokens."""
    completion: Decimal
    """Rate of the remaining output tokens."""
    parts: tuple[tuple[str, Side, Decimal], ...]
    """Classes with their own rate."""

    @classmethod
    def of(cls, price: Price, prompt_tokens: int, in_dollars: Container[str]) -> "_Rates":
        """Return the rates for a number of prompt tokens."""
        rates_by_class = price.rates_for(prompt_tokens).items()
        rates = {name: exact(rate) if name in in_dollars else ZERO for name, rate in rates_by_class}
        usual = {Side.INPUT: rates[INPUT], Side.OUTPUT: rates[OUTPUT], Side.REQUEST: ZERO}
        parts = ((name, BY_NAME[name].side, rates[name]) for name in STORED)
        return cls(rates[INPUT], rates[OUTPUT], tuple(part for part in parts if part[2] != usual[part[1]]))

    def cost(self, entry: Usage) -> Decimal:
        """Return the cost of an entry."""
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
        """Build the cost of the entry at a path."""
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
        if all(len(each.as_tuple().digits) <= _MAX_EXACT_DIGITS for each in (*usual.values(), *beyond.values())):
            costs, rates = plain, beyond  # priced as if all tokens were of the rest, which is faster in MongoDB
        else:
            for side, total in rests.items():
                of_side = [counts[name] for name, of, _ in self.parts if of is side]
                rests[side] = {"$subtract": [total, {"$sum": of_side}]}
            costs = [_product(total, usual[side]) for side, total in rests.items()]
            rates = {name: rate for name, _, rate in self.parts}
        # The product of a missing count is null, which `$sum` ignores.
        costs = [*costs, *(_product(counts[name], rates[name]) for name in counts)]
        return {"$cond": [f"{entry}.classes", {"$sum": costs}, {"$add": plain}]}


def _is_priced(_charges: _Charges, _entry: str) -> Expression:
    return False


def _product(count: Expression, rate: Decimal) -> Expression:
    return {"$multiply": [count, Decimal128(rate)]}


def _search(path: str, starts: Sequence[int | str], values: Sequence[Expression]) -> Expression:
    """Build a binary search: the first value below all `starts`, which ascend, each other value from its start on."""
    if all(value == values[0] for value in values):
        return values[0]
    middle = len(starts) // 2
    below, above = (starts[:middle], values[: middle + 1]), (starts[middle + 1 :], values[middle + 1 :])
    return {"$cond": [{"$lt": [path, {"$literal": starts[middle]}]}, _search(path, *below), _search(path, *above)]}


def _encoded(expression: Expression) -> Expression:
    return RawBSONDocument(bson.encode(expression)) if isinstance(expression, dict) else expression


def bill(usage: Sequence[Usage], started_at: int, prices: Prices) -> list[Row]:
    """Return a cost row for each model of a call's usage; a model without a price has only counts.

    Components are the classes with counts, in table order; their costs add up to the model's cost. The result is empty
    if no model has a price and no sender stated a cost.
    """
    priced = [(entry, prices.at(entry["model"], started_at)) for entry in usage]
    if not any(price or entry.get(STATED_COST) is not None for entry, price in priced):
        return []
    return [_counts(entry) | (_costs_at(entry, price) if price else {}) for entry, price in priced]


def _counts(entry: Usage) -> Row:
    prompt_tokens, completion_tokens = entry["prompt_tokens"], entry["completion_tokens"]
    return {
        "model": entry["model"],
        "prompt_tokens": prompt_tokens,
        "input_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "output_tokens": completion_tokens,
        "requests": entry["requests"],
        "total_tokens": 0 if entry.get(TOTAL_IS_SUM) else entry["total_tokens"],
        **class_fields(prompt_tokens, entry.get("classes")),
        STATED_COST: entry.get(STATED_COST),
        "components": [],
    }


def _costs_at(entry: Usage, price: Price) -> Row:
    """Return the costs of an entry at a price, and the price's fields."""
    rates = price.rates_for(tier_tokens(entry))
    components: list[Row] = []
    prompt = completion = total = ZERO
    for name, tokens in by_class(entry).items():
        rate, side = rates[name], BY_NAME[name].side
        cost = times(tokens, exact(rate))
        components.append({"name": name, "tokens": tokens, "rate": rate, "cost": float(cost)})
        total = plus(total, cost)
        if side is Side.INPUT:
            prompt = plus(prompt, cost)
        elif side is Side.OUTPUT:
            completion = plus(completion, cost)
    has_one_currency = price.prompt_token_cost_unit.upper() == price.completion_token_cost_unit.upper()
    return price.fields | {
        "components": components,
        "total_cost": float(total) if has_one_currency else None,
        "prompt_tokens_total_cost": float(prompt),
        "completion_tokens_total_cost": float(completion),
        "prompt_token_cost": rates[INPUT],
        "completion_token_cost": rates[OUTPUT],
    }
