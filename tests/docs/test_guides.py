"""Tests that the guides' queries return the described results in the demo, and that programs and streams work."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import httpx

from app.demo import PROJECT_ID
from stores.calls import CallsStore
from stores.completions.endpoint_resolution import KNOWN_PROVIDERS
from tests.app.demo_data import PROMPT_TEXTS
from tests.app.event_stream import all_of, first_of, next_of, results_of, streaming
from tests.docs.conftest import WEFT, answer
from tests.docs.pages import page
from tests.stand_in_provider import StandIn
from tests.stores.calls.builders import call_id, end, start
from tests.waiting import TIMEOUT


def data_of(client: httpx.Client, guide: str, part: str) -> Any:
    """Return the data of the guide's query that contains `part`."""
    return answer(client, page(f"how-to/{guide}").containing(part))["data"]


def test_failures_query_finds_demo_failures(exploring: httpx.Client) -> None:
    found = answer(exploring, page("how-to/query").containing('field: "status", direction: ASC'))

    assert "errors" not in found
    nodes = found["data"]["calls"]["nodes"]
    assert found["data"]["calls"]["totalCount"] > 400
    assert [node["status"] for node in nodes] == ["DESCENDANT_ERROR"] * 5
    assert all(node["question"] for node in nodes)
    assert any(node["usage"] for node in nodes)


def test_demo_guide_queries_return_rows(exploring: httpx.Client) -> None:
    found = data_of(exploring, "query", "caseInsensitive:")["calls"]
    plan = data_of(exploring, "query", "explain(")["explain"]

    nodes = found["nodes"]
    assert len(nodes) == found["totalCount"] > 20
    assert {node["model"] for node in nodes} == {"gpt-4o", "gpt-4o-mini"}
    assert all(node["status"] == "ERROR" or node["latencyMs"] > 4000 for node in nodes)
    assert {node["status"] for node in nodes} == {"ERROR", "SUCCESS"}
    counted = [node["tokens"] for node in nodes if node["tokens"] is not None]
    assert [node["tokens"] for node in nodes] == sorted(counted, reverse=True) + [None] * (len(nodes) - len(counted))
    assert plan["indexes"]
    assert plan["returned"] > 0
    assert plan["documentsExamined"] < 1000
    assert plan["pipeline"][0]["$match"]["project_id"] == PROJECT_ID


def test_one_query_leads_from_calls_to_their_prompts(exploring: httpx.Client) -> None:
    found = data_of(exploring, "datasets", "inputRefs")["calls"]["nodes"]

    assert len(found) == 3
    for node in found:
        [taken] = node["inputRefs"]
        [prompt] = [ref["prompt"] for ref in taken["model"]["refs"]]
        assert (taken["model"]["objectId"], prompt["objectId"]) == ("support-assistant", "support-prompt")
        assert [version["text"] for version in prompt["versions"]["nodes"]] == PROMPT_TEXTS
        assert node["question"]


def test_trace_tree_matches_the_guide(exploring: httpx.Client) -> None:
    found = data_of(exploring, "threads-and-traces", "tree(first: 10000)")["calls"]["nodes"]
    project, trace = data_of(exploring, "threads-and-traces", "nodes(ids:")["nodes"]

    assert len(found) == 2
    for node in found:
        tree = node["trace"]["tree"]["nodes"]
        assert len(tree) == node["trace"]["totals"]["numCalls"] == tree[0]["numDescendants"] + 1
        assert [place["depth"] for place in tree].count(0) == 1
    assert (project["__typename"], project["name"], trace) == ("Project", "assistant", None)


def test_trace_list_has_failed_steps_in_order_of_cost(exploring: httpx.Client) -> None:
    found = data_of(exploring, "threads-and-traces", "anyCall")["traces"]

    costs = [node["totalCost"] for node in found["nodes"]]
    assert len(costs) == 5 < found["totalCount"]
    assert costs == sorted(costs, reverse=True)
    assert all(node["numErrors"] > 0 for node in found["nodes"])


def test_threads_with_failures_have_costs(exploring: httpx.Client) -> None:
    found = data_of(exploring, "threads-and-traces", "thread(projectId:")

    nodes = found["threads"]["nodes"]
    assert len(nodes) == min(3, found["threads"]["totalCount"]) > 0
    assert [node["totalCost"] for node in nodes] == sorted((node["totalCost"] for node in nodes), reverse=True)
    assert all(node["numErrors"] > 0 for node in nodes)
    assert found["thread"]["turnCount"] > 0


def test_cost_chart_has_a_line_per_model(exploring: httpx.Client) -> None:
    rows = data_of(exploring, "charts", "groupBy: [TIME_BUCKET, MODEL]")["callsAggregate"]["rows"]

    days: dict[str | None, list[str]] = {}
    for row in rows:
        days.setdefault(row["model"], []).append(row["bucketStart"])
        assert (row["cost"] is None) == (row["model"] is None)
        assert row["unpricedTokens"] == 0
    assert days.keys() == {None, "gpt-4o", "gpt-4o-mini", "lindqvist-planner-8b", "mistral-small-2506"}
    assert all(found == sorted(set(found)) for found in days.values())
    assert len(days["gpt-4o"]) >= 14
    assert {start[11:] for start in days["gpt-4o"]} <= {"22:00:00.000000Z", "23:00:00.000000Z"}


def test_latency_chart_has_a_line_per_op(exploring: httpx.Client) -> None:
    rows = data_of(exploring, "charts", "groupBy: [TIME_BUCKET, OP_NAME]")["callsAggregate"]["rows"]

    slowest: dict[str, float] = {}
    for row in rows:
        assert row["count"] > 0
        if row["p99LatencyMs"] is not None:
            assert row["p50LatencyMs"] <= row["p99LatencyMs"]
            slowest[row["opName"]] = max(slowest.get(row["opName"], 0), row["p99LatencyMs"])
    assert slowest.keys() == {"assistant.answer", "retrieve", "tools.ask_colleague"}
    assert min(slowest["assistant.answer"], slowest["tools.ask_colleague"]) > 30_000 > slowest["retrieve"]
    assert len({row["bucketStart"] for row in rows if row["opName"] == "assistant.answer"}) >= 14


def test_rate_chart_has_failures_and_thumbs_down(exploring: httpx.Client) -> None:
    data = data_of(exploring, "charts", "down: callsAggregate")

    count = {name: {row["bucketStart"]: row["count"] for row in found["rows"]} for name, found in data.items()}
    assert len(count["all"]) >= 14
    assert all(0 <= row["errorRate"] < 1 for row in data["all"]["rows"])
    assert sum(row["errorRate"] * row["count"] for row in data["all"]["rows"]) > 2
    assert all(count["down"][day] <= count["rated"][day] <= count["all"][day] for day in count["down"])
    assert 25 < sum(count["down"].values()) < sum(count["rated"].values()) / 2 < sum(count["all"].values()) / 4


def test_groups_at_paths_have_numbers(exploring: httpx.Client) -> None:
    rows = data_of(exploring, "charts", "groupPaths:")["callsAggregate"]["rows"]

    assert len(rows) == 5
    latencies = [row["numbers"][0]["p95"] for row in rows]
    assert latencies == sorted(latencies, reverse=True)
    assert any(row["pathValues"] != [None] for row in rows)
    assert any(row["numbers"][1]["average"] for row in rows)


def test_facets_and_paths_describe_the_demo(exploring: httpx.Client) -> None:
    facets = data_of(exploring, "charts", "callsFacets(")["callsFacets"]
    paths = data_of(exploring, "charts", "callsPaths(")["callsPaths"]

    assert all(facet["values"] for facet in facets)
    assert [bool(facet["histogram"]) for facet in facets] == [False, True, False, False, False]
    assert {value["value"] for value in facets[2]["values"]} == {"production", "staging"}
    assert paths["numCalls"] == 1_000
    assert not paths["isTruncated"]
    assert any(path["path"] == "output.choices.0.message.role" and path["example"] for path in paths["paths"])


def test_evaluations_guide_reads_the_demo_runs(exploring: httpx.Client) -> None:
    found = data_of(exploring, "evaluations", "evaluationRuns(")["evaluationRuns"]["nodes"]

    assert [run["displayName"][-5:] for run in found[:2]] == ["2.4.0", "2.3.1"]
    assert all(run["metrics"] and run["usage"]["cost"] for run in found)
    assert all(run["id"] in page("how-to/evaluations").containing("evaluationCompare(") for run in found[:2])


async def test_watch_command_receives_events(client: httpx.Client, calls: CallsStore) -> None:
    [command] = [words for words in page("how-to/live").commands if words[0] == "curl"]
    body = json.loads(command[-1])

    async with (
        httpx.AsyncClient(base_url=client.base_url, timeout=TIMEOUT) as watcher,
        streaming(watcher, **body) as events,
    ):
        event = (await first_of(events, calls, PROJECT_ID))["data"]["callEvents"]

    assert event["type"] == "STARTED"
    assert event["call"]["status"] == "RUNNING"


async def test_list_and_later_events_continue_from_one_cursor(client: httpx.Client, calls: CallsStore) -> None:
    listed = data_of(client, "live", "callEventsCursor")
    await calls.write([start(1, project_id=PROJECT_ID), end(1, project_id=PROJECT_ID)])
    await calls.write([start(2, project_id=PROJECT_ID), end(2, project_id=PROJECT_ID, exception="No.")])

    after = {"after": listed["callEventsCursor"]}
    async with (
        httpx.AsyncClient(base_url=client.base_url, timeout=TIMEOUT) as watcher,
        streaming(watcher, page("how-to/live").containing("after: $after"), variables=after) as events,
    ):
        event = (await next_of(events))["data"]["callEvents"]

    assert listed["calls"]["nodes"] == []
    assert (event["type"], event["call"]["id"], event["call"]["status"]) == ("ENDED", call_id(2), "ERROR")
    assert event["cursor"]


async def test_example_judge_returns_scores(client: httpx.Client, stand_in: StandIn, calls: CallsStore) -> None:
    await calls.write([start(1, project_id="acme/reviews"), end(1, project_id="acme/reviews", output="As you wish.")])
    stand_in.reply = lambda _body: '{"response": 9}'
    digest = data_of(client, "actions", "llm_judge")["objCreate"]["digest"]

    ref = f"weave:///acme/reviews/object/politeness:{digest}"
    execute = f'actionsExecuteBatch(projectId: "acme/reviews", actionRef: "{ref}", callIds: ["{call_id(1)}"])'
    found = answer(client, f"mutation {{ {execute} {{ results {{ output }} }} }}")

    assert found["data"] == {"actionsExecuteBatch": {"results": [{"output": 9}]}}
    assert [body["model"] for body in stand_in.bodies] == ["gpt-4o-mini"]


def test_example_image_is_available_at_its_url(client: httpx.Client) -> None:
    made = data_of(client, "files-and-images", "imageCreate(")["imageCreate"]

    [image] = made["images"]
    assert (image["contentType"], made["error"]) == ("image/png", None)
    assert made["call"]["id"]
    assert len(client.get(image["url"]).content) == image["sizeBytes"]


async def test_example_completion_streams(client: httpx.Client) -> None:
    async with httpx.AsyncClient(base_url=client.base_url, timeout=TIMEOUT) as watcher:
        results = results_of(await all_of(watcher, page("how-to/completions").containing("completionsCreateStream")))

    started, *chunks, finished = [result["data"]["completionsCreateStream"] for result in results]
    assert (started["type"], finished["type"], started["weaveCallId"]) == (
        "STARTED",
        "FINISHED",
        finished["weaveCallId"],
    )
    assert "".join(chunk["text"] or "" for chunk in chunks) == WEFT
    assert finished["response"]["choices"][0]["message"]["content"] == WEFT


def test_every_known_provider_is_listed_with_its_keys() -> None:
    rows = dict(re.findall(r"^\| `(\w+)/…`.*? \| (.*?) \|$", page("how-to/completions").text, re.MULTILINE))

    named = {provider: tuple(re.findall(r"`(\w+)`", keys)) for provider, keys in rows.items()}
    assert named == {known.name: known.secrets for known in KNOWN_PROVIDERS.values()}


def run(program: str, client: httpx.Client, **environment: str) -> None:
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": str(client.base_url)}
    command = [sys.executable, "-c", program]
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=TIMEOUT)


def test_guide_program_sends_its_spans(client: httpx.Client) -> None:
    run(page("how-to/send-traces").containing("OTLPSpanExporter", "python"), client)
    chat, root = data_of(client, "send-traces", "otel/weaver")["calls"]["nodes"]

    assert (root["traceName"], root["parentId"], root["usage"]) == ("answer", None, [])
    assert (root["inputs"], root["output"]) == ({"input.value": "What is a weft?"}, {"output.value": "A thread."})
    assert (chat["traceName"], chat["kind"], bool(chat["parentId"])) == ("chat small", "chat", True)
    assert chat["inputs"]["gen_ai.input.messages"] == [{"role": "user", "content": "What is a weft?"}]
    assert chat["usage"] == [{"model": "small", "inputTokens": 12, "outputTokens": 3, "totalTokens": 15}]


def test_readme_program_sends_its_span(client: httpx.Client) -> None:
    readme = page("README")
    name = readme.environment["OTEL_SERVICE_NAME"]

    run(readme.containing("OTLPSpanExporter", "python"), client, OTEL_SERVICE_NAME=name)
    [call] = answer(client, f'{{ calls(projectId: "otel/{name}") {{ nodes {{ traceName inputs }} }} }}')["data"][
        "calls"
    ]["nodes"]

    assert f"`otel/{name}`" in readme.text
    assert call == {"traceName": "answer", "inputs": {"input.value": "What is a weft?"}}
