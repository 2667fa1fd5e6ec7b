"""Tests of the prices that the costs store refuses, and of its separation of projects."""

import math
from dataclasses import replace
from typing import Any

import pytest

from stores.costs import CostsStore, NewCost
from stores.costs.price_timeline import RATE_FIELDS
from stores.database import Database
from stores.errors import BadInputError
from tests.commands import Commands
from tests.stores.costs.prices import PROJECT

COST = NewCost("m", 1e-6, 2e-6, effective_date=0)


@pytest.fixture
def costs(database: Database) -> CostsStore:
    return CostsStore(database)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["prompt_token_cost", "completion_token_cost"])
async def test_non_finite_price_is_refused(costs: CostsStore, database: Database, name: str, number: float) -> None:
    wrong: dict[str, Any] = {name: number}
    with pytest.raises(BadInputError, match="must be a finite number") as refused:
        await costs.create(PROJECT, [COST, replace(COST, **wrong)])

    assert refused.value.argument == f"costs.1.{name}"
    assert await database.costs.count_documents({}) == 0


async def test_negative_zero_price_is_zero(costs: CostsStore, database: Database) -> None:
    await costs.create(PROJECT, [replace(COST, prompt_token_cost=-0.0)])

    found = await database.costs.find_one({})
    assert found is not None
    assert math.copysign(1, found["prompt_token_cost"]) == 1


async def test_prices_of_many_calls_are_read_at_once_by_project(costs: CostsStore, commands: Commands) -> None:
    await costs.create(PROJECT, [COST, replace(COST, llm_id="n")])
    await costs.create("acme/other", [replace(COST, prompt_token_cost=7.0)])
    commands.sent.clear()
    keys = [(PROJECT, ("m",)), (PROJECT, ("n", "gpt-4o")), ("acme/other", ("m",)), ("acme/none", ("m",))]

    found = await costs.prices(keys)

    prompt_costs = [
        [price and price.prompt_token_cost for model in models for price in [found[key].at(model, 0)]]
        for key in keys
        for models in [key[1]]
    ]
    assert prompt_costs == [[1e-6], [1e-6, 2.5e-6], [7.0], [None]]
    assert commands.names == ["find"] * 3


async def test_further_rates_are_stored_and_absent_by_default(costs: CostsStore, database: Database) -> None:
    rates = {name: float(place) for place, name in enumerate(RATE_FIELDS)}
    await costs.create(PROJECT, [replace(COST, llm_id="all", rates=rates), replace(COST, llm_id="none")])

    documents = {row["llm_id"]: row async for row in database.costs.find({})}
    assert {name: documents["all"][name] for name in RATE_FIELDS} == rates
    assert set(documents["all"]) - set(documents["none"]) == set(RATE_FIELDS)
    key = PROJECT, ("all", "none")
    prices = (await costs.prices([key]))[key]
    found = [prices.at(model, 0) for model in key[1]]
    assert [each and each.rate_fields for each in found] == [rates, {}]
    assert found[0] is not None
    assert found[0].rates_for(1)["cache_write_5m"] == rates["cache_write_5m_token_cost"]


@pytest.mark.parametrize("name", RATE_FIELDS)
@pytest.mark.parametrize(
    ("number", "wrong"), [(math.nan, "must be a finite"), (-1.0, "is negative"), (2e6, "above the limit of 1,000,000")]
)
async def test_further_rates_are_validated_like_the_others(
    costs: CostsStore, database: Database, name: str, number: float, wrong: str
) -> None:
    with pytest.raises(BadInputError, match=wrong) as refused:
        await costs.create(PROJECT, [COST, replace(COST, rates={name: number})])

    assert refused.value.argument == f"costs.1.{name}"
    assert await database.costs.count_documents({}) == 0
