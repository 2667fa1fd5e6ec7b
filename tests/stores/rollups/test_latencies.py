"""Percentiles of charts that are read from roll-ups: sorted, limited, of few calls, and on request exact."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.aggregates import Aggregate, AggregatesStore, Bucket, GroupBy, Grouping, UsageOf
from stores.aggregates import store as aggregates_store
from stores.calls import CallsStore
from stores.calls.fields import CallsFilter
from stores.database import Database, Document
from stores.query import Query
from stores.query.sort import SortBy
from stores.rollups.settling import Settling
from stores.timings import Timings
from tests.commands import Commands
from tests.stores.aggregates.oracle import percentile
from tests.stores.calls.builders import NOON, PROJECT, SECOND, end, start
from tests.stores.rollups.filled import Filled
from tests.stores.rollups.model import assert_near
from tests.stores.rollups.test_settling import settle

HOUR = 3_600 * SECOND
NAMES = ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms")
BY_OP = Grouping([GroupBy.OP_NAME])
OPS = ("answer", "plan", "search", "wait")
CALLS = 240

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read no calls for exact percentiles."""
    monkeypatch.setattr(aggregates_store, "MAX_EXACT", 0)


async def fill(database: Database) -> dict[str, list[int]]:
    """Store calls of each third hour of three days, settled but for a live hour; return the latencies by op.

    Calls of `wait` do not end.
    """
    calls = CallsStore(database)
    rng, found = Random(1), {op: list[int]() for op in OPS}
    parts: list[Any] = []
    for number in range(CALLS):
        op, at = OPS[number % len(OPS)], NOON + number * 24 // CALLS * 3 * HOUR + number * SECOND
        parts.append(start(number, started_at=at, op_name=op, attributes={"kind": "tool"} if op == "plan" else {}))
        if op != "wait":
            latency = rng.choice((rng.randrange(-40, 40), int(rng.lognormvariate(7, 2))))
            found[op].append(latency)
            parts.append(end(number, ended_at=at + latency * 1_000))
    await calls.write(parts)
    await settle(Settling(database))
    late = NOON + 40 * HOUR
    await calls.write([start(CALLS, started_at=late, op_name="answer"), end(CALLS, ended_at=late + 5_000_000_000)])
    found["answer"].append(5_000_000)
    return found


FILLED = Filled(fill)


@pytest.fixture
async def latencies(database: Database) -> dict[str, list[int]]:
    """Fill `database`; return the latencies by op."""
    return await FILLED.into(database)


async def chart(database: Database, grouping: Grouping = BY_OP, **arguments: Any) -> Aggregate:
    names = arguments.pop("wanted", NAMES)
    return await AggregatesStore(database).calls(PROJECT, grouping, names, usage_of=UsageOf.REPORTED, **arguments)


def assert_all_near(row: Document, values: Sequence[int]) -> None:
    """Assert that all percentiles of a row are near those of the values."""
    for name, percent in zip(NAMES, (50, 95, 99), strict=True):
        assert_near(row[name], values, percent)


def assert_rows_near(found: Aggregate, exact: Aggregate) -> None:
    """Assert that the percentiles of rows are near the exact ones."""
    for row, right in zip(found.rows, exact.rows, strict=True):
        for name in NAMES:
            assert row[name] == (None if right[name] is None else pytest.approx(right[name], rel=0.01, abs=0.4))


@pytest.mark.usefixtures("many")
async def test_percentiles_are_read_from_roll_ups_and_live_hours(
    database: Database, latencies: dict[str, list[int]], commands: Commands
) -> None:
    commands.sent.clear()

    found = await chart(database)

    assert [body["aggregate"] for name, body in commands.sent if name == "aggregate"] == ["calls", "calls"]
    assert all("$unionWith" in str(body["pipeline"]) for name, body in commands.sent if name == "aggregate")
    assert not found.has_exact_percentiles
    assert [row["op_name"] for row in found.rows] == [*OPS]
    for row in found.rows:
        assert_all_near(row, latencies[row["op_name"]])
    [row] = (await chart(database, Grouping())).rows
    assert_all_near(row, [value for values in latencies.values() for value in values])


@pytest.mark.usefixtures("many", "latencies")
async def test_settled_calls_are_not_read(database: Database, commands: Commands) -> None:
    await settle(Settling(database))
    commands.sent.clear()

    by_hour = await chart(database, Grouping([GroupBy.TIME_BUCKET, GroupBy.STATUS], Bucket.HOUR))

    assert {body["aggregate"] for name, body in commands.sent if name == "aggregate"} == {"rollups"}
    exact = await chart(database, Grouping([GroupBy.TIME_BUCKET, GroupBy.STATUS], Bucket.HOUR), exact_percentiles=True)
    assert len(by_hour.rows) == len(exact.rows) > 40
    by = ("bucket_start", "status")
    assert [[row[key] for key in by] for row in by_hour.rows] == [[row[key] for key in by] for row in exact.rows]
    assert_rows_near(by_hour, exact)


@pytest.mark.usefixtures("many", "latencies")
@pytest.mark.parametrize("bucket", [Bucket.HOUR, Bucket.DAY])
async def test_rows_of_short_buckets_are_read_with_their_percentiles_at_once(
    database: Database, commands: Commands, bucket: Bucket
) -> None:
    grouping = Grouping([GroupBy.STATUS, GroupBy.TIME_BUCKET], bucket)
    wanted = (*NAMES, "count", "total_tokens", "min_latency_ms")
    commands.sent.clear()

    found = await chart(database, grouping, wanted=wanted)

    assert [body["aggregate"] for name, body in commands.sent if name == "aggregate"] == ["calls"]
    assert not found.has_exact_percentiles
    exact = await chart(database, grouping, wanted=wanted, exact_percentiles=True)
    by = ("status", "bucket_start", "bucket_end", "count", "total_tokens", "min_latency_ms")
    assert [[row[key] for key in by] for row in found.rows] == [[row[key] for key in by] for row in exact.rows]
    assert_rows_near(found, exact)


@pytest.mark.usefixtures("many", "latencies")
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "+05:30"])
async def test_buckets_of_time_zones_have_percentiles(database: Database, zone: str) -> None:
    grouping = Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, zone)

    found = await chart(database, grouping)

    exact = await chart(database, grouping, exact_percentiles=True)
    assert (found.has_exact_percentiles, exact.has_exact_percentiles) == (False, True)
    assert [row["bucket_start"] for row in found.rows] == [row["bucket_start"] for row in exact.rows]
    assert_rows_near(found, exact)


@pytest.mark.usefixtures("many", "latencies")
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("keys", [["p99_latency_ms"], ["status", "p50_latency_ms"], ["p95_latency_ms", "count"]])
async def test_rows_are_sorted_and_limited_by_percentiles(
    database: Database, keys: list[str], *, descending: bool
) -> None:
    grouping = Grouping([GroupBy.OP_NAME, GroupBy.STATUS, GroupBy.TIME_BUCKET], Bucket.DAY)
    sort_by = [SortBy(key, descending) for key in keys]

    found = await chart(database, grouping, sort_by=sort_by, limit=9, wanted=(*NAMES, "count"))
    exact = await chart(database, grouping, sort_by=sort_by, limit=9, wanted=(*NAMES, "count"), exact_percentiles=True)

    assert not found.has_exact_percentiles
    assert found.num_groups == exact.num_groups > 12
    by = ("op_name", "status", "bucket_start", "count")
    assert [[row[key] for key in by] for row in found.rows] == [[row[key] for key in by] for row in exact.rows]
    unlimited = await chart(database, grouping, sort_by=sort_by)
    assert [row["op_name"] for row in unlimited.rows[:9]] == [row["op_name"] for row in found.rows]
    assert [row["op_name"] for row in unlimited.rows[-4:]] == ["wait"] * 4 if keys[0] in NAMES else True


@pytest.mark.usefixtures("many", "latencies")
async def test_groups_without_calls_or_ended_calls_have_no_percentiles(database: Database) -> None:
    nothing = await chart(database, Grouping(), calls_filter=CallsFilter(op_names=["nowhere"]))
    running = await chart(database, Grouping(), calls_filter=CallsFilter(op_names=["wait"]))

    for found in (nothing, running):
        assert [[row[name] for name in NAMES] for row in found.rows] == [[None] * 3]
    assert (await chart(database, calls_filter=CallsFilter(op_names=["nowhere"]))).rows == []
    assert not running.has_exact_percentiles


async def test_percentiles_of_few_calls_are_exact(
    database: Database, latencies: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = await chart(database)
    monkeypatch.setattr(aggregates_store, "MAX_EXACT", CALLS)
    many = await chart(database)
    of_op = await chart(database, calls_filter=CallsFilter(op_names=["plan"]))
    # No index finds the calls of a kind, so those of the time range count.
    of_kind = await chart(database, calls_filter=CallsFilter(kinds=["tool"]))
    of_range = await chart(database, calls_filter=CallsFilter(kinds=["tool"], started_after=NOON + 24 * HOUR))

    each = (few, many, of_op, of_kind, of_range)
    assert [found.has_exact_percentiles for found in each] == [True, False, True, False, True]
    expected = [percentile(latencies["plan"], percent) for percent in (50, 95, 99)]
    assert [few.rows[1][name] for name in NAMES] == [of_op.rows[0][name] for name in NAMES]
    assert [of_op.rows[0][name] for name in NAMES] == pytest.approx(expected, rel=1e-14)
    [row] = of_kind.rows
    assert_all_near(row, latencies["plan"])


@pytest.mark.usefixtures("many")
async def test_other_aggregates_have_exact_percentiles(database: Database, latencies: dict[str, list[int]]) -> None:
    by_path = await chart(database, Grouping([], None, None, ["op_name"]))
    by_thread = await chart(database, Grouping([GroupBy.THREAD]))
    of_number = await chart(database, numbers=["latencyMs"], wanted=())
    by_latency = await chart(database, query=Query({"$expr": {"$gt": [{"$getField": "latency_ms"}, {"$literal": 9}]}}))
    counts = await chart(database, wanted=("count",))
    on_request = await chart(database, exact_percentiles=True)

    for found in (by_path, by_thread, of_number, by_latency, counts, on_request):
        assert found.has_exact_percentiles
    expected = [percentile(latencies["search"], percent) for percent in (50, 95, 99)]
    assert [on_request.rows[2][name] for name in NAMES] == pytest.approx(expected, rel=1e-14)
    [number] = of_number.rows[2]["numbers"]
    assert [number[f"p{percent}"] for percent in (50, 95, 99)] == pytest.approx(expected, rel=1e-14)


@pytest.mark.not_on("cluster", reason="a router sets parameters of its own, not those of shards")
@pytest.mark.usefixtures("many")
async def test_sketches_beyond_the_memory_of_a_group_are_not_read(own_mongodb_uri: str, timings: Timings) -> None:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(own_mongodb_uri)
    database = Database(client, "large", timings=timings)
    await database.ensure_indexes()
    latencies = await FILLED.into(database)
    await client.admin.command("setParameter", 1, internalQueryMaxPushBytes=1)
    try:
        found = await chart(database)
    finally:
        await client.admin.command("setParameter", 1, internalQueryMaxPushBytes=100 << 20)
        client.close()

    assert found.has_exact_percentiles
    exact = [percentile(latencies["answer"], percent) for percent in (50, 95, 99)]
    assert [found.rows[0][name] for name in NAMES] == pytest.approx(exact, rel=1e-14)
