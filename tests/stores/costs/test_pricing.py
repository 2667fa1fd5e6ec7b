"""Tests of the choice of a call's price and of its costs: Python and MongoDB compute bit-equal results."""

import random
from decimal import Decimal
from typing import Any

import pytest
from bson import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores.costs import Price, Prices
from stores.database import Database
from stores.usage.classes import BY_NAME, PARTS, STORED, Side
from stores.usage.entries import kept_usage
from tests.chance import cases
from tests.stores.costs.prices import price

MOST = 2**63 - 1


def own(date: int, **changes: Any) -> Price:
    return price(effective_date=date, prompt_token_cost=float(date), **changes)


def shipped(date: int, **changes: Any) -> Price:
    return price(effective_date=date, prompt_token_cost=date + 0.5, level="default", level_id="default", **changes)


@pytest.mark.parametrize(
    ("prices", "started_at", "held"),
    [
        ([own(10)], 10, own(10)),
        ([own(10)], 9, own(10)),
        ([own(10), own(20)], 15, own(10)),
        ([own(10), own(20)], 20, own(20)),
        ([own(10), own(20)], 5, own(20)),
        ([own(10), shipped(15)], 20, own(10)),
        ([own(30), shipped(15)], 20, shipped(15)),
        ([own(30), shipped(15)], 30, own(30)),
        ([own(30), shipped(40)], 20, own(30)),
        ([shipped(30), shipped(40)], 20, shipped(40)),
        ([own(10), own(20), shipped(1), shipped(25)], 12, own(10)),
        ([own(10), shipped(5)], 7, shipped(5)),
        ([own(10, created_at=1), own(10, created_at=2)], 10, own(10, created_at=2)),
        ([own(10, created_at=1, id="b"), own(10, created_at=1, id="a")], 3, own(10, created_at=1, id="b")),
    ],
)
def test_prices_rank_by_effect_then_owner_then_date(prices: list[Price], started_at: int, held: Price) -> None:
    for order in (prices, prices[::-1]):
        assert Prices(order).at("m", started_at) == held


def ranked(prices: list[Price], started_at: int) -> Price:
    """Return the price that the rule chooses, by a direct statement of the rule."""
    return max(
        prices,
        key=lambda one: (
            one.effective_date <= started_at,
            one.level == "project",
            one.effective_date,
            one.created_at,
            one.id,
        ),
    )


def test_first_ranked_price_is_chosen_among_random_ones() -> None:
    chance = random.Random(6)
    for _ in range(2_000):
        prices = [
            price(
                id=str(number),
                effective_date=chance.randrange(12),
                created_at=chance.randrange(3),
                level=chance.choice(["project", "default"]),
            )
            for number in range(chance.randrange(1, 9))
        ]
        moment = chance.randrange(-1, 13)
        assert Prices(prices).at("m", moment) == ranked(prices, moment)


NAMES = ["gpt-4o", "", "$sum", "a.b", "$$ROOT.x", "nul\0", "ключ"]

rates = st.sampled_from([0.0, 3e-7, 1e-6, 1.5e-5, 0.1, 1e6]) | st.floats(1e-300, 1e6)
"""Rates without decimals between 0 and 2.2e-308, which MongoDB does not convert to a double."""

moments = st.sampled_from([*range(12), -(2**55), 2**57])
counts = st.sampled_from([0, 1, 7, 123_456, 2**53 + 1]) | st.integers(0, 2**53)


@st.composite
def random_prices(draw: st.DrawFn) -> list[Price]:
    further = st.dictionaries(st.sampled_from(STORED), rates, max_size=4)
    above = draw(st.lists(st.integers(0, 2_000_000), unique=True, max_size=2).map(sorted))
    of_any_class = st.dictionaries(st.sampled_from([*BY_NAME]), rates, max_size=4)
    one = st.builds(
        price,
        llm_id=st.sampled_from(NAMES),
        effective_date=moments,
        level=st.sampled_from(["project", "default"]),
        prompt_token_cost=rates,
        completion_token_cost=rates,
        prompt_token_cost_unit=st.sampled_from(["USD", "usd", "EUR"]),
        completion_token_cost_unit=st.sampled_from(["USD", "EUR"]),
        rates=st.just({}) | further,
        tiers=st.just(()) | st.tuples(*(st.tuples(st.just(number), of_any_class) for number in above)),
    )
    return draw(st.lists(one, max_size=8))


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a usage entry as calls store it; no part exceeds its total."""
    parts = draw(st.just({}) | st.dictionaries(st.sampled_from(STORED), st.integers(1, 2**50), max_size=4))
    sums = {side: sum(parts.get(name, 0) for name in PARTS[side]) for side in (Side.INPUT, Side.OUTPUT)}
    entry = {
        "model": draw(st.sampled_from([*NAMES, "none"])),
        "prompt_tokens": draw(st.just(MOST) | counts.map(lambda count: count + sums[Side.INPUT])),
        "completion_tokens": draw(counts) + sums[Side.OUTPUT],
        "requests": draw(st.sampled_from([0, 1, 2, MOST])),
    }
    return entry | ({"classes": parts} if parts else {}) | draw(st.sampled_from([{}, {"sums_up": True}]))


calls_of = st.lists(st.tuples(st.integers(-1, 13), st.lists(entries(), max_size=4)), min_size=1, max_size=20)


@settings(max_examples=cases(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(priced=random_prices(), calls=calls_of)
async def test_mongodb_computes_the_same_costs_as_python(
    database: Database, priced: list[Price], calls: list[tuple[int, list[dict[str, Any]]]]
) -> None:
    prices = Prices(priced)
    computed = {
        "total": prices.total_cost_expression(),
        "each": {"$map": {"input": "$usage", "as": "entry", "in": prices.cost_expression("$$entry")}},
        "unpriced": {"$map": {"input": "$usage", "as": "entry", "in": prices.is_unpriced_expression("$$entry")}},
    }
    documents = [{"started_at": Int64(moment), "usage": usage} for moment, usage in calls]

    rows = await database.calls.database.aggregate(
        [{"$documents": {"$literal": documents}}, {"$set": computed}]
    ).to_list(None)

    for row, (moment, usage) in zip(rows, calls, strict=True):
        costs = [prices.exact_cost(entry, moment) for entry in usage]
        assert [cost and cost.to_decimal() for cost in row["each"]] == costs
        assert row["unpriced"] == [cost is None for cost in costs]
        assert row["total"] == prices.total_cost(usage, moment)


CLASSED = price(
    prompt_token_cost=3e-6,
    completion_token_cost=1.5e-5,
    rates={"cache_read": 3e-7, "cache_write_5m": 3.75e-6, "web_searches": 0.01},
    tiers=((200_000, {"input": 6e-6, "output": 2.25e-5, "cache_read": 6e-7}),),
)


@pytest.mark.parametrize(
    ("entry", "cost"),
    [
        pytest.param({"prompt_tokens": 6}, "0.000018", id="plain"),
        pytest.param({"prompt_tokens": 100, "classes": {"cache_read": 90}}, "0.000057", id="10 x 3e-6 + 90 x 3e-7"),
        pytest.param(
            {"prompt_tokens": 100, "classes": {"cache_write_1h": 40}}, "0.00033", id="like 5m: 60 x 3e-6 + 40 x 3.75e-6"
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 20, "classes": {"reasoning": 15}},
            "0.00033",
            id="reasoning as output: 10 x 3e-6 + 20 x 1.5e-5",
        ),
        pytest.param({"classes": {"web_searches": 2}}, "0.02", id="searches without a token"),
        pytest.param({"prompt_tokens": 200_000, "completion_tokens": 1}, "0.600015", id="not above the tier"),
        pytest.param(
            {"prompt_tokens": 200_001, "completion_tokens": 1, "classes": {"cache_read": 200_000}},
            "0.1200285",
            id="all tokens at the tier: 1 x 6e-6 + 200,000 x 6e-7 + 1 x 2.25e-5",
        ),
        pytest.param(
            {"prompt_tokens": 200_001, "completion_tokens": 1, "requests": 1},
            "1.2000285",
            id="one request above the tier",
        ),
        pytest.param(
            {"prompt_tokens": 200_001, "completion_tokens": 1, "requests": 2},
            "0.600018",
            id="two requests, of which none need be above the tier",
        ),
        pytest.param(
            {"prompt_tokens": 200_001, "completion_tokens": 1, "requests": 0, "sums_up": True},
            "0.600018",
            id="a sum that does not say of how many requests",
        ),
    ],
)
async def test_entry_cost_is_the_sum_over_its_token_classes(
    database: Database, entry: dict[str, Any], cost: str
) -> None:
    prices = Prices([CLASSED])
    whole = {"model": "m", "prompt_tokens": 0, "completion_tokens": 0} | entry

    [row] = await database.calls.database.aggregate(
        [{"$documents": [{"usage": whole, "started_at": 0}]}, {"$set": {"cost": prices.cost_expression()}}]
    ).to_list(None)

    assert prices.exact_cost(whole, 0) == Decimal(cost)
    assert row["cost"].to_decimal() == Decimal(cost)
    assert repr(prices.total_cost([whole], 0)) == repr(float(cost))


@pytest.mark.parametrize(
    ("units", "cost"),
    [
        (("USD", "USD"), 3.0),
        (("usd", "Usd"), 3.0),
        (("EUR", "USD"), 2.0),
        (("USD", "EUR"), 1.0),
        (("EUR", "EUR"), None),
    ],
)
def test_non_dollar_price_is_in_no_sum(units: tuple[str, str], cost: float | None) -> None:
    prompt_unit, completion_unit = units
    prices = Prices([price(prompt_token_cost_unit=prompt_unit, completion_token_cost_unit=completion_unit)])
    [entry] = kept_usage({"usage": {"m": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}})["usage"]

    assert prices.total_cost([entry], 0) == cost


async def test_million_small_costs_add_up_exactly(database: Database) -> None:
    token, number = 0.0000003, 1_000_000
    prices = Prices([price(prompt_token_cost=token, completion_token_cost=0.0)])
    await database.calls.insert_one({"started_at": 0, **kept_usage({"usage": {"m": {"prompt_tokens": 1}}})})

    [summed] = await database.calls.aggregate(
        [
            {"$project": {"usage": 1, "started_at": 1, "of": {"$range": [0, number]}}},
            {"$unwind": "$of"},
            {"$unwind": "$usage"},
            {"$group": {"_id": None, "calls": {"$sum": 1}, "cost": {"$sum": prices.cost_expression()}}},
        ]
    ).to_list(None)

    assert summed["calls"] == number
    assert summed["cost"].to_decimal() == Decimal("0.3")


def test_five_tokens_at_a_millionth_cost_five_millionths() -> None:
    entry = {"model": "m", "prompt_tokens": 5, "completion_tokens": 0}

    assert repr(Prices([price(prompt_token_cost=0.000001)]).total_cost([entry], 0)) == "5e-06"
    assert repr(5 * 0.000001) == "4.9999999999999996e-06"
