"""Tests of the prices of a project's models: their limits, how the store reads them, and how long it caches them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

import stores.costs.pricing
from stores.aggregates import AggregatesStore, GroupBy, Grouping
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost, Prices, pricing_of_found, project_prices
from stores.costs.project_prices import prices_of
from stores.database import Database, Document
from stores.database.error_translation import CONVERSION_FAILURE
from stores.database.transactions import Session
from stores.errors import BadInputError, NewModelError
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.query.text_expressions import Expression
from tests.commands import Commands
from tests.stores.calls.builders import end, start
from tests.stores.costs.prices import PROJECT
from tests.waiting import TIMEOUT

COST = NewCost("m", 1e-6, 2e-6, effective_date=0)
FOUND: list[Document] = [{"$match": {"project_id": PROJECT}}]


@pytest.fixture
def costs(database: Database) -> CostsStore:
    return CostsStore(database)


def named(cost_id: str) -> Query:
    return Query({"$expr": {"$eq": [{"$getField": "id"}, {"$literal": cost_id}]}})


async def test_project_with_too_many_prices_is_reported(
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
async def test_too_long_price_names_in_total_are_refused(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(project_prices, "MAX_BYTES", 2_500)
    monkeypatch.setattr(project_prices, "_DECODE_BATCH", at_once)
    long = [NewCost(f"{number}".ljust(1_000, "ü"), 1.0, 1.0) for number in range(2)]
    await costs.create(PROJECT, [*long, *long])
    assert (await prices_of(database, PROJECT)).at(long[0].llm_id, 0)

    await costs.create(PROJECT, [NewCost("x" * 1_000, 1.0, 1.0)])
    with pytest.raises(BadInputError, match=r"more than [0-9,]+ bytes, too many") as refused:
        await prices_of(database, PROJECT)
    assert refused.value.argument == "project_id"


async def test_prices_are_cached_until_they_change(costs: CostsStore, database: Database) -> None:
    [first, second] = await costs.create(PROJECT, [COST, COST])
    await costs.create("acme/other", [NewCost("m", 7.0, 7.0)])
    kept = await prices_of(database, PROJECT)

    assert await prices_of(database, PROJECT) is kept
    assert (await prices_of(database, "acme/other")).total_cost([entry()], 0) == 7.0
    await costs.purge(PROJECT, named(second))
    await costs.create(PROJECT, [NewCost("m", 3.0, 0.0)])
    other = await prices_of(database, PROJECT)
    assert other.total_cost([entry()], 1 << 60) == 3.0
    await costs.purge(PROJECT, named(first))
    assert (await prices_of(database, PROJECT)).total_cost([entry()], 0) == 3.0


async def test_replaced_price_of_the_same_age_is_noticed(costs: CostsStore, database: Database) -> None:
    """Check the case in which the clocks of two servers differ."""
    [first] = await costs.create(PROJECT, [COST])
    document = await database.costs.find_one({"id": first})
    assert document is not None
    assert (await prices_of(database, PROJECT)).total_cost([entry()], 0) == 1e-6

    await costs.purge(PROJECT, named(first))
    await database.costs.insert_one(document | {"_id": "x", "id": "f" * 36, "prompt_token_cost": 5.0})

    assert (await prices_of(database, PROJECT)).total_cost([entry()], 0) == 5.0


async def test_concurrent_readers_share_one_read(
    costs: CostsStore, database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_prices, "_DECODE_BATCH", 10)
    await costs.create(PROJECT, [NewCost(f"m{number}", 1.0, 1.0) for number in range(25)])
    commands.sent.clear()

    found = await asyncio.gather(*(prices_of(database, PROJECT) for _ in range(5)))

    assert len(set(map(id, found))) == 1
    assert sorted(commands.names) == ["aggregate"] * 5 + ["find"] + ["getMore"] * 2
    assert {body["batchSize"] for name, body in commands.sent if name == "getMore"} == {10}
    assert all(found[0].at(f"m{number}", 0) for number in range(25))


async def test_price_cache_is_limited_in_projects(costs: CostsStore, database: Database, commands: Commands) -> None:
    projects = [f"acme/{number}" for number in range(project_prices._MAX_PROJECTS + 1)]
    for project_id in projects:
        await costs.create(project_id, [COST])
        await prices_of(database, project_id)

    for project_id, read in ((projects[-1], 0), (projects[0], 1), (projects[2], 0), (projects[1], 1)):
        commands.sent.clear()
        await prices_of(database, project_id)
        assert (project_id, commands.names.count("find")) == (project_id, read)


async def test_price_version_is_read_from_an_index_alone(costs: CostsStore, database: Database) -> None:
    await costs.create(PROJECT, [COST] * 50)
    stages = [{"$match": {"project_id": PROJECT}}, project_prices._FINGERPRINT]

    explained = await database._database.command(
        {
            "explain": {"aggregate": "costs", "pipeline": stages, "cursor": {}, "hint": "created_at_id"},
            "verbosity": "executionStats",
        }
    )

    assert "'totalDocsExamined': 0" in str(explained)


async def test_prices_are_encoded_for_pipelines_once(costs: CostsStore, database: Database) -> None:
    await costs.create(PROJECT, [COST])
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 0, "usage": [entry()]})

    async with pricing(database) as (_, prices):
        expression = prices.cost_expression()
    async with pricing(database) as (_, again):
        assert again.cost_expression() is expression

    assert isinstance(expression, RawBSONDocument)
    await costs.create(PROJECT, [NewCost("m", 5.0, 5.0)])
    async with pricing(database) as (_, other):
        assert other.cost_expression() != expression


async def test_pipeline_expressions_are_encoded_in_a_thread(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    encoded = stores.costs.pricing._encoded

    def encode(expression: Expression) -> Expression:
        threads.append(threading.current_thread())
        return encoded(expression)

    monkeypatch.setattr(stores.costs.pricing, "_encoded", encode)
    await costs.create(PROJECT, [COST])
    calls = CallsStore(database)
    await calls.write([start(), end(summary={"usage": {"m": {"prompt_tokens": 1}}})])

    assert len((await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=[SortBy("total_cost")])).rows) == 1
    assert len(threads) == 1, "the cost of a call"
    for by in ([], [GroupBy.MODEL]):
        rows = (await AggregatesStore(database).calls(PROJECT, Grouping(by), ["cost", "unpriced_tokens"])).rows
        assert [(row["cost"], row["unpriced_tokens"]) for row in rows] == [(1e-6, 0)]
    assert len(threads) == 4, "two expressions for each path of an entry, one of which was encoded before"
    assert threading.current_thread() not in threads


async def test_prices_too_large_for_a_pipeline_are_refused(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await costs.create(PROJECT, [COST])
    await database.calls.insert_one({"project_id": PROJECT, "started_at": 0, "usage": [entry()]})
    monkeypatch.setattr(project_prices, "MAX_BYTES", 50)

    with pytest.raises(
        BadInputError, match="names and prices have more than 50 bytes, too many to price in one query"
    ) as refused:
        await cost_of_found(database)
    assert refused.value.argument == "filter"


async def write_models(database: Database, models: Sequence[str]) -> None:
    """Write a call for each model, one after the other."""
    usage = [[entry() | {"model": model}] for model in models]
    calls = [{"project_id": PROJECT, "started_at": number, "usage": each} for number, each in enumerate(usage)]
    await database.calls.insert_many(calls)


async def test_project_may_have_thousands_of_unpriced_models(costs: CostsStore, database: Database) -> None:
    await costs.create(PROJECT, [NewCost(f"run-{number:05}5", 1.0 + number, 0.0) for number in range(3)])
    models = [f"run-{number:05}" for number in range(15_000)]
    await write_models(database, ["run-000005", *models, "run-000015"])

    assert await cost_of_found(database) == [1.0, *[None] * 15_000, 2.0]


async def test_pipeline_has_only_models_of_its_calls_if_the_project_has_many(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [f"m{number}" for number in range(20)]
    await costs.create(PROJECT, [NewCost(model, 1.0 + number, 0.0) for number, model in enumerate(models)])
    await write_models(database, models)

    async def cost_of(first: int, last: int) -> list[float | None]:
        return await cost_of_found(database, [*FOUND, {"$match": {"started_at": {"$gte": first, "$lte": last}}}])

    assert await cost_of(0, 19) == [1.0 + number for number in range(20)]
    monkeypatch.setattr(project_prices, "MAX_BYTES", 4_000)

    assert await cost_of(0, 4) == [1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(BadInputError, match="too many to price in one query; narrow it"):
        await cost_of(0, 19)
    assert await cost_of(15, 19) == [16.0, 17.0, 18.0, 19.0, 20.0]


@pytest.mark.parametrize(
    ("limit", "most", "reason"),
    [("MAX_MODELS", 3, "more than 3 models"), ("MAX_BYTES", 7, "have more than 7 bytes")],
)
async def test_calls_of_too_many_models_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, reason: str
) -> None:
    await write_models(database, ["aa", "bb", "cc"])
    monkeypatch.setattr(project_prices, limit, most)
    assert await project_prices._models_of(database, FOUND) == {"aa", "bb", "cc"}

    await write_models(database, ["dd"])
    with pytest.raises(BadInputError, match=f"{reason}, too many to price in one query; narrow it") as refused:
        await project_prices._models_of(database, FOUND)
    assert refused.value.argument == "filter"


async def test_other_conversion_failure_is_not_a_new_model(database: Database) -> None:
    await write_models(database, ["m"])

    with pytest.raises(OperationFailure) as failed:
        async with pricing(database):
            await database.calls.aggregate([{"$set": {"cost": {"$toInt": {"$concat": ["x", ""]}}}}]).to_list(None)
    assert failed.value.code == CONVERSION_FAILURE


async def test_reading_prices_of_one_project_blocks_no_other(
    costs: CostsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, other_is_read = project_prices._read_fingerprint, asyncio.Event()

    async def mark(database: Database, project_id: str) -> tuple[int, int, str]:
        if project_id == PROJECT:
            await asyncio.wait_for(other_is_read.wait(), TIMEOUT)
        return await read(database, project_id)

    monkeypatch.setattr(project_prices, "_read_fingerprint", mark)
    await costs.create(PROJECT, [COST])
    first = asyncio.create_task(prices_of(database, PROJECT))
    await asyncio.sleep(0)
    assert (await prices_of(database, "acme/other")).at("m", 0) is None
    other_is_read.set()

    assert (await first).total_cost([entry()], 0) == 1e-6


def entry() -> dict[str, object]:
    """Return the usage of one prompt token."""
    return {"model": "m", "prompt_tokens": 1, "completion_tokens": 0, "requests": 1, "total_tokens": 1}


async def test_prices_are_assembled_in_a_thread(
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


@asynccontextmanager
async def pricing(database: Database, found: Sequence[Document] = FOUND) -> AsyncIterator[tuple[Session, Prices]]:
    """Yield a session and the prices for a pipeline that computes the cost of each usage entry."""
    encode = Prices.cost_expression
    async with (
        database.snapshot_session([PROJECT]) as session,
        pricing_of_found(database, PROJECT, found, session, encode) as prices,
    ):
        yield session, prices


async def cost_of_found(database: Database, found: Sequence[Document] = FOUND) -> list[float | None]:
    """Return the cost that a pipeline computes for each usage entry, in the order of the calls."""
    async with pricing(database, found) as (session, prices):
        shown: list[Document] = [
            {"$sort": {"started_at": 1}},
            {"$unwind": "$usage"},
            {"$project": {"cost": {"$toDouble": prices.cost_expression()}}},
        ]
        rows = await database.calls.aggregate([*found, *shown], session=session).to_list(None)
        return [row["cost"] for row in rows]


@pytest.mark.parametrize(("most_kept", "read"), [(100, []), (5, ["aggregate"])])
async def test_pipeline_prices_models_under_any_of_their_names(
    costs: CostsStore,
    database: Database,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    most_kept: int,
    read: list[str],
) -> None:
    """Check that a process caches the names unless they are too long in total."""
    monkeypatch.setattr(project_prices, "_MAX_CACHED_CHARACTERS", most_kept)
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


@pytest.mark.parametrize(
    ("model", "cost"), [("gpt-4o", 2.5e-6), ("5", None), ("2026-01-31", None), ("x" * 5_000, None)]
)
async def test_pipeline_fails_on_a_new_model_and_the_next_includes_it(
    costs: CostsStore, database: Database, model: str, cost: float | None
) -> None:
    await costs.create(PROJECT, [COST])
    await write_models(database, ["m"])
    assert await cost_of_found(database) == [1e-6]

    await database.calls.insert_one(
        {"project_id": PROJECT, "started_at": 2, "usage": [entry() | {"model": model}, entry() | {"model": "other"}]}
    )
    with pytest.raises(NewModelError):
        await cost_of_found(database)

    assert await cost_of_found(database) == [1e-6, cost, None]
