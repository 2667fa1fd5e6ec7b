"""The default page of traces reads the calls of its traces, whatever the size of the project."""

from collections.abc import Iterator
from typing import Any

import pytest

from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.database import Database
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.trace_lists import AnyCall, TraceListsStore
from stores.traces import CALLS_AND_ERRORS, TracesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id

TRACES, SIZE = 1_000, 40

_OF_QUERIES = ("find", "filter", "sort", "limit", "projection", "aggregate", "pipeline", "cursor", "hint")


@pytest.fixture
async def stored(calls: CallsStore) -> None:
    """Write a thousand traces of four calls; every hundredth trace lacks its root."""
    for first in range(0, TRACES, 100):
        parts: list[CallStart | CallEnd] = []
        for number in range(first, first + 100):
            of = {"trace_id": trace_id(number), "parent_id": call_id(number)}
            if number % 100:
                parts += [start(number, op_name=f"op {number % 20}"), end(number)]
            parts += [start(10_000 * each + number, **of, started_at=start(number).started_at + each)
                      for each in (1, 2, 3)]  # fmt: skip
        await calls.write(parts)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("calls_filter", "sort_by"),
    [(None, None), (None, [SortBy("started_at")]), (CallsFilter(op_names=["op 3"]), None)],
    ids=["newest", "oldest", "filter"],
)
async def test_page_reads_few_calls(
    database: Database, commands: Commands, calls_filter: CallsFilter | None, sort_by: list[SortBy] | None
) -> None:
    lists, traces = TraceListsStore(database), TracesStore(database)
    commands.sent.clear()
    page = await lists.page(PROJECT, PageRequest(SIZE), calls_filter, sort_by)
    keys = [(PROJECT, row["trace_id"]) for row in page.rows]
    await traces.summaries(keys)
    await traces.totals(keys, CALLS_AND_ERRORS)

    assert len(keys) == SIZE
    examined = [await examined_documents(database, body) for name, body in commands.sent if body[name] == "calls"]
    # Op names are read first; the oldest trace has no root, so its head is looked up.
    assert len(examined) == (6 if calls_filter or sort_by else 5)
    assert examined[1 if calls_filter else 0] <= SIZE + 2 + 10  # the page reads a few spare roots
    assert max(examined) <= 4 * (SIZE + 2)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("any_call", [None, AnyCall(CallsFilter(op_names=["op 3"]))], ids=["query", "any call"])
async def test_explain_shows_how_a_condition_finds_its_traces(database: Database, any_call: AnyCall | None) -> None:
    query = None if any_call else Query({"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "op 3"}]}})
    by_errors = [SortBy("num_errors")]

    plan = await TraceListsStore(database).explain(PROJECT, None, by_errors, query, any_call)

    assert plan.returned <= plan.documents_examined <= TRACES // 20
    assert "op 3" in plan.pipeline_text


async def examined_documents(database: Database, command: dict[str, Any]) -> int:
    """Return the number of documents that MongoDB examines for a command, on the busiest of several shards."""
    asked = {name: value for name, value in command.items() if name in _OF_QUERIES}
    plan = await database.calls.database.command("explain", asked, verbosity="executionStats")
    return max(_numbers(plan, "totalDocsExamined"))


def _numbers(plan: object, name: str) -> Iterator[int]:
    """Yield the numbers of a name in a plan, without the plans that were rejected."""
    if isinstance(plan, dict):
        for key, value in plan.items():
            if key == name:
                if "shards" not in plan | plan.get("executionStages", {}):  # a router has the sum
                    yield int(value)
            elif key != "allPlansExecution":
                yield from _numbers(value, name)
    elif isinstance(plan, list):
        for each in plan:
            yield from _numbers(each, name)
