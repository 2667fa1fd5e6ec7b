"""Facets of calls in the API."""

from stores.calls import CallsStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import end, start

FACETS = """query ($fields: [String!]!, $limit: Int, $filter: CallsFilter, $query: QueryInput) {
  callsFacets(projectId: "acme/chat", fields: $fields, limit: $limit, filter: $filter, query: $query) {
    field values { value isStart count } numDistinct numOther numMissing histogram { from to count } } }"""


async def test_values_have_their_json_types(calls: CallsStore, run: Run) -> None:
    values = ["a", 1, 1.0, True, None, ["a", "b", "a"], {"x": 1}, "a" * 600]
    for number, value in enumerate(values):
        await calls.write([start(number, inputs={"topic": value}), end(number)])

    answer = await run(FACETS, fields=["status", "inputs.topic"])

    assert answer.errors == []
    status, topic = answer.data["callsFacets"]
    assert status == {
        "field": "status",
        "values": [{"value": "success", "isStart": False, "count": 8}],
        "numDistinct": 1,
        "numOther": 0,
        "numMissing": 0,
        "histogram": None,
    }
    assert topic == {
        "field": "inputs.topic",
        "values": [
            {"value": 1, "isStart": False, "count": 2},
            {"value": "a", "isStart": False, "count": 2},
            {"value": "b", "isStart": False, "count": 1},
            {"value": "a" * 500, "isStart": True, "count": 1},
            {"value": True, "isStart": False, "count": 1},
        ],
        "numDistinct": 5,
        "numOther": 1,
        "numMissing": 1,
        "histogram": [{"from": 1, "to": 2, "count": 2}],
    }


async def test_condition_narrows_the_calls(calls: CallsStore, run: Run) -> None:
    for number in range(4):
        await calls.write([start(number, thread_id=f"t{number}"), end(number, output={"score": number / 4})])
    condition = {"expr": {"gt": [{"getField": "output.score"}, {"literal": 0.25}]}}

    answer = await run(FACETS, fields=["output.score"], query=condition, filter={"threadIds": ["t2", "t1"]})

    [facet] = answer.data["callsFacets"]
    assert facet["values"] == [{"value": 0.5, "isStart": False, "count": 1}]


async def test_unknown_field_is_an_error_with_near_names(run: Run) -> None:
    answer = await run(FACETS, fields=["id", "latencyMS"])

    [error] = answer.errors
    assert "there is no field 'latencyMS'; did you mean latency_ms" in error["message"]
    assert error["extensions"]["argument"] == "fields.1"


async def test_histograms_are_computed_only_if_selected(calls: CallsStore, run: Run, commands: Commands) -> None:
    await calls.write([start(1), end(1)])
    commands.sent.clear()

    await run('{ callsFacets(projectId: "acme/chat", fields: ["latency_ms"]) { numDistinct } }')

    assert [name for name, _ in commands.sent].count("aggregate") == 1


async def test_paths_have_types_and_examples(calls: CallsStore, run: Run) -> None:
    await calls.write([start(1, inputs={"a.b": [{"x": True}], "n": 1.5}), end(1)])
    await calls.write([start(2, inputs={"n": "text", "none": None})])

    answer = await run(
        """{ callsPaths(projectId: "acme/chat", under: "inputs") {
          numCalls isTruncated paths { path share types { type share } example } } }"""
    )

    assert answer.errors == []
    found = answer.data["callsPaths"]
    assert (found["numCalls"], found["isTruncated"]) == (2, False)
    assert found["paths"] == [
        {
            "path": "inputs.n",
            "share": 1.0,
            "types": [{"type": "NUMBER", "share": 0.5}, {"type": "STRING", "share": 0.5}],
            "example": "text",
        },
        {"path": "inputs.a\\.b", "share": 0.5, "types": [{"type": "LIST", "share": 0.5}], "example": None},
        {"path": "inputs.a\\.b.0", "share": 0.5, "types": [{"type": "OBJECT", "share": 0.5}], "example": None},
        {"path": "inputs.a\\.b.0.x", "share": 0.5, "types": [{"type": "BOOLEAN", "share": 0.5}], "example": True},
    ]
    wrong = await run('{ callsPaths(projectId: "acme/chat", under: "status") { numCalls } }')
    assert wrong.errors[0]["extensions"]["argument"] == "under"
