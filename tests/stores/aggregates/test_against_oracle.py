"""Tests that aggregates of random calls equal the model's, for every grouping."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping, UsageOf
from stores.aggregates.metrics import NAMES
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database, Document
from stores.query.sort import SortBy
from stores.usage import own
from stores.usage.own import FEW
from tests.commands import Commands
from tests.stores.aggregates import oracle
from tests.stores.aggregates.random_calls import WRITERS, Pairs, random_trace
from tests.stores.calls.builders import PROJECT

PRICES = {
    "loom-large": {"input": 0.0000025, "cache_read": 0.00000125, "output": 0.00001, "reasoning": 0.00001},
    "loom-small": {"input": 0.00000015, "cache_read": 0.000000015, "output": 0.0000006, "reasoning": 0.0000012},
    "warp.2$": {"input": 0.0, "cache_read": 0.0, "output": 0.3, "reasoning": 0.3},
}
GROUPINGS = (
    Grouping(),
    Grouping([GroupBy.MODEL]),
    Grouping([GroupBy.OP_NAME]),
    Grouping([GroupBy.OP_VERSION, GroupBy.STATUS]),
    Grouping([GroupBy.THREAD, GroupBy.USER]),
    Grouping([GroupBy.MODEL, GroupBy.TIME_BUCKET], Bucket.DAY),
    Grouping([GroupBy.MODEL, GroupBy.TIME_BUCKET], Bucket.DAY, "Europe/Berlin"),
    Grouping([GroupBy.TIME_BUCKET], Bucket.MINUTE),
    Grouping([GroupBy.TIME_BUCKET, GroupBy.OP_NAME], Bucket.HOUR, "Europe/Berlin"),
    Grouping([GroupBy.TIME_BUCKET], Bucket.WEEK, "America/New_York"),
    Grouping([GroupBy.TIME_BUCKET], Bucket.MONTH, "Asia/Kolkata"),
    Grouping(list(GroupBy), Bucket.WEEK),
)


@pytest.fixture(params=range(2))
async def pairs(request: pytest.FixtureRequest, database: Database) -> Pairs:
    """Store random calls in `database`."""
    return await _stored(database, request.param)


async def _stored(database: Database, seed: int) -> Pairs:
    """Store calls of every kind of writer, and prices for most of their models."""
    rng = Random(seed)
    pairs = [pair for trace in range(30) for pair in random_trace(rng, trace * 20, rng.randrange(1, 12), _writer(rng))]
    await CallsStore(database).write([part for pair in pairs for part in pair if part])
    await CostsStore(database).create(PROJECT, [_cost(model, rates) for model, rates in PRICES.items()])
    return pairs


def _cost(model: str, rates: Mapping[str, float]) -> NewCost:
    further = {f"{name}_token_cost": rates[name] for name in ("cache_read", "reasoning")}
    return NewCost(model, rates["input"], rates["output"], rates=further)


def _writer(rng: Random) -> str:
    return rng.choice(WRITERS)


@pytest.mark.parametrize(
    ("usage_of", "few", "many_more"),
    [
        pytest.param(UsageOf.OWN, FEW, own.MANY_MORE, id="own, parents found by children"),
        pytest.param(UsageOf.OWN, 0, own.MANY_MORE, id="own, parents found in their time"),
        pytest.param(UsageOf.OWN, 0, 1, id="own, each looked up"),
        pytest.param(UsageOf.REPORTED, FEW, own.MANY_MORE, id="reported"),
    ],
)
async def test_every_group_equals_the_sum_over_its_calls(
    pairs: Pairs,
    database: Database,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    usage_of: UsageOf,
    few: int,
    many_more: int,
) -> None:
    monkeypatch.setattr(own, "FEW", few)
    monkeypatch.setattr(own, "MANY_MORE", many_more)
    store = AggregatesStore(database)

    for grouping in GROUPINGS:
        found = await store.calls(PROJECT, grouping, NAMES, usage_of=usage_of)

        expected = oracle.aggregate(pairs, grouping, usage_of, PRICES)
        assert found.num_groups == len(expected), grouping
        _assert_same([_public(row) for row in found.rows], expected, grouping)
        stages = str(commands.last("aggregate")["pipeline"])
        is_own, is_joined = usage_of is UsageOf.OWN, many_more > 1
        assert ("_place" in stages, "$lookup" in stages) == (is_own and is_joined, is_own and not is_joined)


@pytest.mark.not_on("cluster", reason="a router sets parameters of its own, not those of shards")
@pytest.mark.parametrize("seed", range(2))
async def test_percentiles_from_counts_equal_those_in_memory(
    own_mongodb_uri: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Children are looked up, because a join collects them in memory, too.
    monkeypatch.setattr(own, "FEW", 0)
    monkeypatch.setattr(own, "MANY_MORE", 1)
    commands = Commands()
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(own_mongodb_uri, event_listeners=[commands])
    database = Database(client, f"seed_{seed}")
    await database.ensure_indexes()
    pairs = await _stored(database, seed)
    store = AggregatesStore(database)
    grouping = Grouping([GroupBy.OP_NAME, GroupBy.STATUS])
    in_memory = await store.calls(PROJECT, grouping, NAMES)
    commands.sent.clear()

    await client.admin.command("setParameter", 1, internalQueryMaxPushBytes=1)
    try:
        by_counts = await store.calls(PROJECT, grouping, NAMES)
    finally:
        await client.admin.command("setParameter", 1, internalQueryMaxPushBytes=100 << 20)
        client.close()

    ways = ["up_to" in str(command["pipeline"]) for name, command in commands.sent if name == "aggregate"]
    assert ways[-2:] == [False, True]
    assert len(in_memory.rows) > len(pairs) / 100
    _assert_same([_public(row) for row in by_counts.rows], [_public(row) for row in in_memory.rows], grouping)


async def test_rows_are_sorted_by_any_number_and_limited(pairs: Pairs, database: Database) -> None:
    store = AggregatesStore(database)
    grouping = Grouping([GroupBy.OP_VERSION, GroupBy.USER])
    expected = oracle.aggregate(pairs, grouping, UsageOf.OWN, PRICES)

    for name in sorted(NAMES - {"cost"}):
        for descending in (False, True):
            top = await store.calls(PROJECT, grouping, ["count"], sort_by=[SortBy(name, descending)], limit=3)

            def rank(row: dict[str, Any], name: str = name, *, descending: bool = descending) -> tuple[bool, float]:
                value = row[name]
                return value is None, 0 if value is None else -value if descending else value

            keys = [(row["op_version"], row["wb_user_id"]) for row in sorted(expected, key=rank)[:3]]
            assert [(row["op_version"], row["wb_user_id"]) for row in top.rows] == keys, name
            assert top.num_groups == len(expected)


def _public(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("_") and name != "bucket_end"}


def _assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]], grouping: Grouping) -> None:
    assert len(found) == len(expected), grouping
    for row, right in zip(found, expected, strict=True):
        rounded = {name for name, value in right.items() if isinstance(value, float)}
        assert row.keys() == right.keys(), grouping
        assert {name: row[name] for name in row.keys() - rounded} == {
            name: right[name] for name in row.keys() - rounded
        }
        for name in rounded:
            assert row[name] == pytest.approx(right[name], rel=1e-14, abs=1e-14), (grouping, name, row)
