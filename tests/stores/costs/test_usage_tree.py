"""Tests of a trace's usage tree: its order for any parents, its sums, and its limits of depth and size."""

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from stores.aggregates import AggregatesStore
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.costs import usage_tree as usage_trees
from stores.costs.pricing import exact
from stores.costs.usage_tree import Tally, in_tree_order, own_usage_of_trace, usage_of_trace, usage_tree
from stores.database import Database
from stores.errors import BadInputError
from stores.usage.entries import OWN, SUM
from stores.usage.own import TOKENS
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.waiting import Turns, another_task

TRACE = trace_id(1)
USAGE = ("own_usage", "total_usage", "cost")


@pytest.fixture
def store(database: Database, monkeypatch: pytest.MonkeyPatch) -> AggregatesStore:
    """Return a store of aggregates with a small limit of calls."""
    monkeypatch.setattr("stores.aggregates.store.MAX_CALLS", 50)
    return AggregatesStore(database)


async def write(calls: CallsStore, parents: dict[int, int | None]) -> None:
    """Write a trace from each call's number and its parent's number."""
    for number, parent in parents.items():
        above = None if parent is None else call_id(parent)
        summary = {
            "usage": {"loom": {"prompt_tokens": number, "completion_tokens": 1}},
            "status_counts": {"success": 1},
        }
        await calls.write([start(number, trace_id=TRACE, parent_id=above), end(number, summary=summary)])


async def shape(store: AggregatesStore, **options: Any) -> list[tuple[int, int | None, int, int]]:
    """Return each call's number, parent, depth and count of calls in its subtree, in tree order."""
    nodes = await store.usage_tree(PROJECT, TRACE, ["total_usage"], **options)
    return [
        (
            int(node["id"][-4:], 16),
            int(node["parent_id"][-4:], 16) if node["parent_id"] else None,
            node["depth"],
            node["num_calls"],
        )
        for node in nodes
    ]


async def test_calls_are_in_tree_order(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, {1: None, 2: 1, 3: 1, 4: 2, 5: 3, 6: 2, 7: None})

    assert await shape(store) == [
        (1, None, 0, 6),
        (2, 1, 1, 3),
        (4, 2, 2, 1),
        (6, 2, 2, 1),
        (3, 1, 1, 2),
        (5, 3, 2, 1),
        (7, None, 0, 1),
    ]


async def test_calls_below_the_depth_limit_are_omitted_but_counted(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, {1: None, 2: 1, 3: 2, 4: 3})

    assert await shape(store, max_depth=1) == [(1, None, 0, 4), (2, 1, 1, 3)]
    [root] = await store.usage_tree(PROJECT, TRACE, USAGE, max_depth=0)
    assert root["total_usage"]["prompt_tokens"] == 1 + 2 + 3 + 4


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        pytest.param({2: 1, 3: 2}, [(2, None, 0, 2), (3, 2, 1, 1)], id="the parent is not stored"),
        pytest.param({1: 1, 2: 1}, [(1, None, 0, 2), (2, 1, 1, 1)], id="its own parent"),
        pytest.param({1: 2, 2: 1}, [(1, None, 0, 2), (2, 1, 1, 1)], id="each other's parents"),
        pytest.param(
            {1: 4, 2: 4, 3: 2, 4: 3, 5: None, 6: 1},
            [(2, None, 0, 5), (3, 2, 1, 4), (4, 3, 2, 3), (1, 4, 3, 2), (6, 1, 4, 1), (5, None, 0, 1)],
            id="a circle that others hang on, the oldest of all among them",
        ),
        pytest.param(
            {1: 2, 2: 1, 3: 4, 4: 3},
            [(1, None, 0, 2), (2, 1, 1, 1), (3, None, 0, 2), (4, 3, 1, 1)],
            id="two circles",
        ),
    ],
)
async def test_every_call_is_in_the_tree_once_for_any_parents(
    calls: CallsStore,
    store: AggregatesStore,
    parents: dict[int, int | None],
    expected: list[tuple[int, int | None, int, int]],
) -> None:
    await write(calls, parents)

    assert await shape(store) == expected


async def test_random_parents_make_trees_of_all_calls() -> None:
    rng = Random(4)
    for size in range(1, 60):
        rows = [{"id": str(number), "parent_id": str(rng.randrange(size + 2))} for number in range(size)]

        nodes = await in_tree_order(rows)

        assert sorted(node.row["id"] for node in nodes) == sorted(row["id"] for row in rows)
        seen: set[str] = set()
        for node in nodes:
            if node.parent:
                assert node.parent.row["id"] == node.row["parent_id"]
                assert node.parent.row["id"] in seen
                assert node.depth == node.parent.depth + 1
            seen.add(node.row["id"])


async def test_deleted_call_disappears_from_its_trace(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, {1: None, 2: 1, 3: 1, 4: 3})

    await calls.delete(PROJECT, [call_id(3)])

    assert await shape(store) == [(1, None, 0, 2), (2, 1, 1, 1)]


async def test_unknown_trace_and_other_projects_return_no_calls(calls: CallsStore, store: AggregatesStore) -> None:
    await write(calls, {1: None})

    assert await store.usage_tree(PROJECT, trace_id(2), USAGE) == []
    assert await store.usage_tree("acme/other", TRACE, USAGE) == []


@pytest.mark.parametrize(
    ("trace", "max_depth", "argument"),
    [("no trace", None, "trace_id"), (TRACE, -1, "max_depth")],
)
async def test_invalid_arguments_are_named(
    store: AggregatesStore, trace: str, max_depth: int | None, argument: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        await store.usage_tree(PROJECT, trace, USAGE, max_depth)

    assert caught.value.argument == argument


async def test_trace_of_too_many_calls_is_refused_with_alternatives(
    calls: CallsStore, store: AggregatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(calls, {1: None, 2: 1, 3: 1})

    monkeypatch.setattr("stores.aggregates.store.MAX_CALLS", 3)
    assert len(await store.usage_tree(PROJECT, TRACE, USAGE)) == 3
    monkeypatch.setattr("stores.aggregates.store.MAX_CALLS", 2)
    with pytest.raises(BadInputError, match=r"more than 2 calls.*callsAggregate") as caught:
        await store.usage_tree(PROJECT, TRACE, USAGE)
    assert caught.value.argument == "trace_id"


async def test_chain_of_20_000_calls_needs_no_recursion() -> None:
    depth = 20_000
    rows = [
        {
            "id": f"{number:05}",
            "parent_id": f"{number - 1:05}",
            "status": "error",
            "started_at": number,
            "usage": [{"model": "m", "prompt_tokens": 1, "completion_tokens": 2, "requests": 1, "total_tokens": 3}],
            "usage_scope": "own",
        }
        for number in range(depth)
    ]

    nodes = await usage_tree(rows, ["total_usage"], None, None)

    assert [node["depth"] for node in nodes] == list(range(depth))
    assert [node["num_errors"] for node in nodes] == list(range(depth, 0, -1))
    assert nodes[0]["total_usage"]["models"][0]["total_tokens"] == 3 * depth


async def test_summing_a_large_root_yields_to_other_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stores.concurrency.time_slices.SLICE_SECONDS", 0.0)
    counts = {"model": "m", "prompt_tokens": 1, "completion_tokens": 0, "requests": 1, "total_tokens": 1}
    below: dict[str, Any] = {"parent_id": "root", "status": "success", "usage": [counts], "usage_scope": "own"}
    rows: list[dict[str, Any]] = [{"id": "root", "parent_id": None, "status": "success", "started_at": 0}]
    rows += [{"id": f"{number}", "started_at": number, **below} for number in range(300)]
    turns = Turns()

    async with another_task(turns):
        [root, *_] = await usage_tree(rows, ["total_usage"], None, None)

    assert root["total_usage"]["total_tokens"] == 300
    assert turns.count >= 5 * 300  # five passes: nodes, parents, order, sums and rows


async def test_sum_of_a_deep_chain_yields_to_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.concurrency.time_slices.SLICE_SECONDS", 0.0)
    usage = [{"model": "m", "prompt_tokens": 1, "completion_tokens": 0, "requests": 1, "total_tokens": 1}]
    rows: list[dict[str, Any]] = [
        {"id": str(number), "parent_id": str(number - 1), "status": "success", "started_at": number}
        for number in range(20_000)
    ]
    rows[-1] |= {"usage": usage, "usage_scope": "own"}
    turns = Turns()

    async with another_task(turns):
        found = await usage_of_trace(rows, None)

    assert found["total_tokens"] == 1
    assert turns.count >= 2 * 200  # two passes: parents, and the calls above the one with usage


async def test_chain_with_new_models_at_each_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.costs.usage_tree.MAX_ENTRIES", 1000)
    counts = {"prompt_tokens": 1, "completion_tokens": 0, "requests": 1, "total_tokens": 1}
    rows = [
        {
            "id": f"{number:05}",
            "parent_id": f"{number - 1:05}",
            "status": "success",
            "started_at": number,
            "usage": [{"model": f"model {number}", **counts}],
        }
        for number in range(60)
    ]

    with pytest.raises(BadInputError, match="so many models"):
        await usage_tree(rows, ["total_usage"], None, None)
    siblings = [
        row | {"parent_id": None, "usage": [{"model": f"{row['id']} {each}", **counts} for each in range(20)]}
        for row in rows
    ]
    with pytest.raises(BadInputError, match="so many models"):
        await usage_of_trace(siblings, None)
    assert len(await usage_tree(rows[:40], ["total_usage"], None, None)) == 40


async def test_usage_that_needs_no_tree_equals_that_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    async def always(*_: object) -> bool:
        return True

    rng, without_tree = Random(5), 0
    for _ in range(500):
        size = rng.randrange(1, 8)
        rows: list[dict[str, Any]] = []
        for number in range(size):
            counts = {name: rng.randrange(1, 9) for name in (*TOKENS, "requests")}
            row = {"id": str(number), "parent_id": str(rng.randrange(size + 2)), "status": "success", "started_at": 0}
            usage = [{"model": model, **counts} for model in rng.sample("ab", rng.choice((0, 0, 0, 1, 2)))]
            rows.append(row | {"usage": usage, "usage_scope": rng.choice((None, OWN, SUM))})
        reporting = {row["id"] for row in rows if row["usage"]}
        without_tree += len(reporting) > 1 and not await usage_trees._is_one_above_another(rows, reporting)
        found = await usage_of_trace(rows, None), await own_usage_of_trace(rows)
        with monkeypatch.context() as patch:
            patch.setattr(usage_trees, "_is_one_above_another", always)
            by_tree = await usage_of_trace(rows, None), await own_usage_of_trace(rows)
        assert found[0] == by_tree[0], rows
        assert sorted(found[1], key=repr) == sorted(by_tree[1], key=repr), rows
    assert without_tree > 20


async def test_usage_below_a_call_without_usage_counts_once() -> None:
    counts = {**dict.fromkeys((*TOKENS, "requests"), 0), "total_tokens": 10}
    row = {"status": "success", "started_at": 0, "usage_scope": None}
    usage = [{"model": "a", **counts}]
    rows: list[dict[str, Any]] = [
        {**row, "id": "1", "parent_id": None, "usage": usage},
        {**row, "id": "2", "parent_id": "1", "usage": []},
        {**row, "id": "3", "parent_id": "2", "usage": usage},
    ]

    assert (await usage_of_trace(rows, None))["total_tokens"] == 10


async def test_call_is_priced_at_its_start_and_unpriced_models_are_listed(
    calls: CallsStore, store: AggregatesStore, database: Database
) -> None:
    await write(calls, {1: None, 2: 1, 3: 2})
    dear = start(3).started_at
    costs = CostsStore(database)
    await costs.create(
        PROJECT, [NewCost("loom", 0.5, 0.25, effective_date=0), NewCost("loom", 5.0, 2.5, effective_date=dear)]
    )
    weft = {"usage": {"weft": {"prompt_tokens": 7, "completion_tokens": 0}}, "status_counts": {"error": 1}}
    await calls.write([start(4, trace_id=TRACE, parent_id=call_id(1)), end(4, summary=weft)])

    nodes = await store.usage_tree(PROJECT, TRACE, USAGE)

    assert [node["own_usage"]["cost"] for node in nodes] == [0.75, 1.25, 17.5, None]
    assert [node["total_usage"]["cost"] for node in nodes] == [19.5, 18.75, 17.5, None]
    assert [node["total_usage"]["unpriced_tokens"] for node in nodes] == [7, 0, 0, 7]
    assert [model["cost"] for model in nodes[0]["total_usage"]["models"]] == [19.5, None]


@pytest.mark.parametrize(("requests", "cost"), [(1, 0.625), (2, 0.3125)])
async def test_price_tier_does_not_apply_to_a_call_of_several_requests(
    calls: CallsStore, store: AggregatesStore, requests: int, cost: float
) -> None:
    used = {"gemini-2.5-pro": {"requests": requests, "prompt_tokens": 250_000}}
    summary = {"usage": used, "status_counts": {"success": 1}}
    await calls.write([start(1, trace_id=TRACE), end(1, summary=summary)])

    [node] = await store.usage_tree(PROJECT, TRACE, USAGE)

    assert node["own_usage"]["cost"] == cost


async def test_tree_takes_two_commands_or_one_without_costs(
    calls: CallsStore, store: AggregatesStore, commands: Commands
) -> None:
    await write(calls, {1: None, 2: 1})
    commands.sent.clear()

    await store.usage_tree(PROJECT, TRACE, USAGE)
    assert commands.names == ["find", "find"]
    commands.sent.clear()

    await store.usage_tree(PROJECT, TRACE, ["op_name"])
    assert commands.names == ["find"]
    assert set(commands.last("find")["projection"]) == {"_id", "id", "parent_id", "status", "started_at", "op_name"}


def test_hundred_thousand_small_costs_add_up_exactly() -> None:
    rng = Random(1)
    costs = [rng.choice((3e-7, 0.1, 1.7e-6, 12345.678)) for _ in range(100_000)]
    tally = Tally()
    for cost in costs:
        tally.add(Tally(cost=exact(cost)))

    right = float(sum(Fraction(repr(cost)) for cost in costs))
    assert tally.row()["cost"] == right
    drifting = 0.0
    for cost in costs:
        drifting += cost
    assert drifting != right
