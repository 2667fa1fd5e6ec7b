"""Reads through a router: lists and counts within lists, plans of execution, and commands between shards."""

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.aggregates import AggregatesStore, Grouping
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.fields import TOTAL_STORAGE_SIZE
from stores.database import Database
from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from stores.query.explain import explain
from stores.rollups.settling import Settling
from stores.trace_lists import TraceListsStore
from tests.graphql_schema.conftest import Run, running
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.stores.feedback.builders import note
from tests.stores.rollups.test_missing_indexes import answers, forget_indexes, named_indexes
from tests.stores.rollups.test_settling import settle
from tests.stores.threads.builders import turn
from tests.stores.threads.test_totals import price
from tests.stores.threads.test_totals import turn as priced_turn
from tests.topologies.cluster import Cluster

THREADS = 4
CALLS = 20
MANY = 300


@pytest.fixture
async def run(sharded: Database) -> Run:
    """Store threads of turns, each turn with a child and a note, and return the function that runs documents."""
    parts = []
    for number in range(CALLS):
        parts += turn(number, f"thread {number % THREADS}", 1000 * number, 100)
        parts.append(start(100 + number, parent_id=call_id(number)))
    await CallsStore(sharded).write(parts)
    refs = [f"weave:///{PROJECT}/call/{call_id(number)}" for number in range(CALLS)]
    await FeedbackStore(sharded).create([note(weave_ref=ref) for ref in refs])
    return running(build_schema(Limits()), Context(Stores(sharded)))


async def test_lists_and_counts_within_lists_are_read_through_a_router(run: Run) -> None:
    answer = await run(
        """
        query ($project: ID!) {
            projects { nodes { id callCount feedbackCount } }
            threads(projectId: $project) {
                nodes { turns { totalCount } calls(first: 1) { totalCount nodes { id } } }
            }
            calls(projectId: $project, filter: {threadIds: ["thread 0"]}) {
                nodes { children(first: 1) { totalCount nodes { id } } feedback { totalCount } }
            }
        }
        """,
        project=PROJECT,
    )

    assert answer.errors == []
    assert answer.data["projects"]["nodes"] == [{"id": PROJECT, "callCount": 2 * CALLS, "feedbackCount": CALLS}]
    first = [{"totalCount": CALLS // THREADS, "nodes": [{"id": call_id(number)}]} for number in range(THREADS)]
    threads = sorted(answer.data["threads"]["nodes"], key=lambda thread: thread["calls"]["nodes"][0]["id"])
    assert threads == [{"turns": {"totalCount": CALLS // THREADS}, "calls": calls} for calls in first]
    calls = [
        {"children": {"totalCount": 1, "nodes": [{"id": call_id(100 + number)}]}, "feedback": {"totalCount": 1}}
        for number in range(0, CALLS, THREADS)
    ]
    assert sorted(answer.data["calls"]["nodes"], key=str) == sorted(calls, key=str)


@pytest.mark.usefixtures("run")
async def test_plan_has_the_winning_plans_of_the_shards_and_the_stages_after_them(sharded: Database) -> None:
    match = {"$match": {"project_id": PROJECT, "visible": True}}
    per_thread = {"$group": {"_id": "$thread_id", "number": {"$sum": 1}}}

    listed = await explain(sharded.calls, [match, {"$sort": {"started_at": 1}}, {"$limit": 10}])
    grouped = await explain(sharded.calls, [match, {"$bucketAuto": {"groupBy": "$started_at", "buckets": 2}}])
    sorted_ = await explain(sharded.calls, [match, per_thread, {"$sort": {"number": 1}}])

    assert len(listed.indexes) == 1
    assert not listed.sorts_in_memory
    assert 10 <= listed.documents_examined <= 20
    assert "$bucketAuto" in grouped.stages
    assert grouped.keys_examined >= 2 * CALLS
    assert sorted_.sorts_in_memory


@pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)
async def test_queries_go_on_without_indexes_that_one_shard_lacks(running: Cluster, sharded: Database) -> None:
    """The router lists the indexes of one of the two shards, so the list shows only there that they are missing."""
    await price(sharded, 0.001)
    await CallsStore(sharded).write(
        [part for each in range(CALLS) for part in priced_turn(each, each % 4, 0, 1 + each)]
    )
    await settle(Settling(sharded))
    listed = []
    for number, shard in enumerate(running.shards):
        expected = await answers(sharded)
        with shard.primary().client() as client:
            for index in named_indexes():
                client[sharded.calls.database.name][index.collection].drop_index(index.name)
        listed.append(len(await sharded.calls.index_information()))

        assert await answers(sharded) == expected

        forget_indexes(sharded)
        await CallsStore(sharded).write(priced_turn(100 + number, 0, 3 + number, 5))
        await settle(Settling(sharded))

        await sharded.ensure_indexes()
        forget_indexes(sharded)
    assert min(listed) < max(listed)


@pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)
async def test_joins_of_many_calls_take_few_commands_of_shards(running: Cluster, sharded: Database) -> None:
    summary = {"usage": {"loom": {"prompt_tokens": 3, "completion_tokens": 1, "requests": 1}}}
    calls, parts = CallsStore(sharded), list[CallStart | CallEnd]()
    for number in range(MANY):
        below = {"trace_id": trace_id(number), "parent_id": call_id(number)}
        parts += [start(number, started_at=NOON + 2 * number), end(number, summary=summary)]
        parts += [start(MANY + number, started_at=NOON + 2 * number + 1, **below), end(MANY + number, summary=summary)]
    await calls.write(parts)
    before = running.commands("aggregate")
    traces = await TraceListsStore(sharded).page(PROJECT, PageRequest(MANY // 6))
    assert [row["trace_id"] for row in traces.rows] == [trace_id(MANY - 1 - each) for each in range(MANY // 6)]
    assert running.commands("aggregate") - before < MANY // 12

    [live] = (await AggregatesStore(sharded).calls(PROJECT, Grouping(), ["total_tokens"])).rows
    sizes = await calls.stats(PROJECT, [TOTAL_STORAGE_SIZE])
    await settle(Settling(sharded))
    [settled] = (await AggregatesStore(sharded).calls(PROJECT, Grouping(), ["total_tokens"])).rows

    assert running.commands("aggregate") - before < MANY
    assert live["total_tokens"] == settled["total_tokens"] == 4 * MANY
    listed = await calls.page(PROJECT, PageRequest(1), {"storage_size_bytes"})
    assert sizes.total_storage_size_bytes == 2 * MANY * listed.rows[0]["storage_size_bytes"]
