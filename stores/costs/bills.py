"""What a call's usage costs, model by model, each in the unit of its price."""

from collections.abc import Sequence

from stores.calls.usage import TOTAL_IS_SUM, Usage
from stores.costs.prices import Price
from stores.costs.pricing import Prices
from stores.paging import Row


def bill(usage: Sequence[Usage], started_at: int, prices: Prices) -> list[Row]:
    """A row for each model that a call used which started then; a model without a price has counts alone.

    Where no model has a price there are none.
    """
    priced = [(entry, prices.at(entry["model"], started_at)) for entry in usage]
    return [_line(entry, price) for entry, price in priced] if any(price for _, price in priced) else []


def _line(entry: Usage, price: Price | None) -> Row:
    counts = entry | {"input_tokens": entry["prompt_tokens"], "output_tokens": entry["completion_tokens"]}
    if counts.pop(TOTAL_IS_SUM, False):
        counts["total_tokens"] = 0
    if price is None:
        return counts
    return counts | {
        "prompt_tokens_total_cost": entry["prompt_tokens"] * price.prompt_token_cost,
        "completion_tokens_total_cost": entry["completion_tokens"] * price.completion_token_cost,
        "prompt_token_cost": price.prompt_token_cost,
        "completion_token_cost": price.completion_token_cost,
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
