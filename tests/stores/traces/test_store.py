"""Tests of the store of traces: a trace has the visible calls of its project, within limits."""

import pytest

from stores import traces
from stores.calls import CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.traces import TracesStore
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

OTHER = "acme/other"
FIRST, SECOND_ONE, NONE = ((PROJECT, trace_id(number)) for number in (1, 2, 9))
ELSEWHERE = (OTHER, trace_id(1))
ALL = [FIRST, SECOND_ONE, NONE, ELSEWHERE]


@pytest.fixture
async def store(database: Database, calls: CallsStore) -> TracesStore:
    """Write a trace of three calls, a trace of one, and a trace of another project with the first one's id."""
    usage = {"usage": {"m": {"prompt_tokens": 3, "completion_tokens": 4}}}
    await calls.write(
        [
            start(1),
            start(3, trace_id=trace_id(1), parent_id=call_id(1)),
            end(3, summary=usage, exception="broke"),
            start(4, trace_id=trace_id(1), parent_id=call_id(3)),
            start(2),
            end(2),
            start(5, project_id=OTHER, trace_id=trace_id(1)),
        ]
    )
    return TracesStore(database)


async def test_trace_exists_if_one_of_its_calls_is_visible(store: TracesStore, calls: CallsStore) -> None:
    assert await store.by_keys(ALL, frozenset()) == {
        key: None if key == NONE else {"project_id": key[0], "trace_id": key[1]} for key in ALL
    }
    await calls.delete(PROJECT, [call_id(2)])

    assert await store.one(*SECOND_ONE) is None
    assert await store.one(*FIRST) == {"project_id": PROJECT, "trace_id": trace_id(1)}


@pytest.mark.parametrize("wrong", ["", "no/trace", "x" * 2_000])
async def test_invalid_trace_id_is_refused(store: TracesStore, wrong: str) -> None:
    with pytest.raises(BadInputError) as refused:
        await store.one(PROJECT, wrong)

    assert refused.value.argument == "trace_id"


async def test_root_is_the_oldest_call_without_a_parent(store: TracesStore, calls: CallsStore) -> None:
    await calls.write([start(6, trace_id=trace_id(1), started_at=NOON - SECOND)])

    found = await store.roots(ALL, frozenset({"id"}))

    assert {key: row and row["id"] for key, row in found.items()} == {
        FIRST: call_id(6),
        SECOND_ONE: call_id(2),
        NONE: None,
        ELSEWHERE: call_id(5),
    }


async def test_trees_have_the_selected_fields_of_their_project(store: TracesStore) -> None:
    found = await store.trees(ALL, frozenset({"id", "exception"}), PageRequest(10))

    shown = {key: [(row["id"], row["depth"], row.get("exception")) for row in page.rows] for key, page in found.items()}
    assert shown == {
        FIRST: [(call_id(1), 0, None), (call_id(3), 1, "broke"), (call_id(4), 2, None)],
        SECOND_ONE: [(call_id(2), 0, None)],
        NONE: [],
        ELSEWHERE: [(call_id(5), 0, None)],
    }
    assert {row["project_id"] for row in found[ELSEWHERE].rows} == {OTHER}


@pytest.mark.parametrize(("depth", "counts"), [(None, [3, 1, 0, 1]), (1, [2, 1, 0, 1]), (0, [1, 1, 0, 1])])
async def test_counts_match_the_tree_to_a_depth(store: TracesStore, depth: int | None, counts: list[int]) -> None:
    found = await store.count(ALL, None, depth)

    assert [found[key] for key in ALL] == counts


@pytest.mark.parametrize("ask", ["trees", "count"])
async def test_negative_depth_is_refused(store: TracesStore, ask: str) -> None:
    page = frozenset[str](), PageRequest(1)
    operation = store.count([FIRST], None, -1) if ask == "count" else store.trees([FIRST], *page, -1)

    with pytest.raises(BadInputError) as refused:
        await operation

    assert refused.value.argument == "max_depth"


async def test_only_selected_totals_are_computed(store: TracesStore, commands: Commands) -> None:
    commands.sent.clear()
    counted = await store.totals(ALL, frozenset({"num_calls", "num_errors", "num_running", "duration_ms"}))

    assert commands.names == ["aggregate", "aggregate"]  # one per project
    shown = {key: [row[f"num_{what}"] for what in ("calls", "errors", "running")] for key, row in counted.items()}
    assert shown == {FIRST: [3, 1, 2], SECOND_ONE: [1, 0, 0], NONE: [0, 0, 0], ELSEWHERE: [1, 0, 1]}
    assert [counted[key].get("duration_ms") for key in ALL] == [2500, 500, None, None]

    used = await store.totals([FIRST], frozenset({"usage"}))
    assert used[FIRST]["usage"]["total_tokens"] == 7


async def test_too_many_calls_are_refused_for_trees_and_usage_only(
    store: TracesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MAX_CALLS", 3)

    assert len((await store.trees([FIRST], frozenset(), PageRequest(9)))[FIRST].rows) == 3
    for operation in (
        store.trees([FIRST, SECOND_ONE], frozenset(), PageRequest(9)),
        store.totals([FIRST, SECOND_ONE], frozenset({"usage"})),
    ):
        with pytest.raises(BadInputError, match="more than 3 calls together"):
            await operation
    assert (await store.totals([FIRST, SECOND_ONE], frozenset({"num_calls"})))[FIRST]["num_calls"] == 3
    assert (await store.count([FIRST]))[FIRST] == 3
