"""Tests of costs by roll-ups: prices that start within an hour, new prices, and tiers."""

from typing import Any

import pytest

from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping
from stores.aggregates.store import Aggregate
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.query import Query
from stores.rollups import settling as settling_module
from stores.rollups.settling import Settling
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, end, start
from tests.stores.rollups.filled import Filled
from tests.stores.rollups.test_settling import settle

HOUR = 3_600 * SECOND
MODEL, TIERED = "loom", "gemini-2.5-pro"
ABOVE = 200_000
"""Number of prompt tokens above which the model has other rates."""
BY_CALLS = Query({"$expr": {"$not": [{"$eq": [{"$getField": "id"}, {"$literal": "none"}]}]}})
WANTED = ("cost", "unpriced_tokens", "total_tokens", "count")

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def settling(database: Database) -> Settling:
    """Return a worker on the marks of `database`."""
    return Settling(database)


async def write(calls: CallsStore, number: int, at: int, counts: dict[str, dict[str, int]]) -> None:
    """Write a whole call with usage."""
    usage: Any = {model: {"completion_tokens": 10, **of_model} for model, of_model in counts.items()}
    await calls.write([start(number, started_at=at), end(number, ended_at=at + SECOND, summary={"usage": usage})])


async def price(database: Database, at: int, of_prompt: float = 1e-6) -> None:
    """Set the price of `MODEL` from a time on."""
    await CostsStore(database).create(PROJECT, [NewCost(MODEL, of_prompt, 2e-6, effective_date=at)])


async def costs(database: Database, grouping: Grouping, query: Query | None = None) -> Aggregate:
    """Return the costs of a grouping."""
    return await AggregatesStore(database).calls(PROJECT, grouping, WANTED, query=query)


async def assert_as_read(database: Database) -> None:
    """Compare costs with those of the same calls that are read one by one."""
    for by in ([GroupBy.MODEL], [], [GroupBy.OP_NAME]):
        for bucket in (Bucket.HOUR, Bucket.DAY, Bucket.MONTH, None):
            grouping = Grouping([*by, *([GroupBy.TIME_BUCKET] if bucket else [])], bucket)
            assert await costs(database, grouping) == await costs(database, grouping, BY_CALLS), grouping


def collections_read(commands: Commands) -> list[str]:
    """Return the collections of the pipelines sent, those that they join included, without repetitions."""
    read = [body for name, body in commands.sent if name == "aggregate"]
    return [body["aggregate"] for body in read if body["aggregate"] in {"calls", "rollups"}]


async def fill(database: Database) -> None:
    """Store and settle calls of three days, one an hour, at a price."""
    calls = CallsStore(database)
    await price(database, NOON - 100 * HOUR)
    for number in range(60):
        await write(calls, number, NOON + number * HOUR + number * 60 * SECOND, {MODEL: {"prompt_tokens": number}})
    await write(calls, 70, NOON, {MODEL: {"prompt_tokens": 3}, "weft": {"prompt_tokens": 5}})
    await settle(Settling(database))


MONTH = Filled(fill)


@pytest.fixture
async def month(database: Database) -> None:
    """Fill `database`."""
    await MONTH.into(database)


@pytest.mark.usefixtures("month")
async def test_cost_by_model_by_day_reads_rollups(database: Database, commands: Commands) -> None:
    grouping = Grouping([GroupBy.MODEL, GroupBy.TIME_BUCKET], Bucket.DAY)
    commands.sent.clear()

    found = await costs(database, grouping)

    assert set(collections_read(commands)) == {"rollups"}
    assert [(row["model"], row["cost"], row["unpriced_tokens"]) for row in found.rows][:2] == [
        (MODEL, pytest.approx(13 * 20e-6 + 69e-6), 0),
        ("weft", None, 15),
    ]
    await assert_as_read(database)


@pytest.mark.usefixtures("month")
@pytest.mark.parametrize("at", [NOON + 5 * HOUR + 5 * 60 * SECOND, NOON + 15 * HOUR, NOON + 12 * HOUR])
async def test_new_price_counts_at_once(database: Database, commands: Commands, at: int) -> None:
    await price(database, at, of_prompt=9e-6)
    commands.sent.clear()

    await costs(database, Grouping())

    read = collections_read(commands)
    assert ("calls" in read) == bool(at % HOUR)
    await assert_as_read(database)


@pytest.mark.usefixtures("month")
async def test_price_that_is_purged_no_longer_counts(database: Database) -> None:
    await price(database, NOON + 20 * HOUR, of_prompt=9e-6)
    [newest] = await database.costs.find({}, {"id": 1}).sort("effective_date", -1).limit(1).to_list(None)
    is_newest = {"$eq": [{"$getField": "id"}, {"$literal": newest["id"]}]}

    await CostsStore(database).purge(PROJECT, Query({"$expr": is_newest}))

    await assert_as_read(database)


async def requests(calls: CallsStore) -> None:
    """Write requests below and above the tier in one hour, and a sum of several."""
    for number, prompt in enumerate((ABOVE, ABOVE + 1, 5, 3 * ABOVE)):
        await write(calls, number, NOON, {TIERED: {"prompt_tokens": prompt}})
    await write(calls, 7, NOON, {TIERED: {"prompt_tokens": 4 * ABOVE, "requests": 5}})
    await write(calls, 8, NOON + 3 * HOUR, {MODEL: {"prompt_tokens": 1}, TIERED: {"prompt_tokens": 2 * ABOVE}})
    await write(calls, 9, NOON + 3 * HOUR, {TIERED: {"prompt_tokens": 9}})


async def test_tiers_have_rollups_of_their_own(
    calls: CallsStore, database: Database, settling: Settling, commands: Commands
) -> None:
    await requests(calls)
    await settle(settling)

    bounds = {"unit": "hour", "started_at": NOON, "usage.model": TIERED}
    rows = [row["usage"] async for row in database.rollups.find(bounds).sort("usage.tier", 1)]
    found = [(row.get("tier"), row["least"], row["most"], row["prompt_tokens"]) for row in rows]
    assert found == [(None, 0, ABOVE, 5 * ABOVE + 5), (ABOVE, ABOVE + 1, 3 * ABOVE, 4 * ABOVE + 1)]
    commands.sent.clear()
    await costs(database, Grouping())
    assert set(collections_read(commands)) == {"rollups"}
    await assert_as_read(database)


async def test_rollups_of_a_version_without_the_tier_are_not_priced(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(settling_module, "tier_bounds", lambda _: ())
        await requests(calls)
        await settle(settling)
    assert await database.rollups.distinct("usage.tier") == []
    commands.sent.clear()

    await costs(database, Grouping())

    assert set(collections_read(commands)) == {"rollups", "calls"}
    await assert_as_read(database)


async def test_days_of_several_versions_are_not_priced(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(settling_module, "tier_bounds", lambda _: ())
        for number, prompt in enumerate((ABOVE - 9, ABOVE + 9)):
            await write(calls, number, NOON + number * HOUR, {TIERED: {"prompt_tokens": prompt}})
        await settle(settling)
    assert await database.rollups.count_documents({"usage.least": ABOVE - 9, "usage.most": ABOVE + 9}) == 1

    await assert_as_read(database)
