"""Tests that no token counts twice in a sum, for every kind of writer. The tree checks deeper levels than groups do."""

from random import Random
from typing import Any

import pytest

from stores.aggregates import AggregatesStore, GroupBy, Grouping, UsageOf
from stores.calls import CallsFilter, CallsStore
from stores.database import Database
from stores.usage import own as own_usage
from stores.usage.own import FEW
from tests.stores.aggregates.oracle import reported
from tests.stores.aggregates.random_calls import WRITERS, random_trace
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id

TOKENS = ("prompt_tokens", "completion_tokens", "requests", "total_tokens")


def usage(prompt: int, completion: int = 0, requests: int = 1, model: str = "loom") -> dict[str, Any]:
    """Return a summary with the usage of one model."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "requests": requests}
    return {"usage": {model: counts}}


def counted(number: int, **more: Any) -> dict[str, Any]:
    """Return a summary that counts `number` successful calls."""
    return {"status_counts": {"success": number, "error": 0}, **more}


@pytest.fixture
def store(database: Database) -> AggregatesStore:
    """Return a store of aggregates."""
    return AggregatesStore(database)


async def tokens(store: AggregatesStore, *by: GroupBy, **options: Any) -> list[dict[str, Any]]:
    """Return the call count and the tokens of each group."""
    found = await store.calls(PROJECT, Grouping(by), ["count", "total_tokens"], **options)
    return [{name: row[name] for name in row if not name.startswith("_")} for row in found.rows]


async def write(calls: CallsStore, *summaries: dict[str, Any], parents: tuple[int | None, ...]) -> None:
    """Write a trace of calls numbered from 1, with the given summaries and parents."""
    for number, (summary, parent) in enumerate(zip(summaries, parents, strict=True), 1):
        above = call_id(parent) if parent else None
        op = f"step {number}"
        await calls.write(
            [start(number, trace_id=trace_id(1), parent_id=above, op_name=op), end(number, summary=summary)]
        )


@pytest.mark.parametrize(
    ("summaries", "by_op"),
    [
        pytest.param(
            [counted(3, **usage(30)), counted(2, **usage(30)), counted(1, **usage(30))],
            [0, 0, 30],
            id="Weave's client for Python: parents sum up and say so",
        ),
        pytest.param([{}, {}, usage(30)], [0, 0, 30], id="OpenTelemetry: only the last has usage"),
        pytest.param([usage(30), usage(30), usage(30)], [0, 0, 30], id="Weave's client for TypeScript: parents sum up"),
        pytest.param([{}, usage(100), usage(30)], [0, 70, 30], id="an agent that reports more than its model"),
        pytest.param([{}, usage(20), usage(30)], [0, 20, 30], id="a parent below its child, of which it is no sum"),
        pytest.param([counted(1, **usage(5)), {}, usage(30)], [5, 0, 30], id="one that speaks for itself alone"),
        pytest.param([counted(3, **usage(99)), {}, usage(30)], [0, 0, 30], id="one that sums up what is gone by now"),
        pytest.param(
            [usage(30, model="weft"), {}, usage(30)], [30, 0, 30], id="another model than what is below has reported"
        ),
    ],
)
async def test_call_counts_its_own_usage(
    calls: CallsStore, store: AggregatesStore, summaries: list[dict[str, Any]], by_op: list[int]
) -> None:
    await write(calls, *summaries, parents=(None, 1, 2))

    rows = await tokens(store, GroupBy.OP_NAME)
    tree = await store.usage_tree(PROJECT, trace_id(1), ["own_usage", "total_usage"])

    assert [row["total_tokens"] for row in rows] == by_op
    assert [node["own_usage"]["total_tokens"] for node in tree] == by_op
    assert [node["total_usage"]["total_tokens"] for node in tree] == [sum(by_op[at:]) for at in range(3)]


async def test_parent_with_fewer_tokens_than_its_children_counts_fully(
    calls: CallsStore, store: AggregatesStore
) -> None:
    await write(calls, usage(20, requests=5), usage(15), usage(15), parents=(None, 1, 1))

    found = await store.calls(PROJECT, Grouping([GroupBy.OP_NAME]), TOKENS)
    tree = await store.usage_tree(PROJECT, trace_id(1), ["own_usage", "total_usage"])

    none = dict.fromkeys(TOKENS, 0)
    expected = [
        none | {"prompt_tokens": 20, "total_tokens": 20, "requests": 5},
        *[none | {"prompt_tokens": 15, "total_tokens": 15, "requests": 1}] * 2,
    ]
    assert [{name: row[name] for name in TOKENS} for row in found.rows] == expected
    assert [{name: node["own_usage"][name] for name in TOKENS} for node in tree] == expected
    assert tree[0]["total_usage"]["total_tokens"] == 50


async def test_request_count_alone_is_not_own_usage_of_a_parent(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, usage(30, requests=5), usage(30), parents=(None, 1))

    [total] = (await store.calls(PROJECT, Grouping(), TOKENS)).rows
    tree = await store.usage_tree(PROJECT, trace_id(1), ["own_usage"])

    assert {name: total[name] for name in TOKENS} == {
        "prompt_tokens": 30,
        "completion_tokens": 0,
        "requests": 1,
        "total_tokens": 30,
    }
    assert tree[0]["own_usage"]["models"] == []


async def test_usage_of_a_deleted_child_counts_for_its_parent(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, usage(30), usage(30), parents=(None, 1))
    assert await tokens(store) == [{"count": 2, "total_tokens": 30}]

    await calls.delete(PROJECT, [call_id(2)])

    assert await tokens(store) == [{"count": 1, "total_tokens": 30}]
    [node] = await store.usage_tree(PROJECT, trace_id(1), ["own_usage"])
    assert node["own_usage"]["total_tokens"] == 30


async def test_self_reporting_call_adds_to_its_subtree_in_the_tree(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, usage(37), counted(1, **usage(5)), usage(30), parents=(None, 1, 2))

    tree = await store.usage_tree(PROJECT, trace_id(1), ["own_usage"])

    assert [node["own_usage"]["total_tokens"] for node in tree] == [2, 5, 30]


async def test_tree_looks_below_children_without_usage_and_groups_do_not(
    calls: CallsStore, store: AggregatesStore
) -> None:
    """Document a known limit of groups: the root adds up without status counts, and its child has no usage."""
    await write(calls, usage(30), {}, usage(30), parents=(None, 1, 2))

    [total] = await tokens(store)
    tree = await store.usage_tree(PROJECT, trace_id(1), ["total_usage"])

    assert tree[0]["total_usage"]["total_tokens"] == 30
    assert total["total_tokens"] == 60


async def test_usage_counts_in_the_requested_groups(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, counted(2, **usage(30)), counted(1, **usage(30)), parents=(None, 1))
    roots = CallsFilter(trace_roots_only=True)

    assert await tokens(store, calls_filter=roots) == [{"count": 1, "total_tokens": 0}]
    assert await tokens(store, calls_filter=roots, usage_of=UsageOf.REPORTED) == [{"count": 1, "total_tokens": 30}]
    assert await tokens(store, GroupBy.MODEL, usage_of=UsageOf.REPORTED) == [
        {"model": "loom", "count": 2, "total_tokens": 60}
    ]


async def test_call_is_in_the_row_of_each_model_it_used_itself(calls: CallsStore, store: AggregatesStore) -> None:
    both = {"usage": {**usage(10)["usage"], **usage(5, model="weft")["usage"]}}
    await write(calls, counted(2, **both), counted(1, **both), {}, parents=(None, 1, 1))

    assert await tokens(store, GroupBy.MODEL) == [
        {"model": "loom", "count": 1, "total_tokens": 10},
        {"model": "weft", "count": 1, "total_tokens": 5},
        {"model": None, "count": 2, "total_tokens": 0},
    ]


@pytest.mark.parametrize("writer", WRITERS)
async def test_groups_and_tree_equal_the_usage_of_leaf_calls(
    calls: CallsStore, store: AggregatesStore, writer: str
) -> None:
    rng = Random(f"{writer} 1")
    for number in range(8):
        pairs = random_trace(rng, number * 100, 40, writer, running=0)
        await calls.write([part for pair in pairs for part in pair if part])
        only = CallsFilter(trace_ids=[trace_id(number * 100)])

        [row] = (await store.calls(PROJECT, Grouping(), TOKENS, calls_filter=only)).rows
        tree = await store.usage_tree(PROJECT, trace_id(number * 100), ["total_usage"])

        parents = {first.parent_id for first, _ in pairs}
        used = [counts for first, last in pairs if first.id not in parents for counts in reported(last).values()]
        expected = {name: sum(counts[name] for counts in used) for name in TOKENS}
        assert {name: row[name] for name in TOKENS} == expected
        assert {name: tree[0]["total_usage"][name] for name in TOKENS} == expected


def classed(prompt: int, cached: int, completion: int = 0, searches: int = 0) -> dict[str, Any]:
    """Return the usage of one model with cached tokens and web searches."""
    counts = usage(prompt, completion)["usage"]["loom"]
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"usage": {"loom": counts | details | {"server_tool_use": {"web_search_requests": searches}}}}


@pytest.mark.parametrize("few", [FEW, 0], ids=["each looked up", "parents joined"])
@pytest.mark.parametrize(
    ("parent", "child", "own"),
    [
        pytest.param(classed(30, 20), classed(30, 20), (0, 0, 0), id="the parent sums up"),
        pytest.param(classed(100, 70), classed(30, 20), (20, 50, 0), id="an agent with more than its model"),
        pytest.param(usage(100), classed(30, 20), (70, 0, 0), id="a parent that states no classes"),
        pytest.param(classed(100, 10), classed(30, 20), (70, 0, 0), id="fewer cached than the child: all is plain"),
        pytest.param(classed(31, 31), classed(30, 20), (1, 0, 0), id="more cached than tokens are left: all is plain"),
        pytest.param(classed(20, 20), classed(30, 20), (0, 20, 0), id="below its child, of which it is no sum"),
        pytest.param(classed(30, 20, searches=2), classed(30, 20), (0, 0, 2), id="searches of its own, and no tokens"),
    ],
)
async def test_token_classes_count_once(
    calls: CallsStore,
    store: AggregatesStore,
    monkeypatch: pytest.MonkeyPatch,
    parent: dict[str, Any],
    child: dict[str, Any],
    own: tuple[int, int, int],
    few: int,
) -> None:
    monkeypatch.setattr(own_usage, "FEW", few)
    await write(calls, parent, child, parents=(None, 1))
    names = ("uncached_input_tokens", "cache_read_tokens", "web_searches")

    rows = (await store.calls(PROJECT, Grouping([GroupBy.OP_NAME]), names)).rows
    tree = await store.usage_tree(PROJECT, trace_id(1), ["own_usage", "total_usage"])

    assert tuple(rows[0][name] for name in names) == own
    assert tuple(tree[0]["own_usage"][name] for name in names) == own
    below = tuple(tree[1]["own_usage"][name] for name in names)
    assert tuple(tree[0]["total_usage"][name] for name in names) == tuple(map(sum, zip(own, below, strict=True)))
