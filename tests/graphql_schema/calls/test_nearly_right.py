"""Slightly wrong queries find the intended calls or return an error, but never silently find nothing."""

from typing import Any

import pytest

from stores.calls import CallsStore
from tests.graphql_schema.conftest import Run
from tests.graphql_schema.query_trees import Tree, eq, field, lit, typed
from tests.stores.calls.builders import NOON, SECOND, call_id, end, start

ANSWER = "weave:///acme/chat/op/assistant.answer"
CALLS = """
    query ($query: QueryInput, $filter: CallsFilter) {
        calls(projectId: "acme/chat", query: $query, filter: $filter) { totalCount nodes { id } }
        callsStats(projectId: "acme/chat", query: $query, filter: $filter) { count }
        callsAggregate(projectId: "acme/chat", query: $query, filter: $filter) { rows { count } }
    }
"""


@pytest.fixture(autouse=True)
async def stocked(calls: CallsStore) -> None:
    """Store two versions of an op, a plain name like it, a failure, a call with a model, and a foreign call."""
    await calls.write(
        [
            start(1, op_name=f"{ANSWER}:v1", inputs={"question": "Why?", "n": 5}),
            end(1, summary={"usage": {"gpt-4o": {"total_tokens": 7}}}),
            start(2, op_name=f"{ANSWER}:v2"),
            end(2, exception="broken"),
            start(3, op_name="assistant.answer", inputs={"messages": [{"content": "Héllo"}, {"n": 1.0}]}),
            start(4, op_name="assistant.answer.late", display_name="late"),
            end(4, summary={"status_counts": {"error": 2}}),
            start(5, op_name="weave:///acme/other/op/assistant.answer:v1", project_id="acme/other"),
        ]
    )


async def found(run: Run, query: Tree | None = None, calls_filter: dict[str, Any] | None = None) -> list[int]:
    """Return the numbers of the calls that a list finds, after a check that a count and an aggregate agree."""
    answer = await run(CALLS, query=query, filter=calls_filter)
    assert answer.errors == []
    numbers = [int(node["id"][-12:], 16) for node in answer.data["calls"]["nodes"]]
    counts = answer.data["calls"]["totalCount"], answer.data["callsStats"]["count"]
    assert [*counts, answer.data["callsAggregate"]["rows"][0]["count"]] == [len(numbers)] * 3
    return numbers


QUERIES: list[tuple[Tree, list[int]]] = [
    (eq("status", "ERROR"), [2]),
    (eq("status", "Descendant_Error"), [4]),
    (eq("summary.weave.status", "SUCCESS"), [1]),
    ({"$in": [field("status"), [lit("RUNNING"), lit("error")]]}, [2, 3]),
    ({"$ne": [field("status"), lit("Success")]}, [2, 3, 4]),
    (eq("op_name", "assistant.answer"), [1, 2, 3]),
    (eq("opName", "assistant.answer:*"), [1, 2, 3]),
    (eq("op_name", f"{ANSWER}:*"), [1, 2]),
    (eq("op_name", f"{ANSWER}:v2"), [2]),
    (eq("op_name", "assistant"), []),
    ({"$in": [field("op_name"), [lit("assistant.answer"), lit("assistant.answer.late")]]}, [1, 2, 3, 4]),
    ({"$ne": [field("op_name"), lit("assistant.answer")]}, [4]),
    ({"$eq": [{"$convert": {"input": field("op_name"), "to": "string"}}, lit("assistant.answer")]}, [1, 2, 3]),
    ({"$eq": [{"$convert": {"input": field("status"), "to": "string"}}, lit("ERROR")]}, [2]),
    ({"$startsWith": [field("op_name"), lit("assistant.")]}, [3, 4]),
    ({"$startsWith": [field("inputs.question"), lit("Wh")]}, [1]),
    ({"$startsWith": [field("inputs.n"), lit("5")]}, []),
    ({"$isNull": field("ended_at")}, [3]),
    ({"$isNull": field("inputs.question")}, [2, 3, 4]),
    ({"$exists": field("inputs.question")}, [1]),
    ({"$convert": {"input": field("inputs.question"), "to": "exists"}}, [1]),
    ({"$convert": {"input": field("inputs.n"), "to": "bool"}}, [1]),
    ({"$contains": {"input": field("inputs.messages"), "substr": lit("llo")}}, [3]),
    ({"$contains": {"input": field("inputs.messages"), "substr": lit("HÉLLO"), "case_insensitive": True}}, [3]),
    ({"$contains": {"input": field("inputs.messages.1"), "substr": lit("1.0")}}, [3]),
    ({"$not": [{"$contains": {"input": field("inputs.messages"), "substr": lit("llo")}}]}, [1, 2, 4]),
    ({"$eq": [{"$convert": {"input": field("inputs.messages.1"), "to": "string"}}, lit('{"n":1.0}')]}, [3]),
]
FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"opNames": ["assistant.answer"]}, [1, 2, 3]),
    ({"opNames": ["assistant.answer:*"]}, [1, 2, 3]),
    ({"opNames": [f"{ANSWER}:*"]}, [1, 2]),
    ({"opNames": [f"{ANSWER}:v1"]}, [1]),
    ({"statuses": ["ERROR", "RUNNING"]}, [2, 3]),
    ({"statuses": "DESCENDANT_ERROR"}, [4]),
    ({"errorsOnly": True}, [2]),
    ({"errorsOnly": False, "statuses": [], "models": None}, [1, 2, 3, 4]),
    ({"models": ["gpt-4o"]}, [1]),
    ({"startedAfter": "2026-01-31T12:00:02Z"}, [3, 4]),
    ({"startedAfter": "2026-01-31T12:00:01Z", "startedBefore": "2026-01-31T13:00:04+01:00"}, [2, 3]),
    ({"startedBefore": "2026-01-31T12:00:03Z", "opNames": ["assistant.answer"], "errorsOnly": True}, [2]),
]


def test_filter_times_match_those_of_the_calls() -> None:
    assert start(0).started_at == NOON == start(2).started_at - 2 * SECOND


@pytest.mark.parametrize(("tree", "numbers"), QUERIES, ids=str)
async def test_imprecise_query_finds_the_intended_calls(run: Run, tree: Tree, numbers: list[int]) -> None:
    assert await found(run, {"json": {"$expr": tree}}) == numbers
    assert await found(run, {"expr": typed(tree)}) == numbers


@pytest.mark.parametrize(("calls_filter", "numbers"), FILTERS, ids=str)
async def test_imprecise_filter_finds_the_intended_calls(
    run: Run, calls_filter: dict[str, Any], numbers: list[int]
) -> None:
    assert await found(run, calls_filter=calls_filter) == numbers


WRONG: list[tuple[Tree, str, str]] = [
    (
        eq("status", "failed"),
        "$eq.1",
        "status is never 'failed'; it is one of success, error, running, descendant_error",
    ),
    (
        {"$in": [field("status"), [lit("ok")]]},
        "$in.1.0",
        "status is never 'ok'; it is one of success, error, running, descendant_error",
    ),
    (eq("latency_ms", "1000"), "$eq.1", 'latency_ms holds numbers, never "1000"; write a number without quotes'),
    (
        {"$gt": [field("total_tokens"), lit("5")]},
        "$gt.1",
        'total_tokens holds numbers, never "5"; write a number without quotes',
    ),
    (
        {"$gte": [field("status"), lit("ok")]},
        "$gte.1",
        "status is never 'ok'; it is one of success, error, running, descendant_error",
    ),
    (
        eq("inputs", "Why?"),
        "$eq.1",
        (
            'inputs is a list or an object, never "Why?"; compare a value in it, such as inputs.name, or '
            "search its text with contains"
        ),
    ),
    (eq("op_name", 5), "$eq.1", "op_name holds texts, never 5; write a text in quotes"),
    (eq("latency_ms", value=True), "$eq.1", "latency_ms holds numbers, never true; write a number without quotes"),
]


@pytest.mark.parametrize(("tree", "place", "message"), WRONG, ids=[row[2] for row in WRONG])
async def test_literal_of_an_impossible_type_is_refused_with_its_path(
    run: Run, tree: Tree, place: str, message: str
) -> None:
    raw = await run('query ($query: QueryInput) { calls(projectId: "acme/chat", query: $query) { totalCount } }',
                    query={"json": {"$expr": tree}})  # fmt: skip

    assert raw.code == "BAD_USER_INPUT"
    [error] = raw.errors
    assert error["extensions"]["argument"] == f"query.json.$expr.{place}"
    assert error["message"].endswith(f": {message}")


async def test_invalid_time_is_refused_by_name(run: Run) -> None:
    answer = await run(CALLS, query={"expr": typed({"$gt": [field("started_at"), lit("yesterday")]})})

    assert [error["path"] for error in answer.errors] == [["calls"], ["callsStats"], ["callsAggregate"]]
    for error in answer.errors:
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "query.expr.gt.1"}
        assert "started_at is a time: 'yesterday' is not an ISO 8601 time" in error["message"]


@pytest.mark.parametrize("name", ["started_at", "op_name", "status"])
async def test_null_for_a_non_null_column_is_refused(run: Run, name: str) -> None:
    is_null = {"$isNull": field(name)}
    answer = await run(CALLS, query={"expr": typed({"$and": [{"$not": [is_null]}, is_null]})})

    assert [error["path"] for error in answer.errors] == [["calls"], ["callsStats"], ["callsAggregate"]]
    for error in answer.errors:
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert f"{name} is never null" in error["message"]
    assert await found(run, {"json": {"$expr": {"$or": [is_null, eq("op_name", "assistant.answer")]}}}) == [1, 2, 3]


async def test_unknown_status_is_refused_by_the_filter(run: Run) -> None:
    answer = await run(CALLS, filter={"statuses": ["FAILED"]})

    assert answer.code == "BAD_USER_INPUT"
    assert "FAILED" in answer.errors[0]["message"]


async def test_displayed_names_find_their_calls(run: Run) -> None:
    rows = await run('{ callsAggregate(projectId: "acme/chat", groupBy: [OP_NAME]) { rows { opName count } } }')
    call = await run('query ($id: ID!) { call(projectId: "acme/chat", id: $id) { traceName } }', id=call_id(1))

    counts = {row["opName"]: row["count"] for row in rows.data["callsAggregate"]["rows"]}
    assert counts == {"assistant.answer": 3, "assistant.answer.late": 1}
    for name, count in counts.items():
        assert len(await found(run, calls_filter={"opNames": [name]})) == count
        assert len(await found(run, {"expr": typed(eq("op_name", name))})) == count
    assert await found(run, calls_filter={"opNames": [call.data["call"]["traceName"]]}) == [1, 2, 3]
