"""Tests that a filter matches any value within a list and all lists together, within one project."""

import asyncio
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.calls.events import EventFilter
from stores.calls.fields import FILTER_FIELDS, INDEXED_CALL_FIELDS
from stores.database import Database
from stores.database.indexes import INDEXES
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.query.evaluator import DocumentValues
from stores.query.index_use import UNINDEXED_FILTERS
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, start, trace_id
from tests.stores.calls.cases import FILTER_CASES, OP, REF, six_calls

LISTS = [name for name, hint in get_type_hints(CallsFilter).items() if hint == list[str] | None]


@pytest.fixture
async def some_calls(calls: CallsStore) -> None:
    """Write six calls that differ in every filtered field, and copies of them in another project."""
    parts = six_calls()
    await calls.write(parts)
    for part in parts:
        part.project_id = "acme/other"
    await calls.write(parts)


async def found(calls: CallsStore, calls_filter: CallsFilter) -> list[int]:
    page = await calls.page(PROJECT, PageRequest(), {"id"}, calls_filter)
    assert await calls.count(PROJECT, calls_filter) == len(page.rows)
    return [int(row["id"][-12:], 16) for row in page.rows]


def of(name: str, members: list[str]) -> CallsFilter:
    """Return a filter with one list."""
    return replace(CallsFilter(), **{name: members})  # type: ignore[arg-type]  # any list of the filter


@pytest.mark.usefixtures("some_calls")
@pytest.mark.parametrize(
    ("calls_filter", "numbers"),
    [
        (CallsFilter(), [1, 2, 3, 4, 5, 6]),
        (CallsFilter(op_names=["foo:v1"]), [1]),
        (CallsFilter(op_names=["foo:*"]), [1, 2, 4, 5, 6]),
        (CallsFilter(op_names=["foo"]), [4, 5, 6]),
        (CallsFilter(op_names=["fo:*"]), []),
        (CallsFilter(op_names=["fo", "Foo", "foo:"]), []),
        (CallsFilter(op_names=["foobar:*", f"{OP}v2"]), [3, 5]),
        (CallsFilter(op_names=["weave:///acme/other/op/foo:*"]), []),
        (CallsFilter(op_names=[f"{OP}*"]), [4, 5]),
        (CallsFilter(op_names=["foo:*", "foo", f"{OP}v1"]), [1, 2, 4, 5, 6]),
        (CallsFilter(op_names=["foo:*", "foobar:*"]), [1, 2, 3, 4, 5, 6]),
        (CallsFilter(op_names=[".*", "f.*:*"]), []),
        (CallsFilter(op_names=["weave:*"]), []),
        (CallsFilter(input_refs=[f"{REF}v1"]), [2, 3]),
        (CallsFilter(input_refs=[f"{REF}v2", f"{REF}v3"]), [3]),
        (CallsFilter(input_refs=[f"{REF}*"]), []),
        (CallsFilter(output_refs=[f"{REF}v2"]), [6]),
        (CallsFilter(output_refs=[f"{REF}v1"]), []),
        (CallsFilter(parent_ids=[call_id(1), call_id(4)]), [2, 5]),
        (CallsFilter(trace_ids=[trace_id(1)]), [1, 4, 5]),
        (CallsFilter(call_ids=[call_id(6), call_id(2), call_id(99), "NOPE"]), [2, 6]),
        (CallsFilter(thread_ids=["t1"]), [1, 2]),
        (CallsFilter(thread_ids=["t1", "t2"]), [1, 2, 4]),
        (CallsFilter(turn_ids=[call_id(1)]), [1, 2]),
        (CallsFilter(wb_user_ids=["ann"]), [1]),
        (CallsFilter(wb_user_ids=["local", "bob"]), [2, 3, 4, 5, 6]),
        (CallsFilter(wb_run_ids=["acme/chat/r2", "acme/chat/r1"]), [1, 3]),
        (CallsFilter(trace_roots_only=True), [1, 4, 6]),
        (CallsFilter(trace_roots_only=False), [1, 2, 3, 4, 5, 6]),
        (CallsFilter(trace_roots_only=True, trace_ids=[trace_id(1)]), [1, 4]),
        (CallsFilter(trace_roots_only=True, parent_ids=[call_id(1)]), []),
        (CallsFilter(thread_ids=["t1"], op_names=["foo:*"], parent_ids=[call_id(1)]), [2]),
        (CallsFilter(thread_ids=["t1"], wb_user_ids=["bob"]), []),
        (CallsFilter(statuses=["success"]), [6]),
        (CallsFilter(statuses=["error", "running"]), [2, 3, 4, 5]),
        (CallsFilter(statuses=["descendant_error"]), [1]),
        (CallsFilter(errors_only=True), [4]),
        (CallsFilter(errors_only=False), [1, 2, 3, 4, 5, 6]),
        (CallsFilter(errors_only=True, statuses=["success"]), []),
        (CallsFilter(models=["gpt-4o"]), [2, 4, 6]),
        (CallsFilter(models=["o3", "none"]), [4]),
        (CallsFilter(models=["gpt-4"]), []),
        (CallsFilter(started_after=NOON + 3 * SECOND), [4, 5, 6]),
        (CallsFilter(started_before=NOON + 3 * SECOND), [1, 2]),
        (CallsFilter(started_after=NOON + 1 * SECOND, started_before=NOON + 4 * SECOND), [2, 3]),
        (CallsFilter(started_after=0), [1, 2, 3, 4, 5, 6]),
    ],
)
async def test_filter_finds_calls_that_match_every_list(
    calls: CallsStore, calls_filter: CallsFilter, numbers: list[int]
) -> None:
    assert await found(calls, calls_filter) == numbers


@pytest.mark.usefixtures("some_calls")
@pytest.mark.parametrize("name", FILTER_FIELDS)
async def test_each_field_matches_its_case_in_lists_and_events(
    calls: CallsStore, database: Database, name: str
) -> None:
    assert name in FILTER_CASES, f"add a value of {name} to FILTER_CASES in tests/stores/calls/cases.py"
    value, numbers = FILTER_CASES[name]
    calls_filter = CallsFilter(**{name: value})
    event_filter = EventFilter(PROJECT, calls_filter)

    documents = await database.calls.find({"project_id": PROJECT}).to_list(None)
    passing = [each["id"] for each in documents if event_filter.matches(each, DocumentValues(each))]

    assert await found(calls, calls_filter) == numbers, f"see the match of {name} in stores/calls/fields.py"
    assert sorted(passing) == [call_id(number) for number in numbers], (
        f"see the test of {name} in stores/calls/fields.py, which subscriptions use"
    )


def test_fields_without_an_index_count_as_scans() -> None:
    """Check that the cost limit knows each field whose column leads no index of calls."""
    indexed = {"_id", "id"} | {
        path
        for index in INDEXES
        if index.collection == "calls"
        for path in [path for path, _ in index.keys if path not in {"project_id", "visible"}][:1]
        if index.only.keys() <= {path}
    }
    unindexed = {name for name, row in FILTER_FIELDS.items() if row.column not in indexed}

    assert unindexed == {name for name in UNINDEXED_FILTERS if name in FILTER_FIELDS}, (
        "name these filters in UNINDEXED_FILTERS of stores/query/index_use.py, or add an index to "
        "stores/database/indexes.py"
    )


@pytest.mark.usefixtures("some_calls")
@pytest.mark.parametrize("name", LISTS)
async def test_empty_list_does_not_filter(calls: CallsStore, name: str) -> None:
    assert await found(calls, of(name, [])) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("some_calls")
@pytest.mark.parametrize("name", LISTS)
async def test_list_accepts_a_thousand_values_and_no_more(calls: CallsStore, name: str) -> None:
    members = [f"member {number}" for number in range(1001)]

    assert await found(calls, of(name, members[:1000])) == []
    with pytest.raises(BadInputError, match="has 1,001 members; the limit is 1,000") as refused:
        await calls.count(PROJECT, of(name, members))
    assert refused.value.argument == f"filter.{name}"


async def test_thousand_op_versions_are_one_query(calls: CallsStore) -> None:
    await calls.write([start(1, op_name="op7:v1"), start(2, op_name="op:v1")])

    assert await found(calls, CallsFilter(op_names=[f"op{number}:*" for number in range(1000)])) == [1]


@pytest.mark.usefixtures("some_calls")
async def test_unknown_project_returns_an_empty_page(calls: CallsStore) -> None:
    page = await calls.page("acme/none", PageRequest(), {"id"})

    assert (page.rows, page.has_next, page.has_previous) == ([], False, False)
    assert await calls.count("acme/none") == 0


@pytest.mark.parametrize("project_id", ["", "acme", "acme/chat/x"])
async def test_invalid_project_is_refused_by_every_method(calls: CallsStore, project_id: str) -> None:
    questions = [
        calls.page(project_id, PageRequest(), {"id"}),
        calls.count(project_id),
        calls.stats(project_id, {"count"}),
        calls.one(project_id, call_id(1), {"id"}),
        calls.rename(project_id, call_id(1), "x"),
        calls.delete(project_id, [call_id(1)]),
    ]
    for question in questions:
        with pytest.raises(BadInputError, match="write entity/project"):
            await question


@pytest.mark.parametrize("name", ["op_names", "input_refs", "output_refs", "thread_ids"])
async def test_internal_ref_is_refused_with_its_position(calls: CallsStore, name: str) -> None:
    members: Any = ["weave:///acme/chat/object/a:b", "weave-trace-internal:///acme/object/a:b"]

    with pytest.raises(BadInputError, match="weave-trace-internal:/// is reserved for internal refs") as refused:
        await calls.count(PROJECT, replace(CallsFilter(), **{name: members}))

    assert refused.value.argument == f"filter.{name}.1"


@pytest.mark.parametrize(
    ("calls_filter", "argument"),
    [
        (CallsFilter(started_after=NOON, started_before=NOON), "started_after"),
        (CallsFilter(started_after=NOON + 1, started_before=NOON), "started_after"),
        (CallsFilter(min_time_to_first_token_ms=2.5, max_time_to_first_token_ms=2), "max_time_to_first_token_ms"),
        (CallsFilter(max_time_to_first_token_ms=-1), "max_time_to_first_token_ms"),
    ],
)
async def test_bounds_that_exclude_each_other_are_refused(
    calls: CallsStore, calls_filter: CallsFilter, argument: str
) -> None:
    for ask in (lambda: calls.count(PROJECT, calls_filter), lambda: asyncio.to_thread(calls_filter.test, PROJECT)):
        with pytest.raises(BadInputError, match="nothing can match: the lower bound is") as refused:
            await ask()
        assert refused.value.argument == f"filter.{argument}"


@pytest.mark.parametrize(
    ("calls_filter", "numbers"),
    [
        (CallsFilter(providers=["OpenAI"]), [2]),
        (CallsFilter(providers=["openai.chat", "none"]), [2]),
        (CallsFilter(finish_reasons=["max_tokens"]), [6]),
        (CallsFilter(error_types=["builtins.KeyError"]), [4]),
        (CallsFilter(min_time_to_first_token_ms=250, max_time_to_first_token_ms=250), [2]),
    ],
)
@pytest.mark.usefixtures("some_calls")
async def test_filter_knows_the_spellings_of_senders(
    calls: CallsStore, database: Database, calls_filter: CallsFilter, numbers: list[int]
) -> None:
    assert await found(calls, calls_filter) == numbers
    event_filter = EventFilter(PROJECT, calls_filter)
    documents = await database.calls.find({"project_id": PROJECT}).to_list(None)
    passing = {each["id"] for each in documents if event_filter.matches(each, DocumentValues(each))}
    assert passing == {call_id(number) for number in numbers}


def test_bound_of_zero_counts_as_a_scan() -> None:
    assert INDEXED_CALL_FIELDS.needs_scan(PROJECT, CallsFilter(min_time_to_first_token_ms=0))
    assert not INDEXED_CALL_FIELDS.needs_scan(PROJECT, CallsFilter(kinds=[], user_ids=["eve"]))
