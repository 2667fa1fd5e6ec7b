"""Tests of a price's rates by token class: stated rates, fallbacks, and tiers above a number of prompt tokens."""

from typing import Any

import pytest

from stores.costs import Price
from stores.costs.price_timeline import RATE_FIELDS
from stores.usage.classes import CLASSES
from tests.stores.costs.prices import price

TIERED = price(
    prompt_token_cost=3.0,
    completion_token_cost=15.0,
    rates={"cache_read": 0.3, "cache_write_5m": 3.75, "reasoning": 20.0, "web_searches": 0.01},
    tiers=((200, {"input": 6.0, "cache_write_5m": 7.5}), (300, {"input": 9.0, "output": 40.0, "cache_write_1h": 8.0})),
)


@pytest.mark.parametrize(
    ("prompt_tokens", "rates"),
    [
        (200, [3.0, 0.3, 0.3, 3.75, 3.75, 3.0, 3.0, 15.0, 20.0, 15.0, 15.0, 0.01]),
        (201, [6.0, 0.3, 0.3, 7.5, 7.5, 6.0, 6.0, 15.0, 20.0, 15.0, 15.0, 0.01]),
        (301, [9.0, 0.3, 0.3, 3.75, 8.0, 9.0, 9.0, 40.0, 20.0, 40.0, 40.0, 0.01]),
    ],
)
def test_tier_replaces_its_rates_and_their_fallbacks(prompt_tokens: int, rates: list[float]) -> None:
    assert [TIERED.rates_for(prompt_tokens)[each.name] for each in CLASSES] == rates


def test_price_without_further_rates_has_one_rate_per_side() -> None:
    plain = price(prompt_token_cost=1.0, completion_token_cost=2.0)

    assert [plain.rates_for(10**9)[each.name] for each in CLASSES] == [1.0] * 7 + [2.0] * 4 + [0.0]


def test_output_uses_the_completion_currency_and_the_rest_the_prompts() -> None:
    units = {"prompt_token_cost_unit": "EUR", "completion_token_cost_unit": "JPY"}
    both = price(**units)

    assert [both.unit(each.name) for each in CLASSES] == ["EUR"] * 7 + ["JPY"] * 4 + ["EUR"]


def test_price_documents_with_and_without_further_rates_are_valid() -> None:
    names = [name for name in Price.__dataclass_fields__ if name not in ("level", "level_id", "rates", "tiers")]
    old: dict[str, Any] = {name: getattr(price(), name) for name in names} | {"project_id": "acme/chat"}

    assert Price.of_project(old) == price()
    assert Price.of_project(
        old | {"cache_read_token_cost": 0.0, "web_search_cost": 0.01, "reasoning_token_cost": None}
    ) == (price(rates={"cache_read": 0.0, "web_searches": 0.01}))


def test_every_token_class_but_input_and_output_has_a_rate_field() -> None:
    assert list(RATE_FIELDS) == [
        "cache_read_token_cost",
        "cache_read_audio_token_cost",
        "cache_write_5m_token_cost",
        "cache_write_1h_token_cost",
        "audio_input_token_cost",
        "image_input_token_cost",
        "reasoning_token_cost",
        "audio_output_token_cost",
        "image_output_token_cost",
        "web_search_cost",
    ]
    assert TIERED.rate_fields == {
        "cache_read_token_cost": 0.3,
        "cache_write_5m_token_cost": 3.75,
        "reasoning_token_cost": 20.0,
        "web_search_cost": 0.01,
    }
