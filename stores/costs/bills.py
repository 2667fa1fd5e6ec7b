"""Bills of calls: what their usage costs, model by model and class by class, each in the currency of its price."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import reduce
from typing import Final, NamedTuple

from stores.costs.decimals import ZERO, exact, plus, times
from stores.costs.prices import Price
from stores.costs.pricing import Prices
from stores.paging import Row
from stores.usage.classes import BY_NAME, Side
from stores.usage.counts import by_class, class_fields
from stores.usage.entries import TOTAL_IS_SUM, Usage

_STATED: Final = "stated_cost"


class Component(NamedTuple):
    """The tokens, or requests, of one class in an entry of usage, and their cost in the currency of the class."""

    name: str
    tokens: int
    rate: float
    cost: Decimal


def components(entry: Usage, price: Price) -> list[Component]:
    """The classes that an entry counts, in the order of their table; their costs add up to that of the entry."""
    found = []
    for name, count in by_class(entry).items():
        rate = price.rate(name, entry["prompt_tokens"])
        found.append(Component(name, count, rate, times(count, exact(rate))))
    return found


def bill(usage: Sequence[Usage], started_at: int, prices: Prices) -> list[Row]:
    """A row for each model that a call used which started then; a model without a price has counts alone.

    Where no model has a price, and no sender stated a cost, there are none.
    """
    priced = [(entry, prices.at(entry["model"], started_at)) for entry in usage]
    if not any(price or entry.get(_STATED) is not None for entry, price in priced):
        return []
    return [_line(entry, price) for entry, price in priced]


def _line(entry: Usage, price: Price | None) -> Row:
    counts = {
        "model": entry["model"],
        "prompt_tokens": entry["prompt_tokens"],
        "input_tokens": entry["prompt_tokens"],
        "completion_tokens": entry["completion_tokens"],
        "output_tokens": entry["completion_tokens"],
        "requests": entry["requests"],
        "total_tokens": 0 if entry.get(TOTAL_IS_SUM) else entry["total_tokens"],
        **class_fields(entry["prompt_tokens"], entry.get("classes") or {}),
        _STATED: entry.get(_STATED),
        "components": [],
    }
    if price is None:
        return counts
    parts = components(entry, price)
    is_one_unit = price.prompt_token_cost_unit.upper() == price.completion_token_cost_unit.upper()
    return counts | {
        "components": [
            {"name": part.name, "tokens": part.tokens, "rate": part.rate, "cost": float(part.cost)} for part in parts
        ],
        "total_cost": _sum(parts) if is_one_unit else None,
        "prompt_tokens_total_cost": _sum(part for part in parts if BY_NAME[part.name].side is Side.INPUT),
        "completion_tokens_total_cost": _sum(part for part in parts if BY_NAME[part.name].side is Side.OUTPUT),
        "prompt_token_cost": price.rate("input", entry["prompt_tokens"]),
        "completion_token_cost": price.rate("output", entry["prompt_tokens"]),
        "prompt_token_cost_unit": price.prompt_token_cost_unit,
        "completion_token_cost_unit": price.completion_token_cost_unit,
        "effective_date": price.effective_date,
        "provider_id": price.provider_id,
        "pricing_level": price.level,
        "pricing_level_id": price.level_id,
        "created_at": price.created_at,
        "created_by": price.created_by,
        "price_id": price.id,
        **price.rate_fields,
    }


def _sum(parts: Iterable[Component]) -> float:
    return float(reduce(plus, (part.cost for part in parts), ZERO))
