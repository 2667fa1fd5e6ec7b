"""Tests of lists of calls by cost and by tokens: sorts, filters and counts use the current prices."""

import asyncio
import random
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from stores.aggregates import AggregatesStore, Grouping
from stores.calls import CallsFilter, CallsStore, Expansion
from stores.calls.fields import PRICES
from stores.costs import CostsStore, NewCost, Prices, bill, project_prices
from stores.costs.project_prices import prices_of
from stores.database import Database
from stores.errors import BadInputError, UnavailableError
from stores.objects import ObjectsStore
from stores.objects.documents import ObjectVersion
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start

MODELS = ("a", "b", "euro", "unknown", "gpt-4o")
CALLS = 60


@pytest.fixture
def costs(database: Database) -> CostsStore:
    return CostsStore(database)


def costs_more_than(dollars: float) -> Query:
    """Return a query for calls that cost more than `dollars`."""
    return Query({"$expr": {"$gt": [{"$getField": "total_cost"}, {"$literal": dollars}]}})


def usages() -> list[dict[str, Any]]:
    """Return random usage for each call: none, or some of the models."""
    chance = random.Random(36)
    return [
        {model: {"prompt_tokens": chance.randrange(5), "completion_tokens": chance.randrange(5)} for model in used}
        for used in (chance.sample(MODELS, chance.randrange(4)) for _ in range(CALLS))
    ]


async def write(calls: CallsStore, costs: CostsStore) -> list[tuple[str, float | None]]:
    """Write calls and prices that change halfway. Return each call's id and its cost as Python computes it."""
    euro = NewCost("euro", 5.0, 5.0, "EUR", "EUR", effective_date=0)
    await costs.create(
        PROJECT,
        [
            NewCost("a", 0.1, 0.2, effective_date=0),
            NewCost("a", 0.3, 0.0, effective_date=NOON + CALLS // 2 * SECOND),
            NewCost("b", 0.1, 0.7, effective_date=NOON + 2**50),
            euro,
        ],
    )
    await costs.create("acme/other", [NewCost("unknown", 99.0, 99.0, effective_date=0)])
    for number, used in enumerate(usages()):
        await calls.write([start(number), end(number, summary={"usage": used})])
    prices = await prices_of(calls.database, PROJECT)
    rows = await calls.database.calls.find({}).sort("id", 1).to_list(None)
    return [(row["id"], prices.total_cost(row.get("usage", []), row["started_at"])) for row in rows]


def by_cost(known: list[tuple[str, float | None]], *, descending: bool) -> list[str]:
    """Return the ids in order of cost, nulls last and ties by id in the same direction."""
    priced = [(cost, call) for call, cost in known if cost is not None]
    others = [call for call, cost in known if cost is None]
    return [call for _, call in sorted(priced, reverse=descending)] + sorted(others, reverse=descending)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("name", ["total_cost", "totalCost"])
async def test_calls_are_sorted_by_cost_in_both_directions(
    calls: CallsStore, costs: CostsStore, name: str, *, descending: bool
) -> None:
    ordered = by_cost(await write(calls, costs), descending=descending)
    sort = [SortBy(name, descending)]
    for backward in (False, True):
        found: list[str] = []
        request = PageRequest(7, backward=backward)
        more = True
        while more:
            page = await calls.page(PROJECT, request, {"id"}, sort_by=sort)
            part = [row["id"] for row in page.rows]
            found = [*part, *found] if backward else [*found, *part]
            more = page.has_previous if backward else page.has_next
            request = PageRequest(7, page.cursor(page.rows[0 if backward else -1]), backward)
        assert found == ordered


def query(*operation: Any) -> Query:
    name, left, right = operation
    return Query({"$expr": {name: [left, right]}})


COST = {"$getField": "total_cost"}


@pytest.mark.parametrize(
    ("tree", "holds"),
    [
        ({"$gt": [COST, {"$literal": 1}]}, lambda cost: cost is not None and cost > 1),
        ({"$lte": [COST, {"$literal": 0.5}]}, lambda cost: cost is not None and cost <= 0.5),
        ({"$eq": [COST, {"$literal": None}]}, lambda cost: cost is None),
        ({"$not": [{"$lt": [COST, {"$literal": 1}]}]}, lambda cost: cost is None or cost >= 1),
        (
            {"$gt": [{"$literal": 1}, {"$convert": {"input": COST, "to": "double"}}]},
            lambda cost: (cost or 1) < 1 or cost == 0,
        ),
        ({"$gt": [{"$getField": "total_tokens"}, COST]}, None),
    ],
)
async def test_calls_are_filtered_and_counted_by_cost(
    calls: CallsStore,
    costs: CostsStore,
    tree: dict[str, Any],
    holds: Any,
) -> None:
    known = await write(calls, costs)
    tokens = {row["id"]: row.get("total_tokens") for row in await calls.database.calls.find({}).to_list(None)}
    expected = [call for call, cost in known if (holds or below(tokens[call]))(cost)]
    query = Query({"$expr": tree})

    page = await calls.page(PROJECT, PageRequest(CALLS), {"id"}, query=query)

    assert [row["id"] for row in page.rows] == expected
    assert await calls.count(PROJECT, query=query) == len(expected)
    assert (await calls.stats(PROJECT, {"count"}, query=query, limit=3)).count == min(3, len(expected))


def below(tokens: int | None) -> Callable[[float | None], bool]:
    return lambda cost: cost is not None and tokens is not None and tokens > cost


async def test_cost_conditions_combine_with_others_sorts_and_expansion(
    calls: CallsStore, costs: CostsStore, objects: ObjectsStore
) -> None:
    digest = await objects.create(ObjectVersion(PROJECT, "model", {"size": 3}))
    inputs = {"model": f"weave:///{PROJECT}/object/model:{digest}"}
    await costs.create(PROJECT, [NewCost("a", 1.0, 0.0, effective_date=0)])
    for number in range(6):
        used = {"usage": {"a": {"prompt_tokens": number % 3}}}
        await calls.write([start(number, inputs=inputs if number else {}), end(number, summary=used)])
    condition = Query(
        {
            "$expr": {
                "$and": [
                    {"$eq": [{"$getField": "inputs.model.size"}, {"$literal": 3}]},
                    {"$gte": [COST, {"$literal": 1}]},
                    {"$lte": [{"$getField": "started_at"}, {"$literal": (NOON + 4 * SECOND) / SECOND}]},
                ]
            }
        }
    )
    sort = [SortBy("inputs.model.size"), SortBy("total_cost", descending=True), SortBy("started_at", descending=True)]

    page = await calls.page(PROJECT, PageRequest(), {"id"}, CallsFilter(), sort, condition, Expansion(["inputs.model"]))

    assert [row["id"] for row in page.rows] == [call_id(number) for number in (2, 4, 1)]


async def test_price_change_invalidates_no_cursor(calls: CallsStore, costs: CostsStore) -> None:
    known = await write(calls, costs)
    sort = [SortBy("total_cost", descending=True)]
    first = await calls.page(PROJECT, PageRequest(5), {"id"}, sort_by=sort)

    await costs.create(PROJECT, [NewCost("new", 1.0, 1.0)])
    second = await calls.page(PROJECT, PageRequest(5, first.cursor(first.rows[-1])), {"id"}, sort_by=sort)

    assert [row["id"] for row in second.rows] == by_cost(known, descending=True)[5:10]
    other = [SortBy("total_cost", descending=True), SortBy("op_name")]
    with pytest.raises(BadInputError, match="not a cursor of this query"):
        await calls.page(PROJECT, PageRequest(5, first.cursor(first.rows[-1])), {"id"}, sort_by=other)


async def test_prices_are_read_by_the_models_of_the_page(
    calls: CallsStore, costs: CostsStore, commands: Commands
) -> None:
    used = {"usage": {"a": {"prompt_tokens": 2, "completion_tokens": 1}}}
    await calls.write([start(1), end(1, summary=used), start(2), end(2)])
    await costs.create(PROJECT, [NewCost("a", 0.25, 0.5, effective_date=0)])
    await costs.create(PROJECT, [NewCost(f"other {number}", 1.0, 1.0, effective_date=0) for number in range(99)])

    async def cost() -> tuple[list[object], int]:
        commands.sent.clear()
        rows = (await calls.page(PROJECT, PageRequest(), ["id", "costs", "usage", "started_at"])).rows
        bills = [bill(row["usage"], row["started_at"], row[PRICES]) for row in rows if row.get("usage")]
        return [(line["prompt_tokens_total_cost"], line["completion_tokens_total_cost"]) for [line] in bills], len(
            commands.sent
        )

    assert await cost() == ([(0.5, 0.5)], 2)
    await costs.create(PROJECT, [NewCost("a", 0.5, 1.0, effective_date=1)])
    assert await cost() == ([(1.0, 1.0)], 2)
    with pytest.raises(BadInputError, match="cursor"):
        await calls.page(PROJECT, PageRequest(cursor="none"), ["costs"])


async def test_new_models_are_priced_in_lists_counts_and_sums(
    calls: CallsStore, costs: CostsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the process's cache of model names: after a new model, queries read the names for a few seconds."""
    await costs.create(PROJECT, [NewCost("a", 1.0, 1.0, effective_date=0), NewCost("b", 2.0, 2.0, effective_date=0)])

    async def write(number: int, model: str) -> None:
        usage = {model: {"prompt_tokens": 1}}
        await calls.write([start(number), end(number, summary={"usage": usage, "status_counts": {"success": 1}})])

    async def dearest() -> list[str]:
        page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=[SortBy("total_cost", descending=True)])
        return [row["id"] for row in page.rows]

    async def count() -> int:
        return await calls.count(PROJECT, query=costs_more_than(0.5))

    async def total() -> float:
        rows = (await AggregatesStore(calls.database).calls(PROJECT, Grouping(), ["cost", "unpriced_tokens"])).rows
        return float(rows[0]["cost"] + 100 * rows[0]["unpriced_tokens"])

    await write(0, "a")
    assert (await dearest(), await count(), await total()) == ([call_id(0)], 1, 1.0)
    await write(1, "b")
    assert await dearest() == [call_id(1), call_id(0)]
    await write(2, "openai/gpt-4o")
    assert await count() == 2
    await write(3, "unknown")
    assert await total() == pytest.approx(103, abs=1e-3)
    for later, each in ((0.0, 3), (60.0, 2)):
        monkeypatch.setattr(project_prices, "monotonic", lambda later=later: monotonic() + later)
        commands.sent.clear()
        assert (await dearest(), await count()) == ([call_id(number) for number in (1, 0, 2, 3)], 2)
        assert commands.names == ["aggregate"] * 2 * each


async def test_concurrent_queries_each_learn_their_new_model(calls: CallsStore, costs: CostsStore) -> None:
    models = [f"m{number}" for number in range(12)]
    await costs.create(PROJECT, [NewCost(model, 1.0 + number, 0.0) for number, model in enumerate(models)])

    async def dearest(number: int) -> tuple[list[str], float]:
        only = CallsFilter(op_names=[f"op-{number}"])
        sort = [SortBy("total_cost", descending=True)]
        page = await calls.page(PROJECT, PageRequest(), {"id"}, only, sort, costs_more_than(0.5))
        rows = (await AggregatesStore(calls.database).calls(PROJECT, Grouping(), ["cost"], only)).rows
        return [row["id"] for row in page.rows], rows[0]["cost"]

    for number, model in enumerate(models):
        usage = {model: {"prompt_tokens": 1}}
        await calls.write([start(number, op_name=f"op-{number}"), end(number, summary={"usage": usage})])
    assert await dearest(0) == ([call_id(0)], 1.0)

    found = await asyncio.gather(*map(dearest, range(1, 12)))

    assert found == [([call_id(number)], 1.0 + number) for number in range(1, 12)]


@pytest.mark.parametrize("most_kept", [100_000, 5])
async def test_call_with_a_model_newer_than_the_model_list_is_in_no_page(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch, most_kept: int
) -> None:
    """Check that a page shows the moment when its names are read, so that no call with a new model lacks a cost."""
    monkeypatch.setattr(project_prices, "_MAX_CACHED_CHARACTERS", most_kept)
    read = project_prices._models_of
    numbers = iter(range(1, 100))

    async def read_before_a_write(*args: Any) -> frozenset[str]:
        names = await read(*args)
        number = next(numbers)
        used = {"usage": {f"ft:gpt-4o:{number}": {"prompt_tokens": 1}}}
        await calls.write([start(number), end(number, summary=used)])
        return names

    monkeypatch.setattr(project_prices, "_models_of", read_before_a_write)
    await calls.write([start(0), end(0, summary={"usage": {"gpt-4o": {"prompt_tokens": 1}}})])

    async def by_cost() -> list[str]:
        page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=[SortBy("total_cost")])
        return [row["id"] for row in page.rows]

    assert await by_cost() == [call_id(0)]
    assert {call_id(0), call_id(1)} == set(await by_cost())
    assert await calls.count(PROJECT, query=Query({"$expr": {"$eq": [COST, {"$literal": None}]}})) == 0


async def test_query_that_finds_new_models_each_time_is_refused(
    calls: CallsStore, costs: CostsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(calls, costs)

    async def none(*_: object) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(project_prices, "_models_of", none)
    with pytest.raises(UnavailableError, match="with new models"):
        await calls.count(PROJECT, query=costs_more_than(0.5))


async def test_prices_are_read_once_and_only_if_costs_are_used(
    calls: CallsStore, costs: CostsStore, commands: Commands
) -> None:
    await write(calls, costs)
    await costs.create(PROJECT, [NewCost("new", 1.0, 1.0)])
    for number, read in ((1, ["find", "aggregate"]), (CALLS, [])):
        commands.sent.clear()
        await calls.page(PROJECT, PageRequest(number), {"id"}, sort_by=[SortBy("total_cost")])
        assert commands.names == ["aggregate", *read, "aggregate"]
    commands.sent.clear()
    await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=[SortBy("total_tokens")])
    assert commands.names == ["aggregate"]


@pytest.mark.parametrize("name", ["summary.weave.costs", "summary.weave.costs.gpt-4o.prompt_tokens_total_cost"])
async def test_costs_in_summaries_are_not_queryable_paths(calls: CallsStore, name: str) -> None:
    await calls.write([start(), end(summary={"weave": {"costs": {"gpt-4o": 1}, "costs_of": 1}})])
    for argument, options in (
        ("sort_by.0.field", {"sort_by": [SortBy(name)]}),
        ("query.json.$expr.$gt.0.$getField", {"query": query("$gt", {"$getField": name}, {"$literal": 0})}),
    ):
        wanted: dict[str, Any] = options
        with pytest.raises(BadInputError, match="by total_cost") as refused:
            await calls.page(PROJECT, PageRequest(), {"id"}, **wanted)
        assert refused.value.argument == argument

    unknown = query("$eq", {"$getField": "summary.weave.costs_of"}, {"$literal": 1})
    assert await calls.count(PROJECT, query=unknown) == 1


async def test_client_values_never_become_operators(calls: CallsStore, costs: CostsStore) -> None:
    names = ["$$ROOT", "$sum", "$started_at", "a.b", "nul\0", "$literal"]
    await costs.create(PROJECT, [NewCost(name, 1.0, 0.0, effective_date=0) for name in names])
    usage = {name: {"prompt_tokens": 1} for name in names}
    await calls.write([start(), end(summary={"usage": usage})])

    for cost, count in ((len(names), 1), (len(names) + 1, 0)):
        assert await calls.count(PROJECT, query=query("$eq", COST, {"$literal": cost})) == count


async def test_calls_are_sorted_by_tokens(calls: CallsStore) -> None:
    for number, used in enumerate([{"total_tokens": 5}, {}, None, {"prompt_tokens": 7}, {"total_tokens": 2**62}]):
        await calls.write([start(number), end(number, summary={} if used is None else {"usage": {"m": used}})])

    for descending, order in ((True, (4, 3, 0, 1, 2)), (False, (1, 0, 3, 4, 2))):
        page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=[SortBy("total_tokens", descending)])
        assert [row["id"] for row in page.rows] == [call_id(number) for number in order]
    assert await calls.count(PROJECT, query=query("$gte", {"$getField": "totalTokens"}, {"$literal": 7})) == 2


@pytest.mark.not_on("cluster", reason="each shard reads a whole page")
async def test_calls_with_the_most_tokens_are_found_by_an_index(calls: CallsStore, database: Database) -> None:
    await database.calls.insert_many(
        [
            {"_id": number, "id": str(number), "project_id": PROJECT, "visible": True, "total_tokens": number}
            for number in range(1_000)
        ]
    )

    plan = await calls.explain(PROJECT, sort_by=[SortBy("total_tokens", descending=True)])

    assert not plan.sorts_in_memory
    assert plan.keys_examined <= 101


def test_empty_price_list_has_no_total_cost() -> None:
    assert Prices([]).total_cost([], 0) is None
