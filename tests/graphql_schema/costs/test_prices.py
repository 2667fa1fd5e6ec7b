"""Prices in the API: set, list and purge."""

from typing import Any

from graphql_schema.schema import sdl
from stores.times import parse
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.graphql_schema.costs.asking import LIST, PURGE, RATES, by_id, cost, create, listed


async def test_price_is_listed_as_set(run: Run) -> None:
    before = parse("2026-01-01T00:00:00Z")
    first, second = await create(
        run,
        cost(llmId="a", promptTokenCostUnit="EUR", completionTokenCostUnit="JPY", providerId="own"),
        {"llmId": "b", "promptTokenCost": 0, "completionTokenCost": 2.5e-06},
    )

    found = await listed(run)

    assert found[0] == {
        "id": first,
        "llmId": "a",
        "promptTokenCost": 0.001,
        "completionTokenCost": 0.002,
        "promptTokenCostUnit": "EUR",
        "completionTokenCostUnit": "JPY",
        "effectiveDate": "2020-01-01T00:00:00.000000Z",
        "providerId": "own",
        **dict.fromkeys(RATES),
    }
    assert (found[1]["id"], found[1]["promptTokenCost"], found[1]["completionTokenCost"]) == (second, 0.0, 2.5e-06)
    assert (found[1]["promptTokenCostUnit"], found[1]["completionTokenCostUnit"]) == ("USD", "USD")
    assert found[1]["providerId"] == "default"
    assert parse(found[1]["effectiveDate"]) > before


async def test_further_rates_are_listed_filtered_and_sorted_as_set(run: Run) -> None:
    rates = {name: place / 8 for place, name in enumerate(RATES)}
    await create(run, cost(llmId="all", **rates), cost(llmId="one", cacheReadTokenCost=0.25), cost(llmId="none"))

    found = {node["llmId"]: node for node in await listed(run)}

    assert {name: found["all"][name] for name in RATES} == rates
    assert {name: found["one"][name] for name in RATES} == dict.fromkeys(RATES) | {"cacheReadTokenCost": 0.25}
    assert {name: found["none"][name] for name in RATES} == dict.fromkeys(RATES)
    cheap = {"expr": {"gt": [{"getField": "cache_read_token_cost"}, {"literal": 0.1}]}}
    assert [node["llmId"] for node in await listed(run, query=cheap)] == ["one"]
    down = [{"field": "web_search_cost", "direction": "DESC"}]
    assert (await listed(run, sort=down))[0]["llmId"] == "all"


async def test_repeated_price_is_a_new_price(run: Run) -> None:
    first, again = await create(run, cost(), cost())
    [third] = await create(run, cost())

    assert len({first, again, third}) == 3
    assert len(await listed(run)) == 3


async def test_empty_list_sets_no_prices(run: Run, commands: Commands) -> None:
    assert await create(run) == []
    assert commands.names == []


async def test_prices_are_queried_sorted_and_paged_within_their_project(run: Run) -> None:
    await create(run, *(cost(llmId=f"m{number}", promptTokenCost=number % 3 / 10) for number in range(7)))
    await create(run, cost(llmId="m1"), project="acme/other")

    anything = {
        "expr": {"or": [{"eq": [{"getField": "llm_id"}, {"literal": "m1"}]}, {"gt": [{"literal": 2}, {"literal": 1}]}]}
    }
    sort = [{"field": "prompt_token_cost", "direction": "DESC"}, {"field": "llm_id", "direction": "ASC"}]
    first = (await run(LIST, query=anything, sort=sort, first=4)).data["costs"]
    rest = (await run(LIST, query=anything, sort=sort, after=first["pageInfo"]["endCursor"])).data["costs"]

    assert first["totalCount"] == 7
    assert [node["llmId"] for node in first["nodes"] + rest["nodes"]] == ["m2", "m5", "m1", "m4", "m0", "m3", "m6"]
    assert [node["llmId"] for node in await listed(run, project="acme/other")] == ["m1"]
    recent = {"json": {"$expr": {"$gte": [{"$getField": "effective_date"}, {"$literal": "2021-01-01"}]}}}
    assert await listed(run, query=recent) == []


async def test_purge_deletes_only_the_named_prices_of_its_project(run: Run) -> None:
    ids = await create(run, *(cost(llmId=name) for name in "abcdef"))
    [other] = await create(run, cost(), project="acme/other")
    shapes: list[tuple[dict[str, Any], int]] = [
        (by_id(ids[0]), 1),
        (by_id(ids[0]), 0),
        ({"or": [by_id(ids[1]), by_id(ids[2]), by_id("unknown"), by_id(other)]}, 2),
        ({"in": {"input": {"getField": "id"}, "values": [{"literal": ids[3]}, {"literal": "unknown"}]}}, 1),
        ({"in": {"input": {"getField": "id"}, "values": []}}, 0),
    ]
    for expr, purged in shapes:
        answer = await run(PURGE, query={"expr": expr})
        assert (answer.errors, answer.data["costPurge"]["numPurged"]) == ([], purged)
    raw = {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": ids[4]}]}}
    assert (await run(PURGE, query={"json": raw})).data["costPurge"]["numPurged"] == 1

    assert [node["llmId"] for node in await listed(run)] == ["f"]
    assert len(await listed(run, project="acme/other")) == 1


def test_price_list_is_a_connection_named_after_its_entity() -> None:
    assert "type CostConnection {" in sdl()
