"""Rejected prices and purges of prices: each error names its argument."""

from typing import Any

import pytest

from tests.graphql_schema.conftest import Run
from tests.graphql_schema.costs.asking import CREATE, LIST, PURGE, by_id, cost, create, listed
from tests.stores.calls.builders import call_id


@pytest.mark.parametrize(
    "expr",
    [
        {"eq": [{"literal": "x"}, {"getField": "id"}]},
        {"eq": [{"getField": "id"}, {"nullLiteral": True}]},
        {"eq": [{"getField": "id"}, {"getField": "id"}]},
        {"eq": [{"getField": "llm_id"}, {"literal": "m"}]},
        {"and": [by_id("x")]},
        {"not": [by_id("x")]},
        {"gte": [{"getField": "id"}, {"literal": ""}]},
        {"or": [by_id("x"), {"in": {"input": {"getField": "id"}, "values": [{"literal": "y"}]}}]},
        {"or": [by_id("x"), {"or": [by_id("y"), by_id("z")]}]},
        {"in": {"input": {"getField": "llm_id"}, "values": [{"literal": "m"}]}},
        {"in": {"input": {"getField": "id"}, "values": [{"nullLiteral": True}]}},
    ],
)
async def test_purge_query_of_any_other_form_is_refused(run: Run, expr: dict[str, Any]) -> None:
    await create(run, cost())

    answer = await run(PURGE, query={"expr": expr})

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["message"].startswith("query: must name ids: ")
    assert len(await listed(run)) == 1


@pytest.mark.parametrize(
    ("wrong", "argument", "says"),
    [
        ({"promptTokenCost": -1e-9}, "costs.1.promptTokenCost", "negative"),
        ({"completionTokenCost": -1}, "costs.1.completionTokenCost", "negative"),
        ({"promptTokenCost": 1_000_001}, "costs.1.promptTokenCost", "limit of 1,000,000"),
        ({"completionTokenCost": 1e308}, "costs.1.completionTokenCost", "divide a price per million tokens"),
        ({"cacheWrite1hTokenCost": -1}, "costs.1.cacheWrite1hTokenCost", "negative"),
        ({"webSearchCost": 1_000_001}, "costs.1.webSearchCost", "limit of 1,000,000"),
        ({"llmId": ""}, "costs.1.llmId", "empty"),
        ({"llmId": "x" * 1_025}, "costs.1.llmId", "has 1,025 characters; the limit is 1,024"),
        ({"providerId": ""}, "costs.1.providerId", "empty"),
        ({"providerId": "x" * 1_025}, "costs.1.providerId", "the limit is 1,024"),
        ({"promptTokenCostUnit": ""}, "costs.1.promptTokenCostUnit", "empty"),
        ({"completionTokenCostUnit": "x" * 65}, "costs.1.completionTokenCostUnit", "the limit is 64"),
    ],
)
async def test_invalid_price_is_named_and_nothing_is_set(
    run: Run, wrong: dict[str, Any], argument: str, says: str
) -> None:
    answer = await run(CREATE, costs=[cost(), cost(**wrong)])

    assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", argument)
    assert says in answer.errors[0]["message"]
    assert await listed(run) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"promptTokenCost": None}, "promptTokenCost"),
        ({"promptTokenCost": "0.1"}, "Float cannot represent"),
        ({"effectiveDate": "9999-12-31T23:59:59-01:00"}, "outside the years 1 to 9999"),
        ({"effectiveDate": "10000-01-01T00:00:00Z"}, "is not an ISO 8601 time"),
        ({"effectiveDate": "soon"}, "is not an ISO 8601 time"),
        ({"effectiveDate": 5}, "a string in ISO 8601"),
    ],
)
async def test_non_object_price_is_refused(run: Run, wrong: dict[str, Any], says: str) -> None:
    answer = await run(CREATE, costs=[cost(**wrong)])

    assert answer.code == "BAD_USER_INPUT"
    assert says in answer.errors[0]["message"]
    assert "costs" in answer.errors[0]["message"]


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
async def test_non_numeric_price_is_refused(run: Run, number: str) -> None:
    document = f"""mutation {{ costCreate(projectId: "acme/chat", costs: [
      {{llmId: "m", promptTokenCost: {number}, completionTokenCost: 0}}]) {{ ids {{ id }} }} }}"""

    answer = await run(document)

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}
    assert await listed(run) == []


async def test_more_prices_than_a_thousand_at_once_are_refused(run: Run) -> None:
    assert len(await create(run, *[cost()] * 1_000)) == 1_000

    answer = await run(CREATE, costs=[cost()] * 10_000)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["message"] == "costs: has 10,000 costs; the limit of one request is 1,000"
    assert (await run(LIST, first=0)).data["costs"]["totalCount"] == 1_000


@pytest.mark.parametrize("project", ["acme", "a/b/c", ""])
async def test_invalid_project_is_refused_everywhere(run: Run, project: str) -> None:
    for document, variables in (
        (CREATE, {"costs": [cost()]}),
        (LIST, {}),
        (PURGE, {"query": {"expr": by_id("x")}}),
    ):
        answer = await run(document, project=project, **variables)
        assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "projectId")


async def test_too_long_user_name_is_refused_by_every_mutation(run: Run) -> None:
    documents = {
        "costCreate": CREATE,
        "callUpdate": """mutation ($user: String, $id: ID!) {
          callUpdate(projectId: "acme/chat", callId: $id, displayName: "", wbUserId: $user) { numUpdated } }""",
        "callsDelete": """mutation ($user: String, $id: ID!) {
          callsDelete(projectId: "acme/chat", callIds: [$id], wbUserId: $user) { numDeleted } }""",
    }
    for field, document in documents.items():
        variables = {"costs": [cost()]} if field == "costCreate" else {"id": call_id(1)}
        answer = await run(document, user="x" * 1_025, **variables)

        refusal = (field, answer.code, answer.errors[0]["message"])
        assert refusal == (field, "BAD_USER_INPUT", "wbUserId: has 1,025 characters; the limit is 1,024")
        assert (await run(document, user="x" * 1_024, **variables)).errors == []
