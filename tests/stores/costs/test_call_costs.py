"""Tests of a call's costs: the components by token class and their sums."""

from decimal import Decimal
from typing import Any

from hypothesis import given

from stores.costs import Price, Prices, bill
from stores.usage.classes import BY_NAME, Side
from tests.stores.costs.prices import price
from tests.stores.costs.test_pricing import CLASSED, entries, random_prices

CACHED: dict[str, Any] = {
    "model": "m",
    "prompt_tokens": 1_000,
    "completion_tokens": 50,
    "requests": 1,
    "total_tokens": 1_050,
    "classes": {"cache_read": 900, "reasoning": 30, "web_searches": 2},
}


def test_call_cost_lists_count_rate_and_cost_per_token_class() -> None:
    [line] = bill([CACHED], 0, Prices([CLASSED]))

    assert line["components"] == [
        {"name": "input", "tokens": 100, "rate": 3e-6, "cost": 0.0003},
        {"name": "cache_read", "tokens": 900, "rate": 3e-7, "cost": 0.00027},
        {"name": "output", "tokens": 20, "rate": 1.5e-5, "cost": 0.0003},
        {"name": "reasoning", "tokens": 30, "rate": 1.5e-5, "cost": 0.00045},
        {"name": "web_searches", "tokens": 2, "rate": 0.01, "cost": 0.02},
    ]
    assert line["prompt_tokens_total_cost"] == 0.00057
    assert line["completion_tokens_total_cost"] == 0.00075
    assert line["total_cost"] == 0.02132
    assert (line["uncached_input_tokens"], line["cache_read_tokens"], line["cache_write_1h_tokens"]) == (100, 900, 0)
    assert (line["reasoning_tokens"], line["web_searches"], line["stated_cost"]) == (30, 2, None)


def test_call_cost_uses_the_rates_of_the_tier() -> None:
    [line] = bill([CACHED | {"prompt_tokens": 200_001, "classes": {}}], 0, Prices([CLASSED]))

    assert (line["prompt_token_cost"], line["completion_token_cost"]) == (6e-6, 2.25e-5)
    assert line["prompt_tokens_total_cost"] == 1.200006


def test_call_of_several_requests_is_priced_below_all_tiers() -> None:
    [line] = bill([CACHED | {"prompt_tokens": 200_001, "requests": 2, "classes": {}}], 0, Prices([CLASSED]))

    assert (line["prompt_token_cost"], line["completion_token_cost"]) == (3e-6, 1.5e-5)
    assert line["prompt_tokens_total_cost"] == 0.600003


def test_reported_cost_is_shown_with_and_without_a_price() -> None:
    stated = CACHED | {"stated_cost": 0.5}

    [priced] = bill([stated], 0, Prices([CLASSED]))
    [unpriced] = bill([stated], 0, Prices([]))

    assert (priced["stated_cost"], priced["total_cost"]) == (0.5, 0.02132)
    assert (unpriced["stated_cost"], unpriced["components"]) == (0.5, [])
    assert "total_cost" not in unpriced
    assert bill([CACHED], 0, Prices([])) == []


def test_two_currencies_have_no_total() -> None:
    euro: dict[str, Any] = {"completion_token_cost_unit": "EUR"}
    [line] = bill([CACHED], 0, Prices([price(**euro)]))

    assert line["total_cost"] is None
    assert (line["prompt_tokens_total_cost"], line["completion_tokens_total_cost"]) == (0.001, 0.0001)


@given(entry=entries(), priced=random_prices())
def test_components_add_up_to_the_total_for_any_input(entry: dict[str, Any], priced: list[Price]) -> None:
    prices = Prices(priced)
    price = prices.at(entry["model"], 5)
    if price is None:
        return
    line = bill([entry | {"total_tokens": 0}], 5, prices)[0]
    parts = line["components"]

    for side, total in ((Side.INPUT, entry["prompt_tokens"]), (Side.OUTPUT, entry["completion_tokens"])):
        assert sum(part["tokens"] for part in parts if BY_NAME[part["name"]].side is side) == total
    cost = prices.total_cost([entry], 5)
    if cost is not None:
        dollars = [part for part in parts if price.unit(part["name"]).upper() == "USD"]
        assert _is_close([part["tokens"] * Decimal(repr(part["rate"])) for part in dollars], cost)
    if line["total_cost"] is not None:
        assert _is_close([Decimal(repr(shown["cost"])) for shown in line["components"]], line["total_cost"])
        assert cost in (None, line["total_cost"])
    for shown in line["components"]:
        assert _is_close([shown["tokens"] * Decimal(repr(shown["rate"]))], shown["cost"])


def _is_close(costs: list[Decimal], total: float) -> bool:
    """Return True if decimal numbers add up to a double, except for digits that doubles do not have."""
    exact = sum(costs, Decimal(0))
    return abs(exact - Decimal(repr(total))) <= max(abs(exact) * Decimal("1e-15"), Decimal("1e-300"))
