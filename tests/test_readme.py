"""The README is held to its word: its examples run in order, and answer what it says they do."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main
from app.commands.demo_loading import load_demo
from app.demo import PROJECT_ID
from app.demo.vocabulary import SYSTEM_PROMPTS
from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.completions.known_providers import KNOWN_PROVIDERS
from tests.app.event_stream import all_of, first_of, next_of, streaming, told
from tests.database_pool import DatabasePool
from tests.live_server import live_server
from tests.stand_in_provider import KEY, StandIn
from tests.stores.calls.builders import call_id, end, start

README = (Path(__file__).parent.parent / "README.md").read_text()
WEFT = "A thread that crosses the warp."
# Those that begin with the name of a file are its content.
BLOCKS = re.findall(r"```(graphql|json)\n(?!# \S+\n)(.*?)```", README, re.DOTALL)
COMMANDS = [json.loads(body) for body in re.findall(r"-d '(\{.*?\})'$", README, re.DOTALL | re.MULTILINE)]


@pytest.fixture
def client(
    mongodb_uri: str, database_name: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    stand_in.reply = lambda _body: WEFT
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings)) as address, httpx.Client(base_url=f"http://{address}") as client:
        yield client


def answer(client: httpx.Client, document: str) -> Any:  # noqa: ANN401 -- any JSON
    return client.post("/graphql", json={"query": document}).json()


def test_the_examples_answer_what_the_readme_says(client: httpx.Client) -> None:
    examples = [
        (document, json.loads(expected))
        for (kind, document), (next_kind, expected) in itertools.pairwise(BLOCKS)
        if (kind, next_kind) == ("graphql", "json")
    ]

    assert len(examples) == 30
    for document, expected in examples:
        found = answer(client, document)
        if "extensions" not in expected:  # as it is said where the cost is told of
            del found["extensions"]
        assert found == expected


@pytest.fixture(scope="module")
def demo(mongodb_uri: str, databases: DatabasePool) -> Iterator[str]:
    """The name of a database with the demo, for all that do not change it."""
    name = databases.take()
    load_demo(Settings(mongodb_database=name), mongodb_uri)
    yield name
    databases.give_back(name)


@pytest.fixture(scope="module")
def exploring(mongodb_uri: str, demo: str) -> Iterator[httpx.Client]:
    """A client of a server over it."""
    app = create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=demo))
    with live_server(app) as address, httpx.Client(base_url=f"http://{address}") as client:
        yield client


def asking(part: str) -> str:
    """The one example that has a part of a query in it."""
    [example] = [text for kind, text in BLOCKS if kind == "graphql" and part in text]
    return str(example)


def test_the_first_query_finds_failures_in_the_demo(exploring: httpx.Client) -> None:
    found = answer(exploring, BLOCKS[0][1])

    assert "errors" not in found
    nodes = found["data"]["calls"]["nodes"]
    assert f'"{PROJECT_ID}"' in BLOCKS[0][1]
    assert found["data"]["calls"]["totalCount"] > 400
    assert [node["status"] for node in nodes] == ["DESCENDANT_ERROR"] * 5
    assert all(node["question"] for node in nodes)
    assert any(node["usage"] for node in nodes)


def test_anything_can_be_asked_of_the_demo(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("contains:"))["data"]["calls"]
    plan = answer(exploring, asking("explain("))["data"]["explain"]

    nodes = found["nodes"]
    assert len(nodes) == found["totalCount"] > 20
    assert {node["model"] for node in nodes} == {"gpt-4o", "gpt-4o-mini"}
    assert all(node["status"] == "ERROR" or node["latencyMs"] > 4000 for node in nodes)
    assert {node["status"] for node in nodes} == {"ERROR", "SUCCESS"}
    told = [node["tokens"] for node in nodes if node["tokens"] is not None]
    assert [node["tokens"] for node in nodes] == sorted(told, reverse=True) + [None] * (len(nodes) - len(told))
    assert plan["indexes"]
    assert plan["returned"] > 0
    assert plan["documentsExamined"] < 1000
    assert plan["pipeline"][0]["$match"]["project_id"] == PROJECT_ID


def test_one_query_goes_from_calls_to_their_prompts(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("inputRefs"))["data"]["calls"]["nodes"]

    assert len(found) == 3
    for node in found:
        [taken] = node["inputRefs"]
        [prompt] = [ref["prompt"] for ref in taken["model"]["refs"]]
        assert (taken["model"]["objectId"], prompt["objectId"]) == ("support-assistant", "support-prompt")
        assert [version["text"] for version in prompt["versions"]["nodes"]] == list(SYSTEM_PROMPTS.values())
        assert node["question"]


def test_the_worst_threads_have_a_turn_that_took_long(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("threads("))["data"]["threads"]

    worst = [node["p99TurnDurationMs"] for node in found["nodes"]]
    assert found["totalCount"] > 100
    assert worst == sorted(worst, reverse=True)
    assert len(worst) == 3
    for node in found["nodes"]:
        latencies = [turn["latencyMs"] for turn in node["turns"]["nodes"]]
        assert len(latencies) == node["turnCount"] >= 4
        assert max(latencies) > node["p99TurnDurationMs"] > 8 * node["p50TurnDurationMs"]


def test_traces_are_walked_as_they_are_drawn(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("tree(first: 10000)"))["data"]["calls"]["nodes"]
    project, trace = answer(exploring, asking("nodes(ids:"))["data"]["nodes"]

    assert len(found) == 2
    for node in found:
        tree = node["trace"]["tree"]["nodes"]
        assert len(tree) == node["trace"]["totals"]["numCalls"] == tree[0]["numDescendants"] + 1
        assert [place["depth"] for place in tree].count(0) == 1
    assert (project["__typename"], project["name"], trace) == ("Project", "assistant", None)


def test_the_chart_of_costs_has_a_line_for_each_model(exploring: httpx.Client) -> None:
    rows = answer(exploring, asking("groupBy: [TIME_BUCKET, MODEL]"))["data"]["callsAggregate"]["rows"]

    days: dict[str | None, list[str]] = {}
    for row in rows:
        days.setdefault(row["model"], []).append(row["bucketStart"])
        assert (row["cost"] is None) == (row["model"] is None)
        assert row["unpricedTokens"] == 0
    assert days.keys() == {None, "gpt-4o", "gpt-4o-mini", "lindqvist-planner-8b", "mistral-small-2506"}
    assert all(found == sorted(set(found)) for found in days.values())
    assert len(days["gpt-4o"]) >= 14
    assert {start[11:] for start in days["gpt-4o"]} <= {"22:00:00.000000Z", "23:00:00.000000Z"}


def test_the_chart_of_latency_has_a_line_for_each_op(exploring: httpx.Client) -> None:
    rows = answer(exploring, asking("groupBy: [TIME_BUCKET, OP_NAME]"))["data"]["callsAggregate"]["rows"]

    slowest: dict[str, float] = {}
    for row in rows:
        assert row["count"] > 0
        if row["p99LatencyMs"] is not None:
            assert row["p50LatencyMs"] <= row["p99LatencyMs"]
            slowest[row["opName"]] = max(slowest.get(row["opName"], 0), row["p99LatencyMs"])
    assert slowest.keys() == {"assistant.answer", "retrieve", "tools.ask_colleague"}
    assert min(slowest["assistant.answer"], slowest["tools.ask_colleague"]) > 30_000 > slowest["retrieve"]
    assert len({row["bucketStart"] for row in rows if row["opName"] == "assistant.answer"}) >= 14


def test_the_chart_of_rates_has_failures_and_thumbs_down(exploring: httpx.Client) -> None:
    data = answer(exploring, asking("down: callsAggregate"))["data"]

    count = {name: {row["bucketStart"]: row["count"] for row in found["rows"]} for name, found in data.items()}
    assert len(count["all"]) >= 14
    assert all(0 <= row["errorRate"] < 1 for row in data["all"]["rows"])
    assert sum(row["errorRate"] * row["count"] for row in data["all"]["rows"]) > 2
    assert all(count["down"][day] <= count["rated"][day] <= count["all"][day] for day in count["down"])
    assert 25 < sum(count["down"].values()) < sum(count["rated"].values()) / 2 < sum(count["all"].values()) / 4


def test_the_runs_of_the_demo_are_those_that_are_read(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("op/Evaluation.evaluate:*"))["data"]["calls"]["nodes"]

    assert [run["displayName"][-5:] for run in found[:2]] == ["2.4.0", "2.3.1"]
    assert all(run["id"] in asking("evaluationCompare(") for run in found[:2])


def test_the_worst_answers_of_a_run_come_first(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("evaluationResults("))["data"]

    run, results = found["evaluationRun"], found["evaluationResults"]
    assert (run["displayName"], run["status"]) == ("support quality: release 2.4.0", "COMPLETE")
    assert run["model"]["ref"].startswith(f"weave:///{PROJECT_ID}/object/support-assistant:")
    assert [(each["name"], each["count"], each["trueCount"]) for each in run["metrics"]] == [
        ("answer_overlap.passed", 40, 39),
        ("answer_overlap.recall", 40, None),
        ("helpfulness.grade", 39, None),
    ]
    assert run["usage"] == {"totalTokens": 6815, "cost": pytest.approx(0.0126772)}
    assert results["totalCount"] == 40
    predictions = [prediction for node in results["nodes"] for prediction in node["predictions"]]
    assert all(node["question"] for node in results["nodes"])
    assert predictions[0]["output"] == "Our colleagues will get back to you."
    assert [[score["name"] for score in each["scores"]] for each in predictions] == [
        ["answer_overlap", "helpfulness"]
    ] * 3
    assert [each["scores"][1]["value"]["grade"] for each in predictions] == [3, 4, 4]
    assert all(each["modelCall"]["totalCost"] > 0 for each in predictions)


def test_two_releases_are_compared_with_what_fell_most_first(exploring: httpx.Client) -> None:
    found = answer(exploring, asking("evaluationCompare("))["data"]["evaluationCompare"]

    assert [run["displayName"][-5:] for run in found["runs"]] == ["2.3.1", "2.4.0"]
    assert found["numInCommon"] == 40
    [[_, grade]] = [metric["runs"] for metric in found["metrics"] if metric["name"] == "helpfulness.grade"]
    assert grade["difference"] == pytest.approx(4.717948717948718 - 4.026315789473684)
    assert (grade["numHigher"], grade["numLower"], grade["numEqual"]) == (17, 3, 17)
    changes = [
        metric["difference"]
        for node in found["rows"]["nodes"]
        for metric in node["runs"][1]["metrics"]
        if metric["name"] == "helpfulness.grade"
    ]
    assert changes == [-1, -1, -1, 0, 0]
    assert all(node["question"] and node["runs"][0]["predictions"] for node in found["rows"]["nodes"])


def test_the_commands_of_scripts_are_answered(exploring: httpx.Client) -> None:
    asked = [body for body in COMMANDS if "subscription" not in body["query"]]

    everything, some = [exploring.post("/graphql", json=body).json()["data"]["callsStats"]["count"] for body in asked]

    assert everything > some > 20


async def test_the_command_that_watches_is_told_what_happens(client: httpx.Client, calls: CallsStore) -> None:
    [body] = [body for body in COMMANDS if "subscription" in body["query"]]

    async with httpx.AsyncClient(base_url=client.base_url) as watcher, streaming(watcher, **body) as events:
        event = (await first_of(events, calls, PROJECT_ID))["data"]["callEvents"]

    assert event["type"] == "STARTED"
    assert event["call"]["status"] == "RUNNING"


async def test_a_list_and_the_events_after_it_go_on_from_one_cursor(client: httpx.Client, calls: CallsStore) -> None:
    listed = answer(client, asking("callEventsCursor"))["data"]
    await calls.write([start(1, project_id=PROJECT_ID), end(1, project_id=PROJECT_ID)])
    await calls.write([start(2, project_id=PROJECT_ID), end(2, project_id=PROJECT_ID, exception="No.")])

    after = {"after": listed["callEventsCursor"]}
    async with (
        httpx.AsyncClient(base_url=client.base_url) as watcher,
        streaming(watcher, asking("after: $after"), variables=after) as events,
    ):
        event = (await next_of(events))["data"]["callEvents"]

    assert listed["calls"]["nodes"] == []
    assert (event["type"], event["call"]["id"], event["call"]["status"]) == ("ENDED", call_id(2), "ERROR")
    assert event["cursor"]


async def test_the_judge_of_the_example_judges(client: httpx.Client, stand_in: StandIn, calls: CallsStore) -> None:
    await calls.write([start(1, project_id="acme/reviews"), end(1, project_id="acme/reviews", output="As you wish.")])
    stand_in.reply = lambda _body: '{"response": 9}'
    digest = answer(client, asking("llm_judge"))["data"]["objCreate"]["digest"]

    ref = f"weave:///acme/reviews/object/politeness:{digest}"
    execute = f'actionsExecuteBatch(projectId: "acme/reviews", actionRef: "{ref}", callIds: ["{call_id(1)}"])'
    found = answer(client, f"mutation {{ {execute} {{ results {{ output }} }} }}")

    assert found["data"] == {"actionsExecuteBatch": {"results": [{"output": 9}]}}
    assert [body["model"] for body in stand_in.bodies] == ["gpt-4o-mini"]


def test_the_image_of_the_example_is_at_its_url(client: httpx.Client) -> None:
    made = answer(client, asking("imageCreate("))["data"]["imageCreate"]

    [image] = made["images"]
    assert (image["contentType"], made["error"]) == ("image/png", None)
    assert made["call"]["id"]
    assert len(client.get(image["url"]).content) == image["sizeBytes"]


async def test_the_completion_comes_as_a_stream(client: httpx.Client) -> None:
    async with httpx.AsyncClient(base_url=client.base_url) as watcher:
        results = told(await all_of(watcher, asking("completionsCreateStream")))

    started, *chunks, finished = [result["data"]["completionsCreateStream"] for result in results]
    assert (started["type"], finished["type"], started["weaveCallId"]) == (
        "STARTED",
        "FINISHED",
        finished["weaveCallId"],
    )
    assert "".join(chunk["text"] or "" for chunk in chunks) == WEFT
    assert finished["response"]["choices"][0]["message"]["content"] == WEFT


def test_every_known_provider_is_named_with_its_keys() -> None:
    rows = dict(re.findall(r"^\| `(\w+)/…`.*? \| (.*?) \|$", README, re.MULTILINE))

    named = {provider: tuple(re.findall(r"`(\w+)`", keys)) for provider, keys in rows.items()}
    assert named == {known.name: known.secrets for known in KNOWN_PROVIDERS.values()}


def test_the_program_sends_its_spans(client: httpx.Client) -> None:
    [program] = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "OTLPSpanExporter" in code]
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": str(client.base_url)}

    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)  # noqa: S603 -- the README's own
    chat, root = answer(client, asking("otel/weaver"))["data"]["calls"]["nodes"]

    assert (root["traceName"], root["parentId"], root["usage"]) == ("answer", None, [])
    assert (root["inputs"], root["output"]) == ({"input.value": "What is a weft?"}, {"output.value": "A thread."})
    assert (chat["traceName"], chat["kind"], bool(chat["parentId"])) == ("chat small", "chat", True)
    assert chat["inputs"]["gen_ai.input.messages"] == [{"role": "user", "content": "What is a weft?"}]
    assert chat["usage"] == [{"model": "small", "inputTokens": 12, "outputTokens": 3, "totalTokens": 15}]


def test_what_is_taken_out_can_be_brought_in(
    exploring: httpx.Client, mongodb_uri: str, demo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", demo)
    monkeypatch.setenv("LOOMQL_PORT", str(exploring.base_url.port))
    commands = [shlex.split(line) for line in re.findall(r"^loomql ((?:ex|im)port .*)$", README, re.MULTILINE)]

    codes = [main(command) for command in commands]

    [command] = re.findall(r"^curl -G \S+(/export/calls .*?) > failures", README, re.MULTILINE | re.DOTALL)
    path, *options = shlex.split(command.replace("\\\n", ""))
    given = [option.partition("=") for option in options if "=" in option]
    *failures, end = exploring.get(path, params=[(name, value) for name, _, value in given]).text.splitlines()
    stats = 'callsStats(projectId: "demo/{}") {{ count }}'.format
    counts = answer(exploring, f"{{ from: {stats('assistant')} to: {stats('copy')} }}")["data"]
    assert codes == [0, 0, 0, 0]
    assert json.loads(end)["loomql_export"]["count"] == len(failures) > 5
    assert all(json.loads(line)["summary"]["weave"]["status"] == "error" for line in failures)
    assert counts["from"] == counts["to"] != {"count": 0}


def test_the_tests_that_are_named_are_there() -> None:
    named = re.findall(r"`([\w/]+/test_\w+\.py)`", README)

    assert len(named) > 10
    assert [name for name in named if not (Path(__file__).parent / name.removeprefix("tests/")).exists()] == []


def test_ci_can_find_the_test_command() -> None:
    commands = re.findall(r"^python3 -m venv .*pytest\b.*$", README, re.MULTILINE)

    assert len(commands) == 1
