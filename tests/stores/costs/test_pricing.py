"""Which price holds for a call, and what its usage costs by it: in Python and the database alike, to the last bit."""

import math
import random
from fractions import Fraction
from typing import Any

import pytest

from stores.costs import Price, Prices
from stores.database import Database
from stores.usage.entries import kept_usage
from tests.stores.costs.prices import price

MOST = 2**63 - 1


def own(date: int, **changes: Any) -> Price:  # noqa: ANN401 -- any field of a price
    return price(effective_date=date, prompt_token_cost=float(date), **changes)


def shipped(date: int, **changes: Any) -> Price:  # noqa: ANN401 -- any field of a price
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
def test_in_effect_before_future_own_before_shipped_latest_first(
    prices: list[Price], started_at: int, held: Price
) -> None:
    for order in (prices, prices[::-1]):
        assert Prices(order).at("m", started_at) == held


def ranked(prices: list[Price], started_at: int) -> Price:
    """The rule, said plainly."""
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


def test_the_price_of_random_ones_is_the_one_that_ranks_first() -> None:
    chance = random.Random(6)  # noqa: S311 -- the same in every run
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


def random_price(chance: random.Random, number: int) -> Price:
    return price(
        id=str(number),
        llm_id=chance.choice(NAMES),
        effective_date=chance.choice([*range(12), -(2**55), 2**57]),
        created_at=chance.randrange(3),
        level=chance.choice(["project", "default"]),
        prompt_token_cost=chance.choice([0.0, 3e-7, 1e-6, 0.1, 1e6, chance.random() / 1e5]),
        completion_token_cost=chance.choice([0.0, 1.5e-5, chance.random()]),
        prompt_token_cost_unit=chance.choice(["USD", "USD", "usd", "EUR"]),
        completion_token_cost_unit=chance.choice(["USD", "USD", "EUR"]),
    )


NAMES = ["gpt-4o", "", "$sum", "a.b", "$$ROOT.x", "nul\0", "ключ"]


def random_counts(chance: random.Random) -> dict[str, int]:
    counts = [0, 1, 7, 123_456, 2**53 + 1, MOST]
    return {name: chance.choice(counts) for name in ("prompt_tokens", "completion_tokens")}


async def test_the_database_computes_the_costs_that_python_does(database: Database) -> None:
    chance = random.Random(63)  # noqa: S311 -- as above
    for _ in range(20):
        prices = Prices([random_price(chance, number) for number in range(chance.randrange(12))])
        calls = [
            {
                "_id": number,
                "started_at": chance.randrange(-1, 13),
                **kept_usage(
                    {"usage": {name: random_counts(chance) for name in chance.sample([*NAMES, "none"], number % 5)}}
                ),
            }
            for number in range(60)
        ]
        await database.calls.delete_many({})
        await database.calls.insert_many(calls)
        computed = {
            "total": prices.total_cost_expression(),
            "each": {"$map": {"input": "$usage", "as": "entry", "in": prices.cost_expression("$$entry")}},
        }

        rows = await database.calls.aggregate([{"$set": computed}, {"$sort": {"_id": 1}}]).to_list(None)

        for row, call in zip(rows, calls, strict=True):
            usage = call.get("usage", [])
            assert (row["each"] or []) == [prices.cost(entry, call["started_at"]) for entry in usage]
            assert row["total"] == prices.total_cost(usage, call["started_at"])
    assert any(row["total"] for row in rows)
    assert any(row["total"] is None and row["each"] for row in rows)


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
def test_what_is_priced_in_another_unit_than_dollars_is_in_no_sum(units: tuple[str, str], cost: float | None) -> None:
    prompt_unit, completion_unit = units
    prices = Prices([price(prompt_token_cost_unit=prompt_unit, completion_token_cost_unit=completion_unit)])
    [entry] = kept_usage({"usage": {"m": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}})["usage"]

    assert prices.cost(entry, 0) == cost


async def test_a_million_small_costs_sum_to_the_last_digits(database: Database) -> None:
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

    exact = Fraction(token) * number
    assert summed["calls"] == number
    assert summed["cost"] == float(exact)
    drifting = 0.0
    for _ in range(number):
        drifting += token
    assert abs(Fraction(drifting) - exact) > 1000 * abs(Fraction(math.nextafter(0.3, 1)) - Fraction(0.3))
