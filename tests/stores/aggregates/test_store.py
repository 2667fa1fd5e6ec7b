"""Tests of the aggregates store: refused arguments, selected calls, and the documents that it reads."""

from typing import Any

import pytest

from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping
from stores.aggregates.metrics import NAMES
from stores.aggregates.store import MAX_GROUPS, Rows
from stores.calls import CallsFilter, CallsStore, Expansion
from stores.calls.fields import calls_match
from stores.database import Database
from stores.errors import BadInputError
from stores.objects import ObjectsStore
from stores.query import Query
from stores.query.explain import explain
from stores.query.sort import SortBy
from stores.usage import own
from stores.usage.classes import FIELDS
from stores.usage.own import Unclear
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.objects.builders import version

ONE_CALL = {"status_counts": {"success": 1}}
DAYS = Grouping([GroupBy.TIME_BUCKET], Bucket.DAY)


@pytest.fixture
def store(database: Database, monkeypatch: pytest.MonkeyPatch) -> AggregatesStore:
    """Return a store of aggregates with small limits."""
    monkeypatch.setattr("stores.aggregates.store.MAX_GROUPS", 4)
    monkeypatch.setattr("stores.aggregates.store.MAX_ROWS", 3)
    return AggregatesStore(database)


async def write_threads(calls: CallsStore, count: int) -> None:
    """Write `count` calls, each in its own thread."""
    numbers = range(1, count + 1)
    await calls.write([part for at in numbers for part in (start(at, thread_id=f"thread {at}"), end(at))])


@pytest.mark.parametrize(
    ("grouping", "argument", "message"),
    [
        (Grouping([GroupBy.MODEL, GroupBy.STATUS, GroupBy.MODEL]), "group_by.2", "MODEL is repeated"),
        (Grouping([GroupBy.TIME_BUCKET]), "bucket", "required with TIME_BUCKET"),
        (Grouping([GroupBy.MODEL], Bucket.DAY), "bucket", "add TIME_BUCKET to groupBy"),
        (Grouping([GroupBy.MODEL], None, "UTC"), "timezone", "add TIME_BUCKET to groupBy"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, "Mars/Olympus"), "timezone", "'Mars/Olympus' is not a time zone"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, ""), "timezone", "'' is not a time zone"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, "$project_id"), "timezone", "is not a time zone"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, "-09:99"), "timezone", "'-09:99' is not a time zone"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, "-15:00"), "timezone", "'-15:00' is not a time zone"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, "U" * 101), "timezone", "101 characters; the limit is 100"),
    ],
)
async def test_invalid_grouping_is_refused_also_without_calls(
    store: AggregatesStore, grouping: Grouping, argument: str, message: str
) -> None:
    with pytest.raises(BadInputError, match="^.*" + message.replace("$", r"\$")) as caught:
        await store.calls(PROJECT, grouping, ["count"])

    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": 4}, "limit"),
        ({"sort_by": [SortBy("costs")]}, "sort_by.0.field"),
        ({"sort_by": [SortBy("count"), SortBy("model")]}, "sort_by.1.field"),
        ({"sort_by": [SortBy("count"), SortBy("count", descending=True)]}, "sort_by.1.field"),
        ({"sort_by": [SortBy("count")] * 17}, "sort_by"),
        ({"calls_filter": CallsFilter(op_names=["a"] * 1001)}, "filter.op_names"),
        (
            {"query": Query({"$expr": {"$eq": [{"$getField": "nope"}, {"$literal": 1}]}})},
            "query.json.$expr.$eq.0.$getField",
        ),
        ({"expansion": Expansion(["id"])}, "expand_columns.0"),
    ],
)
async def test_other_invalid_arguments_are_named(
    store: AggregatesStore, options: dict[str, Any], argument: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        await store.calls(PROJECT, DAYS, ["count"], **options)

    assert caught.value.argument == argument


async def test_invalid_project_is_refused(store: AggregatesStore) -> None:
    with pytest.raises(BadInputError) as caught:
        await store.calls("acme", DAYS, ["count"])

    assert caught.value.argument == "project_id"


async def test_too_many_rows_are_refused_but_the_top_rows_are_available(
    calls: CallsStore, store: AggregatesStore
) -> None:
    await write_threads(calls, 4)
    threads = Grouping([GroupBy.THREAD])

    with pytest.raises(
        BadInputError, match=r"makes 4 rows, more than the 3 of one response.*sortBy and limit"
    ) as caught:
        await store.calls(PROJECT, threads, ["count"])
    top = await store.calls(PROJECT, threads, ["count"], sort_by=[SortBy("thread_id", descending=True)], limit=2)

    assert caught.value.argument == "group_by"
    assert ([row["thread_id"] for row in top.rows], top.num_groups) == (["thread 4", "thread 3"], 4)


@pytest.mark.parametrize("wanted", [["count"], ["p99_latency_ms"]])
async def test_too_many_groups_are_refused_for_any_row_limit(
    calls: CallsStore, store: AggregatesStore, wanted: list[str]
) -> None:
    await write_threads(calls, 5)

    with pytest.raises(BadInputError, match="more than 4 groups, the limit; group by fewer keys") as caught:
        await store.calls(PROJECT, Grouping([GroupBy.THREAD]), wanted, limit=1)

    assert caught.value.argument == "group_by"


async def test_limits_are_10_000_rows_and_100_000_groups(database: Database) -> None:
    kept = {"project_id": PROJECT, "visible": True, "status": "running", "op_name": "f", "started_at": 1}
    documents: list[dict[str, Any]] = [
        {**kept, "_id": f"{PROJECT}:{number}", "id": str(number), "thread_id": f"thread {number}"}
        for number in range(10_001)
    ]
    await database.calls.insert_many(documents, ordered=False)
    store, threads = AggregatesStore(database), Grouping([GroupBy.THREAD])

    with pytest.raises(BadInputError, match="makes 10,001 rows, more than the 10,000 of one response"):
        await store.calls(PROJECT, threads, ["count"])
    found = await store.calls(PROJECT, threads, ["count"], limit=10_000)

    assert (len(found.rows), found.num_groups) == (10_000, 10_001)
    with pytest.raises(BadInputError, match="use 1 to 10,000"):
        await store.calls(PROJECT, threads, ["count"], limit=10_001)
    assert MAX_GROUPS == 100_000, "to make as many would take too long"


async def test_empty_result_has_one_row_only_without_group_keys(store: AggregatesStore) -> None:
    none = await store.calls(PROJECT, Grouping(), NAMES)

    assert (none.num_groups, len(none.rows)) == (1, 1)
    assert {name for name, value in none.rows[0].items() if value == 0} == {
        *("count", "error_count", "prompt_tokens", "completion_tokens", "total_tokens", "requests", "unpriced_tokens"),
        *FIELDS.values(),
    }
    assert {name for name, value in none.rows[0].items() if value is None} == NAMES - {
        name for name, value in none.rows[0].items() if value == 0
    }
    by_day = await store.calls(PROJECT, DAYS, NAMES)
    assert (by_day.rows, by_day.num_groups) == ([], 0)


async def test_filter_query_and_expand_columns_select_the_calls(
    calls: CallsStore, objects: ObjectsStore, database: Database
) -> None:
    digest = await objects.create(version({"tone": "calm"}))
    ref = f"weave:///{PROJECT}/object/prompt:{digest}"
    await calls.write([start(1, inputs={"prompt": ref}), start(2, op_name="other"), end(2), start(3), end(3)])
    store = AggregatesStore(database)

    async def count(**options: Any) -> int:
        [row] = (await store.calls(PROJECT, Grouping(), ["count"], **options)).rows
        return int(row["count"])

    calm = Query({"$expr": {"$eq": [{"$getField": "inputs.prompt.tone"}, {"$literal": "calm"}]}})
    running = Query({"$expr": {"$eq": [{"$getField": "status"}, {"$literal": "running"}]}})
    assert await count() == 3
    assert await count(calls_filter=CallsFilter(op_names=["answer"])) == 2
    assert await count(query=running) == 1
    assert await count(query=calm, expansion=Expansion(["inputs.prompt"])) == 1
    await calls.delete(PROJECT, [call_id(3)])
    assert await count() == 2


async def test_token_sums_beyond_64_bits_are_capped(calls: CallsStore, store: AggregatesStore) -> None:
    most = (1 << 63) - 1
    summary = {"usage": {"loom": {"prompt_tokens": most}}, "status_counts": {"success": 1}}
    for number in (1, 2):
        await calls.write([start(number), end(number, summary=summary)])

    [row] = (await store.calls(PROJECT, Grouping(), ["prompt_tokens", "total_tokens"])).rows

    assert (row["prompt_tokens"], row["total_tokens"]) == (most, most)


async def test_aggregate_is_one_command_plus_one_per_lookup_kind(
    calls: CallsStore, database: Database, commands: Commands
) -> None:
    await write_threads(calls, 20)
    store = AggregatesStore(database)
    commands.sent.clear()

    await store.calls(PROJECT, Grouping([GroupBy.THREAD]), {"count", "error_rate", "p99_latency_ms"})
    assert commands.names == ["aggregate"]
    commands.sent.clear()

    await store.calls(PROJECT, Grouping([GroupBy.TIME_BUCKET], Bucket.DAY, "Europe/Berlin"), NAMES)
    # The second and the third look for roll-ups, which the project does not have.
    assert commands.names == ["aggregate", "aggregate", "find", *["aggregate"] * 4]


@pytest.mark.parametrize(
    ("grouping", "wanted", "index"),
    [
        (Grouping([GroupBy.TIME_BUCKET], Bucket.HOUR), ["count"], "started_at_id_compressed"),
        (Grouping([GroupBy.OP_VERSION]), ["count"], "op_name_started_at_id_compressed"),
        (Grouping([GroupBy.STATUS]), ["count", "error_rate"], "status_started_at_id_compressed"),
        (Grouping(), ["count"], "started_at_id_compressed"),
        (Grouping(), ["p50_latency_ms", "max_latency_ms"], "latency_ms_id"),
    ],
)
async def test_covered_aggregate_reads_only_the_index(
    calls: CallsStore, database: Database, grouping: Grouping, wanted: list[str], index: str
) -> None:
    await write_threads(calls, 10)
    rows = Rows(grouping, wanted)
    match = {"$match": calls_match(PROJECT)}

    plan = await explain(database.calls, [*rows.facts([match], "calls", PROJECT, None), *rows.groups(in_memory=True)])

    assert plan.indexes == {index}
    assert plan.documents_examined == 0


async def test_only_calls_of_unclear_usage_scope_are_compared_with_children(
    calls: CallsStore, database: Database
) -> None:
    clear = {"usage": {"loom": {"prompt_tokens": 1}}, "status_counts": {"success": 1}}
    await calls.write([part for at in range(1, 101) for part in (start(at), end(at, summary=clear))])
    unclear = {"usage": {"loom": {"prompt_tokens": 1}}}
    await calls.write([start(101), end(101, summary=unclear)])
    await calls.write([start(102, parent_id=call_id(101), trace_id=trace_id(101)), end(102, summary=unclear)])
    rows = Rows(Grouping(), ["total_tokens"])

    stages = rows.facts([{"$match": calls_match(PROJECT)}], "calls", PROJECT, None, Unclear())
    [union] = [stage["$unionWith"]["pipeline"] for stage in stages if "$unionWith" in stage]
    plan = await explain(database.calls, union)

    assert "usage_scope_started_at_id_ended_at_compressed" in plan.indexes
    [row] = (await AggregatesStore(database).calls(PROJECT, Grouping(), ["total_tokens"])).rows
    assert row["total_tokens"] == 101


@pytest.mark.parametrize(
    ("few", "many_more", "max_parents", "parents"),
    [
        pytest.param(4, 10, 10, [1, 3, 4], id="few calls"),
        pytest.param(3, 10, 10, [1, 3], id="many calls"),
        pytest.param(3, 1, 10, None, id="far more in their time"),
        pytest.param(3, 10, 1, None, id="too many parents"),
    ],
)
async def test_usage_scope_lookup_covers_all_calls_or_reporting_parents(
    calls: CallsStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    many_more: int,
    max_parents: int,
    parents: list[int] | None,
) -> None:
    monkeypatch.setattr(own, "FEW", few)
    monkeypatch.setattr(own, "MANY_MORE", many_more)
    monkeypatch.setattr(own, "MAX_PARENTS", max_parents)
    summary = {"usage": {"loom": {"prompt_tokens": 1}}}
    for number, parent in ((1, None), (2, 1), (3, 1), (4, 3)):
        above = call_id(parent) if parent else None
        await calls.write([start(number, parent_id=above), end(number, summary=summary)])
    await calls.write([start(5, parent_id=call_id(4)), end(5)])
    late = NOON + 3600 * SECOND
    await calls.write([start(6, parent_id=call_id(4), started_at=late), end(6, summary={**summary, **ONE_CALL})])

    async with database.snapshot_session([PROJECT]) as session:
        found = await own.find_unclear(database.calls, PROJECT, [{"$match": calls_match(PROJECT)}], session, unknown)

    assert found
    assert found.parents == (None if parents is None else [f"{PROJECT}:{call_id(number)}" for number in parents])


async def unknown(_first: int, _last: int) -> None:
    """Know no parents, as before roll-ups are ready."""


async def test_calls_without_reporting_children_need_no_lookup(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "FEW", 1)
    monkeypatch.setattr(own, "MAX_PARENTS", 1)
    summary = {"usage": {"loom": {"prompt_tokens": 1}}}
    for number in (1, 3, 5):
        model = start(number + 1, parent_id=call_id(number))
        await calls.write([start(number), model, end(number + 1, summary=summary), end(number)])

    async with database.snapshot_session([PROJECT]) as session:
        found = await own.find_unclear(database.calls, PROJECT, [{"$match": calls_match(PROJECT)}], session, unknown)

    assert found is None


@pytest.mark.parametrize("name", ["op_name", "opName"])
async def test_sort_by_a_missing_number_names_the_required_argument(store: AggregatesStore, name: str) -> None:
    with pytest.raises(BadInputError, match=f"rows have {name} only with OP_NAME in groupBy") as caught:
        await store.calls(PROJECT, Grouping([GroupBy.MODEL]), ["count"], sort_by=[SortBy("count"), SortBy(name)])

    assert caught.value.argument == "sort_by.1.field"
