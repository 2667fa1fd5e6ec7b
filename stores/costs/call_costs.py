"""Costs of one call by model and class of tokens, each in the currency of its price."""

from collections.abc import Sequence
from typing import Final

from stores.costs.decimals import ZERO, exact, plus, times
from stores.costs.price_timeline import Price, tier_tokens
from stores.costs.pricing import Prices
from stores.paging import Row
from stores.usage.classes import BY_NAME, INPUT, OUTPUT, Side
from stores.usage.counts import by_class, class_fields
from stores.usage.entries import TOTAL_IS_SUM, Usage

_STATED: Final = "stated_cost"


def bill(usage: Sequence[Usage], started_at: int, prices: Prices) -> list[Row]:
    """Return a cost row for each model of a call's usage; a model without a price has only counts.

    Components are the classes with counts, in table order; their costs add up to the model's cost. The result is empty
    if no model has a price and no sender stated a cost.
    """
    priced = [(entry, prices.at(entry["model"], started_at)) for entry in usage]
    if not any(price or entry.get(_STATED) is not None for entry, price in priced):
        return []
    return [_cost_row(entry, price) for entry, price in priced]


def _cost_row(entry: Usage, price: Price | None) -> Row:
    prompt_tokens, completion_tokens = entry["prompt_tokens"], entry["completion_tokens"]
    row: Row = {
        "model": entry["model"],
        "prompt_tokens": prompt_tokens,
        "input_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "output_tokens": completion_tokens,
        "requests": entry["requests"],
        "total_tokens": 0 if entry.get(TOTAL_IS_SUM) else entry["total_tokens"],
        **class_fields(prompt_tokens, entry.get("classes")),
        _STATED: entry.get(_STATED),
        "components": [],
    }
    return row if price is None else row | _costs_at(entry, price)


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
    return price.fields | {
        "components": components,
        "total_cost": float(total) if price.has_one_currency else None,
        "prompt_tokens_total_cost": float(prompt),
        "completion_tokens_total_cost": float(completion),
        "prompt_token_cost": rates[INPUT],
        "completion_token_cost": rates[OUTPUT],
    }
