"""Prices of models, and the choice of the price that applies to a call.

Exactly one price of a model applies to a call that starts at a given time. Prices already in effect precede future
ones, the project's precede shipped ones, then the latest wins. A future price applies if there is no other. Among
equals the one created last applies.

A price has a rate for each class of `stores.usage.classes`. A class without a rate is charged like its fallback class.
A tier replaces the rates for a whole request, as providers bill: above its number of prompt tokens every token has the
tier's rates. No tier applies to a usage entry that may sum several requests, because their lengths are unknown.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Self

from stores.usage.classes import BY_NAME, CLASSES, INPUT, OUTPUT, Side
from stores.usage.entries import Usage, has_several_requests

Level = Literal["project", "default"]

DEFAULT: Final[Level] = "default"
PROJECT: Final[Level] = "project"

USD: Final = "USD"

Rates = Mapping[str, float]
"""Price of one token or one request, by class name."""

RATE_FIELDS: Final = {
    "web_search_cost" if each.side is Side.REQUEST else f"{each.name}_token_cost": each
    for each in CLASSES
    if each.name not in (INPUT, OUTPUT)
}
"""Classes besides input and output, by the field names of their rates in documents, inputs and rows."""


_ROW_FIELDS: Final = (
    *("prompt_token_cost_unit", "completion_token_cost_unit", "effective_date", "provider_id"),
    *("created_at", "created_by"),
)


@dataclass(frozen=True)
class Price:
    """The rates of a model from a date on. Times are microseconds since the epoch.

    Args:
        prompt_token_cost: rate of the class `input`.
        completion_token_cost: rate of the class `output`.
        prompt_token_cost_unit: currency of all rates except those of output classes.
        completion_token_cost_unit: currency of the rates of output classes.
        rates: rates of further classes; `TokenClass.like` is the fallback.
        tiers: ascending numbers of prompt tokens, each with the rates that apply above it.
    """

    llm_id: str
    provider_id: str
    prompt_token_cost: float
    completion_token_cost: float
    prompt_token_cost_unit: str
    completion_token_cost_unit: str
    effective_date: int
    created_at: int
    created_by: str | None
    level: Level
    level_id: str
    id: str = ""
    rates: Rates = field(default_factory=dict, hash=False)
    tiers: tuple[tuple[int, Rates], ...] = field(default=(), hash=False)

    @classmethod
    def of_project(cls, row: Mapping[str, Any]) -> Self:
        """Read a project's own price from its document."""
        own = {name: row[name] for name in _STORED}
        rates = {each.name: row[name] for name, each in RATE_FIELDS.items() if row.get(name) is not None}
        return cls(level=PROJECT, level_id=row["project_id"], rates=rates, **own)

    @cached_property
    def rate_fields(self) -> dict[str, float]:
        """The rates besides input and output, by their names in `RATE_FIELDS`."""
        return {name: self.rates[each.name] for name, each in RATE_FIELDS.items() if each.name in self.rates}

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The fields that every cost row at this price has."""
        own = {name: getattr(self, name) for name in _ROW_FIELDS}
        level = {"pricing_level": self.level, "pricing_level_id": self.level_id}
        return own | level | {"price_id": self.id} | self.rate_fields

    def rates_for(self, prompt_tokens: int) -> Rates:
        """Return the rates of all classes for a request with that many prompt tokens."""
        return next(rates for above, rates in self._tiers if prompt_tokens > above)

    @cached_property
    def _tiers(self) -> Sequence[tuple[int, Rates]]:
        """The rates of all classes above numbers of prompt tokens, largest number first."""
        base = {INPUT: self.prompt_token_cost, OUTPUT: self.completion_token_cost}
        return [
            (above, {each.name: rate_among((tier, self.rates, base), each.name) for each in CLASSES})
            for above, tier in ((_BELOW_ALL, {}), *self.tiers)
        ][::-1]

    def unit(self, class_name: str) -> str:
        """Return the currency of a class's rate."""
        is_output = BY_NAME[class_name].side is Side.OUTPUT
        return self.completion_token_cost_unit if is_output else self.prompt_token_cost_unit


_BELOW_ALL: Final = -1
"""Lower than any number of prompt tokens."""

_STORED: Final = [name for name in Price.__dataclass_fields__ if name not in ("level", "level_id", "rates", "tiers")]


def tier_tokens(entry: Usage) -> int:
    """Return the prompt tokens that select the tier of a usage entry: 0 if it may sum several requests."""
    return 0 if has_several_requests(entry) else entry["prompt_tokens"]


def rate_among(scopes: Sequence[Rates], class_name: str) -> float:
    """Return the first rate in `scopes` for a class, or for its fallbacks; 0 if there is none."""
    name: str | None = class_name
    while name is not None:
        for rates in scopes:
            if name in rates:
                return rates[name]
        name = BY_NAME[name].like
    return 0.0


class Timeline:
    """The prices of one model over time: the first applies before all `dates`, each other from its date on."""

    __slots__ = ("dates", "prices")

    def __init__(self, prices: Iterable[Price]) -> None:
        by_date = sorted(prices, key=_precedence)
        self.prices = [max(by_date, key=lambda price: (price.level == PROJECT, *_precedence(price)))]
        self.dates: list[int] = []
        latest: dict[Level, Price] = {}
        for price in by_date:
            latest[price.level] = price
            self._start_at(price.effective_date, latest.get(PROJECT) or latest[DEFAULT])

    def _start_at(self, date: int, price: Price) -> None:
        if self.dates and self.dates[-1] == date:
            self.prices[-1] = price
        elif price is not self.prices[-1]:
            self.dates.append(date)
            self.prices.append(price)

    def at(self, timestamp: int) -> Price:
        """Return the price that applies to a call that starts at `timestamp`."""
        return self.prices[bisect_right(self.dates, timestamp)]

    def changes(self, first: int, last: int) -> bool:
        """Return True if another price begins after `first`, up to `last`."""
        return bisect_right(self.dates, first) != bisect_right(self.dates, last)


def _precedence(price: Price) -> tuple[int, int, str]:
    return price.effective_date, price.created_at, price.id


def timelines(prices: Iterable[Price]) -> dict[str, Timeline]:
    """Build the timeline of each model that has a price, by name."""
    by_model: dict[str, list[Price]] = {}
    for price in prices:
        by_model.setdefault(price.llm_id, []).append(price)
    return {model: Timeline(model_prices) for model, model_prices in by_model.items()}
