"""Prices through the API: set, listed, purged, and what calls cost by them."""

from typing import Any

import pytest

from graphql_schema.schema import sdl
from stores.calls import CallsStore
from stores.objects import ObjectsStore
from stores.objects.inputs import ObjectVersion
from stores.times import parse
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start

CREATE = """mutation ($costs: [CostCreateInput!]!, $project: ID = "acme/chat", $user: String) {
  costCreate(projectId: $project, costs: $costs, wbUserId: $user) { ids { id llmId } }
}"""

LIST = """query ($query: QueryInput, $sort: [SortBy!], $project: ID = "acme/chat", $first: Int, $after: String) {
  costs(projectId: $project, query: $query, sortBy: $sort, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    nodes {
      id llmId promptTokenCost completionTokenCost promptTokenCostUnit completionTokenCostUnit effectiveDate providerId
    }
  }
}"""

PURGE = """mutation ($query: QueryInput!, $project: ID = "acme/chat") {
  costPurge(projectId: $project, query: $query) { numPurged }
}"""

COSTS = """query ($first: Int = 100) {
  calls(projectId: "acme/chat", first: $first) { nodes {
    totalCost totalTokens
    costs {
      model promptTokens inputTokens completionTokens outputTokens requests totalTokens
      promptTokensTotalCost completionTokensTotalCost promptTokenCost completionTokenCost
      promptTokenCostUnit completionTokenCostUnit effectiveDate providerId pricingLevel pricingLevelId
      createdAt createdBy
    }
  } }
}"""


def cost(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 -- any field of the input
    """A price of the model `m` from long ago."""
    return {
        "llmId": "m",
        "promptTokenCost": 0.001,
        "completionTokenCost": 0.002,
        "effectiveDate": "2020-01-01T00:00:00Z",
    } | changes


async def create(run: Run, *costs: dict[str, Any], **variables: Any) -> list[str]:  # noqa: ANN401 -- any JSON
    answer = await run(CREATE, costs=list(costs), **variables)
    assert answer.errors == []
    assert [made["llmId"] for made in answer.data["costCreate"]["ids"]] == [each["llmId"] for each in costs]
    return [made["id"] for made in answer.data["costCreate"]["ids"]]


async def listed(run: Run, **variables: Any) -> list[dict[str, Any]]:  # noqa: ANN401 -- any JSON
    answer = await run(LIST, **variables)
    assert answer.errors == []
    nodes: list[dict[str, Any]] = answer.data["costs"]["nodes"]
    return nodes


def by_id(cost_id: str) -> dict[str, Any]:
    return {"eq": [{"getField": "id"}, {"literal": cost_id}]}


async def test_a_price_is_listed_as_it_was_set(run: Run) -> None:
    before = parse("2026-01-01T00:00:00Z")
    first, second = await create(
        run,
        cost(llmId="a", promptTokenCostUnit="EUR", completionTokenCostUnit="JPY", providerId="own"),
        {"llmId": "b", "promptTokenCost": 0, "completionTokenCost": 2.5e-06},
    )

    found = await listed(run)

    assert found[0] == {
        "id": first,
        "llmId": "a",
        "promptTokenCost": 0.001,
        "completionTokenCost": 0.002,
        "promptTokenCostUnit": "EUR",
        "completionTokenCostUnit": "JPY",
        "effectiveDate": "2020-01-01T00:00:00.000000Z",
        "providerId": "own",
    }
    assert (found[1]["id"], found[1]["promptTokenCost"], found[1]["completionTokenCost"]) == (second, 0.0, 2.5e-06)
    assert (found[1]["promptTokenCostUnit"], found[1]["completionTokenCostUnit"]) == ("USD", "USD")
    assert found[1]["providerId"] == "default"
    assert parse(found[1]["effectiveDate"]) > before


async def test_the_same_price_again_is_another_one(run: Run) -> None:
    first, again = await create(run, cost(), cost())
    [third] = await create(run, cost())

    assert len({first, again, third}) == 3
    assert len(await listed(run)) == 3


async def test_no_prices_are_set_for_none(run: Run, commands: Commands) -> None:
    assert await create(run) == []
    assert commands.names == []


async def test_prices_are_asked_sorted_and_paged_within_their_project(run: Run) -> None:
    await create(run, *(cost(llmId=f"m{number}", promptTokenCost=number % 3 / 10) for number in range(7)))
    await create(run, cost(llmId="m1"), project="acme/other")

    anything = {
        "expr": {"or": [{"eq": [{"getField": "llm_id"}, {"literal": "m1"}]}, {"gt": [{"literal": 2}, {"literal": 1}]}]}
    }
    sort = [{"field": "prompt_token_cost", "direction": "DESC"}, {"field": "llm_id", "direction": "ASC"}]
    first = (await run(LIST, query=anything, sort=sort, first=4)).data["costs"]
    rest = (await run(LIST, query=anything, sort=sort, after=first["pageInfo"]["endCursor"])).data["costs"]

    assert first["totalCount"] == 7
    assert [node["llmId"] for node in first["nodes"] + rest["nodes"]] == ["m2", "m5", "m1", "m4", "m0", "m3", "m6"]
    assert [node["llmId"] for node in await listed(run, project="acme/other")] == ["m1"]
    recent = {"json": {"$expr": {"$gte": [{"$getField": "effective_date"}, {"$literal": "2021-01-01"}]}}}
    assert await listed(run, query=recent) == []


async def test_a_purge_takes_just_the_prices_of_the_project_that_it_names(run: Run) -> None:
    ids = await create(run, *(cost(llmId=name) for name in "abcdef"))
    [other] = await create(run, cost(), project="acme/other")
    shapes: list[tuple[dict[str, Any], int]] = [
        (by_id(ids[0]), 1),
        (by_id(ids[0]), 0),
        ({"or": [by_id(ids[1]), by_id(ids[2]), by_id("unknown"), by_id(other)]}, 2),
        ({"in": {"input": {"getField": "id"}, "values": [{"literal": ids[3]}, {"literal": "unknown"}]}}, 1),
        ({"in": {"input": {"getField": "id"}, "values": []}}, 0),
    ]
    for expr, purged in shapes:
        answer = await run(PURGE, query={"expr": expr})
        assert (answer.errors, answer.data["costPurge"]["numPurged"]) == ([], purged)
    raw = {"$expr": {"$eq": [{"$getField": "id"}, {"$literal": ids[4]}]}}
    assert (await run(PURGE, query={"json": raw})).data["costPurge"]["numPurged"] == 1

    assert [node["llmId"] for node in await listed(run)] == ["f"]
    assert len(await listed(run, project="acme/other")) == 1


@pytest.mark.parametrize(
    "expr",
    [
        {"eq": [{"literal": "x"}, {"getField": "id"}]},
        {"eq": [{"getField": "id"}, {"literal": 5}]},
        {"eq": [{"getField": "id"}, {"getField": "id"}]},
        {"eq": [{"getField": "llm_id"}, {"literal": "m"}]},
        {"and": [by_id("x")]},
        {"not": [by_id("x")]},
        {"gte": [{"getField": "id"}, {"literal": ""}]},
        {"or": [by_id("x"), {"in": {"input": {"getField": "id"}, "values": [{"literal": "y"}]}}]},
        {"or": [by_id("x"), {"or": [by_id("y"), by_id("z")]}]},
        {"in": {"input": {"getField": "llm_id"}, "values": [{"literal": "m"}]}},
        {"in": {"input": {"getField": "id"}, "values": [{"literal": True}]}},
    ],
)
async def test_a_purge_of_any_other_shape_is_refused_and_takes_nothing(run: Run, expr: dict[str, Any]) -> None:
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
        ({"llmId": ""}, "costs.1.llmId", "empty"),
        ({"llmId": "x" * 1_025}, "costs.1.llmId", "has 1,025 characters; the limit is 1,024"),
        ({"providerId": ""}, "costs.1.providerId", "empty"),
        ({"providerId": "x" * 1_025}, "costs.1.providerId", "the limit is 1,024"),
        ({"promptTokenCostUnit": ""}, "costs.1.promptTokenCostUnit", "empty"),
        ({"completionTokenCostUnit": "x" * 65}, "costs.1.completionTokenCostUnit", "the limit is 64"),
    ],
)
async def test_a_wrong_price_is_named_and_nothing_is_set(
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
async def test_what_is_no_price_at_all_is_refused(run: Run, wrong: dict[str, Any], says: str) -> None:
    answer = await run(CREATE, costs=[cost(**wrong)])

    assert answer.code == "BAD_USER_INPUT"
    assert says in answer.errors[0]["message"]
    assert "costs" in answer.errors[0]["message"]


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
async def test_a_price_that_is_no_number_is_refused(run: Run, number: str) -> None:
    document = f"""mutation {{ costCreate(projectId: "acme/chat", costs: [
      {{llmId: "m", promptTokenCost: {number}, completionTokenCost: 0}}]) {{ ids {{ id }} }} }}"""

    answer = await run(document)

    assert {error["extensions"]["code"] for error in answer.errors} == {"BAD_USER_INPUT"}
    assert await listed(run) == []


async def test_more_prices_than_a_thousand_at_once_are_refused(run: Run) -> None:
    assert len(await create(run, *[cost()] * 1_000)) == 1_000

    answer = await run(CREATE, costs=[cost()] * 10_000)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["message"] == "costs: has 10,000 costs; the limit is 1,000 at once"
    assert (await run(LIST, first=0)).data["costs"]["totalCount"] == 1_000


@pytest.mark.parametrize("project", ["acme", "a/b/c", ""])
async def test_a_wrong_project_is_refused_everywhere(run: Run, project: str) -> None:
    for document, variables in (
        (CREATE, {"costs": [cost()]}),
        (LIST, {}),
        (PURGE, {"query": {"expr": by_id("x")}}),
    ):
        answer = await run(document, project=project, **variables)
        assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "projectId")


async def test_calls_cost_by_the_price_that_held_when_they_started(run: Run, calls: CallsStore) -> None:
    await create(
        run,
        cost(promptTokenCost=0.5, effectiveDate="0001-01-01T00:00:00Z", providerId="first"),
        cost(promptTokenCost=0.25, effectiveDate="2026-01-31T12:00:02Z", providerId="second"),
        cost(promptTokenCost=100, effectiveDate="9999-12-31T23:59:59.999999Z"),
        user="anna",
    )
    for number in (1, 2):
        used = {"prompt_tokens": 10, "completion_tokens": 4, "requests": 1}
        await calls.write([start(number), end(number, summary={"usage": {"m": used, "unknown": {"total_tokens": 5}}})])

    first, second = (await run(COSTS)).data["calls"]["nodes"]

    assert (first["totalCost"], second["totalCost"]) == (5.008, 2.508)
    assert (first["totalTokens"], second["totalTokens"]) == (19, 19)
    told = second["costs"][0]
    assert parse(told.pop("createdAt")) > NOON - SECOND
    assert told == {
        "model": "m",
        "promptTokens": 10,
        "inputTokens": 10,
        "completionTokens": 4,
        "outputTokens": 4,
        "requests": 1,
        "totalTokens": 14,
        "promptTokensTotalCost": 2.5,
        "completionTokensTotalCost": 0.008,
        "promptTokenCost": 0.25,
        "completionTokenCost": 0.002,
        "promptTokenCostUnit": "USD",
        "completionTokenCostUnit": "USD",
        "effectiveDate": "2026-01-31T12:00:02.000000Z",
        "providerId": "second",
        "pricingLevel": "project",
        "pricingLevelId": PROJECT,
        "createdBy": "anna",
    }
    assert first["costs"][0]["providerId"] == "first"
    counts = {name: value for name, value in first["costs"][1].items() if value is not None}
    assert counts == {
        "model": "unknown",
        "promptTokens": 0,
        "inputTokens": 0,
        "completionTokens": 0,
        "outputTokens": 0,
        "requests": 0,
        "totalTokens": 5,
    }


async def test_a_price_of_the_future_still_holds_where_there_is_no_other(run: Run, calls: CallsStore) -> None:
    await create(run, cost(effectiveDate="9999-12-31T23:59:59.999999Z"))
    await calls.write([start(), end(summary={"usage": {"m": {"prompt_tokens": 1}}})])

    [node] = (await run(COSTS)).data["calls"]["nodes"]

    assert node["totalCost"] == 0.001
    assert node["costs"][0]["effectiveDate"] == "9999-12-31T23:59:59.999999Z"


async def test_without_a_price_or_usage_there_are_no_costs(run: Run, calls: CallsStore) -> None:
    await create(run, cost(), project="acme/other")
    await calls.write([start(1), start(2), end(2), start(3), end(3, summary={"usage": {"m": {"prompt_tokens": 1}}})])

    nodes = (await run(COSTS)).data["calls"]["nodes"]

    assert [(node["totalCost"], node["costs"], node["totalTokens"]) for node in nodes] == [
        (None, [], None),
        (None, [], None),
        (None, [], 1),
    ]


async def test_a_shipped_price_holds_until_the_project_sets_its_own(run: Run, calls: CallsStore) -> None:
    used = {"gpt-4o": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}
    await calls.write([start(), end(summary={"usage": used})])

    [shipped] = (await run(COSTS)).data["calls"]["nodes"]
    [made] = await create(run, cost(llmId="gpt-4o", promptTokenCost=0, completionTokenCost=0))
    [own] = (await run(COSTS)).data["calls"]["nodes"]
    await run(PURGE, query={"expr": by_id(made)})
    [after] = (await run(COSTS)).data["calls"]["nodes"]

    assert shipped["totalCost"] == 12.5
    line = shipped["costs"][0]
    assert (line["pricingLevel"], line["pricingLevelId"], line["createdBy"]) == ("default", "default", None)
    assert (line["providerId"], line["effectiveDate"]) == ("openai", "2024-12-18T00:00:00.000000Z")
    assert (own["totalCost"], own["costs"][0]["pricingLevel"]) == (0.0, "project")
    assert after == shipped


async def test_other_currencies_are_told_by_model_and_in_no_total(run: Run, calls: CallsStore) -> None:
    await create(
        run, cost(llmId="euro", promptTokenCostUnit="EUR", completionTokenCostUnit="EUR"), cost(llmId="dollar")
    )
    used = {"prompt_tokens": 1_000}
    await calls.write([start(1), end(1, summary={"usage": {"euro": used, "dollar": used}})])
    await calls.write([start(2), end(2, summary={"usage": {"euro": used}})])

    both, euro = (await run(COSTS)).data["calls"]["nodes"]

    assert [(line["promptTokensTotalCost"], line["promptTokenCostUnit"]) for line in both["costs"]] == [
        (1.0, "EUR"),
        (1.0, "USD"),
    ]
    assert (both["totalCost"], euro["totalCost"]) == (1.0, None)
    assert euro["costs"][0]["promptTokensTotalCost"] == 1.0


async def test_a_page_of_any_size_costs_as_many_commands(run: Run, calls: CallsStore, commands: Commands) -> None:
    await create(run, *(cost(llmId=f"m{number}") for number in range(40)))
    for number in range(40):
        await calls.write([start(number), end(number, summary={"usage": {f"m{number}": {"prompt_tokens": number}}})])
    seen = []
    for first in (1, 40):
        commands.sent.clear()
        nodes = (await run(COSTS, first=first)).data["calls"]["nodes"]
        seen.append(commands.names)
        assert [node["totalCost"] for node in nodes] == [number * 0.001 for number in range(first)]

    assert seen == [["aggregate", "find"]] * 2
    commands.sent.clear()
    await run('{ calls(projectId: "acme/chat") { nodes { id totalTokens } } }')
    assert commands.names == ["aggregate"]
    assert "usage" not in str(commands.last("aggregate"))


async def test_calls_cost_the_same_wherever_they_are_come_upon(
    run: Run, calls: CallsStore, objects: ObjectsStore, commands: Commands
) -> None:
    await create(run, cost())
    digest = await objects.create(ObjectVersion(PROJECT, "prompt", "hello"))
    inputs = {"prompt": f"weave:///{PROJECT}/object/prompt:{digest}"}
    for number in range(3):
        turn = {"thread_id": "t", "turn_id": call_id(number)}
        used = {"usage": {"m": {"prompt_tokens": number}}}
        await calls.write([start(number, inputs=inputs, **turn), end(number, summary=used)])
        await run(
            """mutation ($ref: String!) { feedbackCreate(
              projectId: "acme/chat", weaveRef: $ref, feedbackType: "t", payload: {}) { id } }""",
            ref=f"weave:///{PROJECT}/call/{call_id(number)}",
        )
    told = "totalCost costs { promptTokens }"
    places = {
        "calls": f"calls(projectId: $p) {{ nodes {{ {told} }} }}",
        "turns": f"threads(projectId: $p) {{ nodes {{ calls: turns {{ nodes {{ {told} }} }} }} }}",
        "steps": f"threads(projectId: $p) {{ nodes {{ calls {{ nodes {{ {told} }} }} }} }}",
        "used by": f"objs(projectId: $p) {{ nodes {{ calls: usedBy {{ nodes {{ {told} }} }} }} }}",
        "feedback": f"feedback(projectId: $p) {{ nodes {{ call {{ {told} }} }} }}",
    }
    expected = [{"totalCost": number * 0.001, "costs": [{"promptTokens": number}]} for number in range(3)]
    for place, selection in places.items():
        commands.sent.clear()
        answer = await run(f'query ($p: ID = "acme/chat") {{ {selection} }}')
        assert answer.errors == []
        [listing] = answer.data.values()
        nodes = listing["nodes"]
        found = nodes[0]["calls"]["nodes"] if "calls" in nodes[0] else [node.get("call", node) for node in nodes]
        assert (place, found) == (place, expected)
        assert [body["find"] for name, body in commands.sent if name == "find"].count("costs") == 1

    one = await run(f'{{ call(projectId: "acme/chat", id: "{call_id(2)}") {{ {told} }} }}')
    assert one.data["call"] == expected[2]


async def test_calls_sort_and_filter_by_cost_and_tokens(run: Run, calls: CallsStore) -> None:
    await create(run, cost())
    for number in range(5):
        await calls.write([start(number), end(number, summary={"usage": {"m": {"prompt_tokens": number}}})])
    document = """query ($query: QueryInput, $sort: [SortBy!]) {
      calls(projectId: "acme/chat", query: $query, sortBy: $sort) { totalCount nodes { totalCost totalTokens } }
      callsStats(projectId: "acme/chat", query: $query) { count }
      explain(projectId: "acme/chat", query: $query, sortBy: $sort) { sortsInMemory }
    }"""

    for name, least in (("total_cost", 0.002), ("total_tokens", 2)):
        asked = {"expr": {"gte": [{"getField": name}, {"literal": least}]}}
        answer = await run(document, query=asked, sort=[{"field": name, "direction": "DESC"}])

        assert answer.errors == []
        assert answer.data["calls"]["totalCount"] == answer.data["callsStats"]["count"] == 3
        assert [(node["totalCost"], node["totalTokens"]) for node in answer.data["calls"]["nodes"]] == [
            (0.004, 4),
            (0.003, 3),
            (0.002, 2),
        ]
        assert answer.data["explain"] == {"sortsInMemory": name == "total_cost"}


async def test_summary_stays_what_it_is_without_costs(run: Run, calls: CallsStore) -> None:
    await create(run, cost())
    await calls.write([start(), end(summary={"usage": {"m": {"prompt_tokens": 1}}})])

    answer = await run(
        'query ($id: ID!) { call(projectId: "acme/chat", id: $id) { summary totalCost } }', id=call_id(1)
    )

    assert set(answer.data["call"]["summary"]["weave"]) == {"status", "trace_name", "latency_ms"}
    assert answer.data["call"]["totalCost"] == 0.001


def test_the_list_is_a_connection_by_the_name_of_what_it_lists() -> None:
    assert "type CostConnection {" in sdl()
