"""Costs of calls by set and built-in prices."""

from stores.calls import CallsStore
from stores.objects import ObjectsStore
from stores.objects.documents import ObjectVersion
from stores.times import parse
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.graphql_schema.costs.asking import PURGE, by_id, cost, create
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

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


async def test_call_is_priced_by_the_price_in_effect_at_its_start(run: Run, calls: CallsStore) -> None:
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
    found = second["costs"][0]
    assert parse(found.pop("createdAt")) > NOON - SECOND
    assert found == {
        "model": "m",
        "promptTokens": 10,
        "inputTokens": 10,
        "completionTokens": 4,
        "outputTokens": 4,
        "requests": 1,
        "totalTokens": 0,
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
        "promptTokens": 5,
        "inputTokens": 5,
        "completionTokens": 0,
        "outputTokens": 0,
        "requests": 0,
        "totalTokens": 5,
    }


CLASSES = """{ calls(projectId: "acme/chat") { nodes {
    totalCost
    usage { model uncachedInputTokens cacheReadTokens cacheWrite5mTokens reasoningTokens webSearches }
    costs { components { name tokens rate cost } totalCost statedCost promptTokensTotalCost completionTokensTotalCost
      uncachedInputTokens cacheReadTokens cacheWrite1hTokens reasoningTokens audioOutputTokens webSearches }
  } }
  callsAggregate(projectId: "acme/chat") { rows {
    cost unpricedTokens uncachedInputTokens cacheReadTokens cacheWrite1hTokens reasoningTokens imageInputTokens } }
  usageTree(projectId: "acme/chat", traceId: "%s") { ownUsage {
    cost uncachedInputTokens cacheReadTokens models { cacheReadTokens reasoningTokens cacheReadAudioTokens } } }
}"""


async def test_costs_are_listed_by_token_class_and_add_up(run: Run, calls: CallsStore) -> None:
    await create(run, cost(promptTokenCost=0.000003, completionTokenCost=0.000015, cacheReadTokenCost=0.0000003))
    used = {
        "prompt_tokens": 1_000,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 900},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    await calls.write([start(), end(summary={"usage": {"m": used}})])

    data = (await run(CLASSES % trace_id(1))).data

    [node] = data["calls"]["nodes"]
    assert node["totalCost"] == 0.00132
    assert node["usage"] == [
        {
            "model": "m",
            "uncachedInputTokens": 100,
            "cacheReadTokens": 900,
            "cacheWrite5mTokens": 0,
            "reasoningTokens": 30,
            "webSearches": 0,
        }
    ]
    assert node["costs"] == [
        {
            "components": [
                {"name": "input", "tokens": 100, "rate": 0.000003, "cost": 0.0003},
                {"name": "cache_read", "tokens": 900, "rate": 0.0000003, "cost": 0.00027},
                {"name": "output", "tokens": 20, "rate": 0.000015, "cost": 0.0003},
                {"name": "reasoning", "tokens": 30, "rate": 0.000015, "cost": 0.00045},
            ],
            "totalCost": 0.00132,
            "statedCost": None,
            "promptTokensTotalCost": 0.00057,
            "completionTokensTotalCost": 0.00075,
            "uncachedInputTokens": 100,
            "cacheReadTokens": 900,
            "cacheWrite1hTokens": 0,
            "reasoningTokens": 30,
            "audioOutputTokens": 0,
            "webSearches": 0,
        }
    ]
    assert data["callsAggregate"]["rows"] == [
        {
            "cost": 0.00132,
            "unpricedTokens": 0,
            "uncachedInputTokens": 100,
            "cacheReadTokens": 900,
            "cacheWrite1hTokens": 0,
            "reasoningTokens": 30,
            "imageInputTokens": 0,
        }
    ]
    [tree] = data["usageTree"]
    assert tree["ownUsage"] == {
        "cost": 0.00132,
        "uncachedInputTokens": 100,
        "cacheReadTokens": 900,
        "models": [{"cacheReadTokens": 900, "reasoningTokens": 30, "cacheReadAudioTokens": 0}],
    }


async def test_cost_reported_by_the_sender_is_shown_but_not_summed(run: Run, calls: CallsStore) -> None:
    await calls.write([start(), end(summary={"usage": {"unknown": {"prompt_tokens": 4, "cost": 0.5}}})])

    data = (await run(CLASSES % trace_id(1))).data

    [node] = data["calls"]["nodes"]
    [line] = node["costs"]
    assert (line["statedCost"], line["totalCost"], line["components"]) == (0.5, None, [])
    assert node["totalCost"] is None
    [row] = data["callsAggregate"]["rows"]
    assert (row["cost"], row["unpricedTokens"]) == (None, 4)


async def test_five_tokens_at_a_millionth_cost_five_millionths_in_every_sum(run: Run, calls: CallsStore) -> None:
    await create(run, cost(promptTokenCost=0.000001, completionTokenCost=0))
    for number in range(5):
        above = {"parent_id": call_id(0)} if number else {}
        used = {"usage": {"m": {"prompt_tokens": 1}}, "status_counts": {"success": 1}}
        await calls.write([start(number, trace_id=trace_id(0), **above), end(number, summary=used)])

    data = (
        await run(
            """query ($trace: ID!) {
              callsAggregate(projectId: "acme/chat") { rows { cost } }
              byModel: callsAggregate(projectId: "acme/chat", groupBy: [MODEL]) { rows { cost } }
              usageTree(projectId: "acme/chat", traceId: $trace, maxDepth: 0) { totalUsage { cost } }
            }""",
            trace=trace_id(0),
        )
    ).data

    assert data == {
        "callsAggregate": {"rows": [{"cost": 0.000005}]},
        "byModel": {"rows": [{"cost": 0.000005}]},
        "usageTree": [{"totalUsage": {"cost": 0.000005}}],
    }


async def test_future_price_applies_if_there_is_no_other(run: Run, calls: CallsStore) -> None:
    await create(run, cost(effectiveDate="9999-12-31T23:59:59.999999Z"))
    await calls.write([start(), end(summary={"usage": {"m": {"prompt_tokens": 1}}})])

    [node] = (await run(COSTS)).data["calls"]["nodes"]

    assert node["totalCost"] == 0.001
    assert node["costs"][0]["effectiveDate"] == "9999-12-31T23:59:59.999999Z"


async def test_call_without_price_or_usage_has_no_costs(run: Run, calls: CallsStore) -> None:
    await create(run, cost(), project="acme/other")
    await calls.write([start(1), start(2), end(2), start(3), end(3, summary={"usage": {"m": {"prompt_tokens": 1}}})])

    nodes = (await run(COSTS)).data["calls"]["nodes"]

    assert [(node["totalCost"], node["costs"], node["totalTokens"]) for node in nodes] == [
        (None, [], None),
        (None, [], None),
        (None, [], 1),
    ]


async def test_shipped_price_applies_until_the_project_sets_its_own(run: Run, calls: CallsStore) -> None:
    used = {"gpt-4o": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}
    await calls.write([start(), end(summary={"usage": used})])

    [shipped] = (await run(COSTS)).data["calls"]["nodes"]
    [made] = await create(run, cost(llmId="gpt-4o", promptTokenCost=0, completionTokenCost=0))
    [own] = (await run(COSTS)).data["calls"]["nodes"]
    await run(PURGE, query={"expr": by_id(made)})
    [after] = (await run(COSTS)).data["calls"]["nodes"]

    assert shipped["totalCost"] == 12.5
    line = shipped["costs"][0]
    assert (line["pricingLevel"], line["pricingLevelId"], line["createdBy"]) == ("default", "default", "system")
    assert (line["providerId"], line["effectiveDate"]) == ("openai", "2024-12-18T00:00:00.000000Z")
    assert (own["totalCost"], own["costs"][0]["pricingLevel"]) == (0.0, "project")
    assert after == shipped


async def test_other_currencies_are_listed_by_model_and_not_totalled(run: Run, calls: CallsStore) -> None:
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


async def test_cost_queries_do_not_depend_on_page_size(run: Run, calls: CallsStore, commands: Commands) -> None:
    await create(run, *(cost(llmId=f"m{number}") for number in range(40)))
    for number in range(40):
        await calls.write([start(number), end(number, summary={"usage": {f"m{number}": {"prompt_tokens": number}}})])
    seen = []
    for first in (1, 40):
        commands.sent.clear()
        nodes = (await run(COSTS, first=first)).data["calls"]["nodes"]
        seen.append(commands.names)
        assert [node["totalCost"] for node in nodes] == [number / 1000 for number in range(first)]

    assert seen == [["find", "find"]] * 2
    commands.sent.clear()
    await run('{ calls(projectId: "acme/chat") { nodes { id totalTokens } } }')
    assert commands.names == ["find"]
    assert "usage" not in str(commands.last("find"))


async def test_call_has_the_same_cost_in_every_field(
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
    fields = "totalCost costs { promptTokens }"
    places = {
        "calls": f"calls(projectId: $p) {{ nodes {{ {fields} }} }}",
        "turns": f"threads(projectId: $p) {{ nodes {{ calls: turns {{ nodes {{ {fields} }} }} }} }}",
        "steps": f"threads(projectId: $p) {{ nodes {{ calls {{ nodes {{ {fields} }} }} }} }}",
        "used by": f"objs(projectId: $p) {{ nodes {{ calls: usedBy {{ nodes {{ {fields} }} }} }} }}",
        "feedback": f"feedback(projectId: $p) {{ nodes {{ call {{ {fields} }} }} }}",
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

    one = await run(f'{{ call(projectId: "acme/chat", id: "{call_id(2)}") {{ {fields} }} }}')
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
        query = {"expr": {"gte": [{"getField": name}, {"literal": least}]}}
        answer = await run(document, query=query, sort=[{"field": name, "direction": "DESC"}])

        assert answer.errors == []
        assert answer.data["calls"]["totalCount"] == answer.data["callsStats"]["count"] == 3
        assert [(node["totalCost"], node["totalTokens"]) for node in answer.data["calls"]["nodes"]] == [
            (0.004, 4),
            (0.003, 3),
            (0.002, 2),
        ]
        assert answer.data["explain"] == {"sortsInMemory": name == "total_cost"}


async def test_summary_is_unchanged_without_costs(run: Run, calls: CallsStore) -> None:
    await create(run, cost())
    await calls.write([start(), end(summary={"usage": {"m": {"prompt_tokens": 1}}})])

    answer = await run(
        'query ($id: ID!) { call(projectId: "acme/chat", id: $id) { summary totalCost } }', id=call_id(1)
    )

    assert set(answer.data["call"]["summary"]["weave"]) == {"status", "trace_name", "latency_ms"}
    assert answer.data["call"]["totalCost"] == 0.001
