"""The prices of all models of a project: how many may be, how they are read, and how long they are kept."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from bson.raw_bson import RawBSONDocument

from stores.costs import CostsStore, NewCost, Prices, prices_of, pricing_of_found, project_prices
from stores.database import Database, Document
from stores.errors import BadInputError, NewModelError
from stores.query import Query
from tests.commands import Commands
from tests.stores.costs.prices import PROJECT

COST = NewCost("m", 1e-6, 2e-6, effective_date=0)


@pytest.fixture
def costs(database: Database) -> CostsStore:
    return CostsStore(database)


def named(cost_id: str) -> Query:
    return Query({"$expr": {"$eq": [{"$getField": "id"}, {"$literal": cost_id}]}})


async def test_a_project_with_too_many_prices_says_so(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_prices, "MAX_PRICES", 3)
    await costs.create(PROJECT, [COST] * 3)
    assert (await prices_of(database, PROJECT)).at("m", 0)

    await costs.create(PROJECT, [COST])
    with pytest.raises(BadInputError, match="more than 3 costs, too many") as refused:
        await prices_of(database, PROJECT)
    assert refused.value.argument == "project_id"


@pytest.mark.parametrize("at_once", [1, 2_000])
async def test_prices_of_names_too_long_together_are_refused(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(project_prices, "MAX_BYTES", 2_500)
    monkeypatch.setattr(project_prices, "_AT_ONCE", at_once)
    long = [NewCost(f"{number}".ljust(1_000, "ü"), 1.0, 1.0) for number in range(2)]
    await costs.create(PROJECT, [*long, *long])
    assert (await prices_of(database, PROJECT)).at(long[0].llm_id, 0)

    await costs.create(PROJECT, [NewCost("x" * 1_000, 1.0, 1.0)])
    with pytest.raises(BadInputError, match=r"take more than [0-9,]+ bytes, too many") as refused:
        await prices_of(database, PROJECT)
    assert refused.value.argument == "project_id"


async def test_prices_are_kept_until_the_project_has_others(costs: CostsStore, database: Database) -> None:
    [first, second] = await costs.create(PROJECT, [COST, COST])
    await costs.create("acme/other", [NewCost("m", 7.0, 7.0)])
    kept = await prices_of(database, PROJECT)

    assert await prices_of(database, PROJECT) is kept
    assert (await prices_of(database, "acme/other")).cost(entry(), 0) == 7.0
    await costs.purge(PROJECT, named(second))
    await costs.create(PROJECT, [NewCost("m", 3.0, 0.0)])
    other = await prices_of(database, PROJECT)
    assert other.cost(entry(), 1 << 60) == 3.0
    await costs.purge(PROJECT, named(first))
    assert (await prices_of(database, PROJECT)).cost(entry(), 0) == 3.0


async def test_a_price_in_place_of_another_of_the_same_age_is_another(costs: CostsStore, database: Database) -> None:
    """As where the clocks of two servers differ."""
    [first] = await costs.create(PROJECT, [COST])
    document = await database.costs.find_one({"id": first})
    assert document is not None
    assert (await prices_of(database, PROJECT)).cost(entry(), 0) == 1e-6

    await costs.purge(PROJECT, named(first))
    await database.costs.insert_one(document | {"_id": "x", "id": "f" * 36, "prompt_token_cost": 5.0})

    assert (await prices_of(database, PROJECT)).cost(entry(), 0) == 5.0


async def test_many_who_ask_at_once_read_but_once(
    costs: CostsStore, database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_prices, "_AT_ONCE", 10)
    await costs.create(PROJECT, [NewCost(f"m{number}", 1.0, 1.0) for number in range(25)])
    commands.sent.clear()

    found = await asyncio.gather(*(prices_of(database, PROJECT) for _ in range(5)))

    assert len(set(map(id, found))) == 1
    assert sorted(commands.names) == ["aggregate"] * 5 + ["find"] + ["getMore"] * 2
    assert {body["batchSize"] for name, body in commands.sent if name == "getMore"} == {10}
    assert all(found[0].at(f"m{number}", 0) for number in range(25))


async def test_only_so_many_projects_are_kept(costs: CostsStore, database: Database, commands: Commands) -> None:
    projects = [f"acme/{number}" for number in range(project_prices._KEPT + 1)]
    for project_id in projects:
        await costs.create(project_id, [COST])
        await prices_of(database, project_id)

    for project_id, read in ((projects[-1], 0), (projects[0], 1), (projects[2], 0), (projects[1], 1)):
        commands.sent.clear()
        await prices_of(database, project_id)
        assert (project_id, commands.names.count("find")) == (project_id, read)


async def test_the_mark_of_prices_is_read_from_an_index_alone(costs: CostsStore, database: Database) -> None:
    await costs.create(PROJECT, [COST] * 50)
    stages = [{"$match": {"project_id": PROJECT}}, project_prices._MARK]

    explained = await database._database.command(
        {
            "explain": {"aggregate": "costs", "pipeline": stages, "cursor": {}, "hint": "created_at_id"},
            "verbosity": "executionStats",
        }
    )

    assert "'totalDocsExamined': 0" in str(explained)


async def test_prices_are_encoded_for_pipelines_but_once(costs: CostsStore, database: Database) -> None:
    await costs.create(PROJECT, [COST])
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 0, "usage": [entry()]})

    async with pricing_of_found(database, PROJECT, FOUND) as prices:
        expression = prices.cost_expression()
    async with pricing_of_found(database, PROJECT, FOUND) as again:
        assert again.cost_expression() is expression

    assert isinstance(expression, RawBSONDocument)
    assert prices.size == len(expression.raw)
    await costs.create(PROJECT, [NewCost("m", 5.0, 5.0)])
    async with pricing_of_found(database, PROJECT, FOUND) as other:
        assert other.cost_expression() != expression


async def test_prices_that_a_pipeline_cannot_hold_are_refused(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await costs.create(PROJECT, [COST])
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 0, "usage": [entry()]})
    monkeypatch.setattr(project_prices, "MAX_BYTES", 50)

    with pytest.raises(BadInputError, match="take more than 50 bytes"):
        await cost_of_found(database)


def entry() -> dict[str, object]:
    """One token of a prompt."""
    return {"model": "m", "prompt_tokens": 1, "completion_tokens": 0, "requests": 1, "total_tokens": 1}


async def test_prices_are_put_together_beside_the_event_loop(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_together = project_prices._prices
    threads: list[threading.Thread] = []

    def put_together_here(rows: Sequence[Document]) -> Prices:
        threads.append(threading.current_thread())
        return put_together(rows)

    monkeypatch.setattr(project_prices, "_prices", put_together_here)
    await costs.create(PROJECT, [COST])
    await prices_of(database, PROJECT)

    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


FOUND: list[Document] = [{"$match": {"project_id": PROJECT}}]


async def cost_of_found(database: Database) -> list[float | None]:
    """What a pipeline says that each entry of usage costs, in the order of the calls."""
    async with pricing_of_found(database, PROJECT, FOUND) as prices:
        found: list[Document] = [*FOUND, {"$sort": {"started_at": 1}}, {"$unwind": "$usage"}]
        shown: Document = {"$project": {"cost": {"$toDouble": prices.cost_expression()}}}
        return [row["cost"] for row in await database.calls.aggregate([*found, shown]).to_list(None)]


@pytest.mark.parametrize(("most_kept", "read"), [(100, []), (5, ["aggregate"])])
async def test_a_pipeline_prices_the_models_that_calls_state_under_any_of_their_names(
    costs: CostsStore,
    database: Database,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    most_kept: int,
    read: list[str],
) -> None:
    """A process keeps names unless they are too long together."""
    monkeypatch.setattr(project_prices, "_MOST_KEPT", most_kept)
    await costs.create(PROJECT, [COST])
    usage = [{"model": name, "prompt_tokens": 2, "completion_tokens": 0} for name in ("m", "openai/gpt-4o", "unknown")]
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 1 << 60, "usage": usage})
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 1 << 60})
    commands.sent.clear()

    assert await cost_of_found(database) == [2e-6, 5e-6, None]
    assert commands.names == ["aggregate", "find", "aggregate", "aggregate"]
    commands.sent.clear()
    assert await cost_of_found(database) == [2e-6, 5e-6, None]
    assert commands.names == ["aggregate", *read, "aggregate"]


@pytest.mark.parametrize("most_kept", [100, 5])
async def test_a_pipeline_fails_on_a_model_that_is_new_and_the_next_one_knows_it(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch, most_kept: int
) -> None:
    await costs.create(PROJECT, [COST])
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 1, "usage": [entry()]})
    assert await cost_of_found(database) == [1e-6]
    monkeypatch.setattr(project_prices, "_MOST_KEPT", most_kept)

    for number, model in enumerate(("gpt-4o", "5", "unknown")):
        await database.calls.insert_one(
            {"project_id": PROJECT, "started_at": 2 + number, "usage": [entry() | {"model": model}]}
        )
        if number == 0 or most_kept == 100:
            with pytest.raises(NewModelError):
                await cost_of_found(database)

    assert await cost_of_found(database) == [1e-6, 2.5e-6, None, None]
