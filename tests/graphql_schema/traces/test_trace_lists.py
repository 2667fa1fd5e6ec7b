"""The list of traces in the API: rows with the fields of their trace, equal wherever the trace is read."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.feedback import FeedbackStore, NewFeedback
from stores.rollups.settling import Settling
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.rollups.test_settling import settle

FIELDS = """
  fragment F on Trace {
    ref traceId name status startedAt endedAt latencyMs numCalls numErrors totalTokens totalCost kind userId threadId
    tags environment release root { id }
    feedback { totalCount nodes { feedbackType } }
  }
"""
LIST = (
    FIELDS
    + """
query ($p: ID!, $filter: CallsFilter, $query: QueryInput, $any: AnyCallInput, $sort: [SortBy!], $first: Int,
       $after: String, $last: Int, $before: String, $totals: QueryInput) {
  traces(projectId: $p, filter: $filter, query: $query, anyCall: $any, sortBy: $sort, first: $first, after: $after,
         last: $last, before: $before, totals: $totals) {
    totalCount nodes { ...F } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
)


ATTRIBUTES = {"user_id": "zoe", "tags": ["beta", "web"], "deployment.environment.name": "prod"}


@pytest.fixture
async def written(database: Database, calls: CallsStore) -> None:
    """Write a trace of three calls with an error, and a trace whose root is missing."""
    usage = {"usage": {"m": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}}}
    await calls.write(
        [
            start(1, display_name="Talk", thread_id="t"),
            start(2, trace_id=trace_id(1), parent_id=call_id(1), attributes=ATTRIBUTES),
            end(2, exception="broke", summary=usage | {"status_counts": {"error": 1}}),
            start(3, trace_id=trace_id(1), parent_id=call_id(1)),
            end(3, summary=usage),
            end(1, summary=usage | {"status_counts": {"success": 2, "error": 1}}),
            start(5, trace_id=trace_id(4), parent_id=call_id(4), thread_id="orphan"),
        ]
    )
    await CostsStore(database).create(PROJECT, [NewCost("m", 0.5, 1.0, effective_date=0)])
    feedback = [
        NewFeedback(PROJECT, f"weave:///{PROJECT}/call/{call_id(number)}", kind, {"value": number})
        for number, kind in ((1, "good"), (2, "bad"), (5, "good"))
    ]
    await FeedbackStore(database).create(feedback)


async def listed(run: Run, **variables: Any) -> Any:
    answer = await run(LIST, p=PROJECT, **variables)
    assert answer.errors == []
    return answer.data["traces"]


@pytest.mark.usefixtures("written")
async def test_row_has_the_numbers_of_its_trace(run: Run) -> None:
    found = await listed(run)

    orphan, talk = found["nodes"]
    assert found["totalCount"] == 2
    assert talk == {
        "ref": f"weave:///{PROJECT}/trace/{trace_id(1)}",
        "traceId": trace_id(1),
        "name": "Talk",
        "status": "DESCENDANT_ERROR",
        "startedAt": "2026-01-31T12:00:01.000000Z",
        "endedAt": "2026-01-31T12:00:01.500000Z",
        "latencyMs": 500,
        "numCalls": 3,
        "numErrors": 1,
        "totalTokens": 22,
        "totalCost": 12.0,
        "kind": None,
        "userId": "zoe",
        "threadId": "t",
        "tags": ["beta", "web"],
        "environment": "prod",
        "release": None,
        "root": {"id": call_id(1)},
        "feedback": {"totalCount": 2, "nodes": [{"feedbackType": "good"}, {"feedbackType": "bad"}]},
    }
    assert {name: orphan[name] for name in ("name", "status", "threadId", "root", "numCalls", "totalCost")} == {
        "name": "answer",
        "status": "RUNNING",
        "threadId": "orphan",
        "root": None,
        "numCalls": 1,
        "totalCost": None,
    }


@pytest.mark.usefixtures("written")
async def test_trace_has_equal_values_wherever_it_is_read(run: Run) -> None:
    _, row = (await listed(run))["nodes"]
    document = (
        FIELDS
        + """query ($p: ID!, $t: ID!, $c: ID!, $r: ID!) {
      trace(projectId: $p, traceId: $t) { ...F }
      call(projectId: $p, id: $c) { trace { ...F } }
      node(id: $r) { ...F }
    }"""
    )

    answer = await run(document, p=PROJECT, t=trace_id(1), c=call_id(2), r=row["ref"])

    assert answer.errors == []
    assert [answer.data["trace"], answer.data["call"]["trace"], answer.data["node"]] == [row] * 3


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ({"any": {"filter": {"statuses": ["ERROR"]}}}, [1]),
        ({"any": {"filter": {"callIds": [call_id(3), call_id(5)]}}}, [4, 1]),
        ({"any": {}}, [4, 1]),
        ({"filter": {"statuses": ["ERROR"]}}, []),
        ({"filter": {"threadIds": ["t"]}, "any": {"filter": {"statuses": ["ERROR"]}}}, [1]),
        ({"query": {"json": {"$expr": {"$eq": [{"$getField": "display_name"}, {"$literal": "Talk"}]}}}}, [1]),
        ({"any": {"query": {"expr": {"eq": [{"getField": "id"}, {"literal": call_id(2)}]}}}}, [1]),
        ({"sort": [{"field": "totalCost", "direction": "DESC"}]}, [1, 4]),
        ({"sort": [{"field": "num_errors", "direction": "ASC"}]}, [4, 1]),
        ({"totals": {"expr": {"gt": [{"getField": "totalCost"}, {"literal": 11.5}]}}}, [1]),
        ({"totals": {"json": {"$expr": {"$eq": [{"$getField": "num_calls"}, {"$literal": 1}]}}}}, [4]),
    ],
)
async def test_arguments_choose_and_sort_traces(run: Run, arguments: dict[str, Any], numbers: list[int]) -> None:
    found = await listed(run, **arguments)

    assert [row["traceId"] for row in found["nodes"]] == [trace_id(number) for number in numbers]
    assert found["totalCount"] == len(numbers)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("sort", [None, [{"field": "num_calls", "direction": "DESC"}]])
async def test_pages_lead_in_both_directions(run: Run, sort: list[dict[str, str]] | None) -> None:
    first = await listed(run, sort=sort, first=1)
    second = await listed(run, sort=sort, first=1, after=first["pageInfo"]["endCursor"])
    back = await listed(run, sort=sort, last=1, before=second["pageInfo"]["startCursor"])

    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    assert first["nodes"] == back["nodes"] != second["nodes"]


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("arguments", "argument", "message"),
    [
        ({"sort": [{"field": "latency", "direction": "ASC"}]}, "sortBy.0.field", "latency_ms"),
        ({"any": {"query": {"json": {}}}}, "anyCall.query.json", ""),
        ({"any": {"filter": {"callIds": ["x"] * 1_001}}}, "anyCall.filter.callIds", "1,000"),
        ({"after": "mine"}, "after", "not a cursor"),
        ({"first": -1}, "first", "negative"),
    ],
)
async def test_bad_arguments_are_refused(run: Run, arguments: dict[str, Any], argument: str, message: str) -> None:
    answer = await run(LIST, p=PROJECT, **arguments)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"].startswith(argument)
    assert message in answer.errors[0]["message"]


async def test_page_takes_a_constant_number_of_commands(run: Run, calls: CallsStore, commands: Commands) -> None:
    counts = []
    for number in (3, 40):
        await calls.write([part for each in range(number) for part in (start(each), end(each))])
        commands.sent.clear()
        assert len((await listed(run))["nodes"]) == number
        counts.append(len(commands.names))

    assert counts[0] == counts[1]


async def test_deleted_trace_is_neither_listed_nor_found(run: Run, calls: CallsStore) -> None:
    await calls.write([start(1)])
    await calls.delete(PROJECT, [call_id(1)])

    assert (await listed(run))["nodes"] == []
    answer = await run(
        "query ($p: ID!, $t: ID!) { trace(projectId: $p, traceId: $t) { name } }", p=PROJECT, t=trace_id(1)
    )
    assert answer.data == {"trace": None}


@pytest.mark.usefixtures("written")
@pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)
async def test_plan_says_that_a_list_reads_totals(run: Run, database: Database) -> None:
    document = """query ($sort: [SortBy!]) { explainTraces(projectId: "acme/chat", sortBy: $sort) {
      readsTotals indexes sortsInMemory
    } }"""
    by_cost = [{"field": "total_cost", "direction": "DESC"}]
    assert (await run(document, sort=by_cost)).data["explainTraces"]["readsTotals"] is False

    await settle(Settling(database))

    found = [(await run(document, sort=sort)).data["explainTraces"] for sort in (by_cost, None)]
    assert found == [
        {"readsTotals": True, "indexes": ["total_cost_id_compressed"], "sortsInMemory": False},
        {"readsTotals": False, "indexes": ["started_at_id_compressed"], "sortsInMemory": False},
    ]
