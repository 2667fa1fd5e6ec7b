"""Tests of the default tabs of GraphiQL."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, get_variable_values, parse, validate

from app.build_hook import FOLDER
from graphql_schema.context import Context
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema as build_loom_schema
from graphql_schema.schema import sdl
from stores.json import codec
from tests.app.demo_data import PROMPT_TEXTS, Loaded
from tests.installation import ROOT

TABS = ROOT / FOLDER / "graphiql" / "tabs"


def test_each_default_tab_has_a_comment_with_its_purpose() -> None:
    tabs = sorted(TABS.glob("*.graphql"))

    assert [tab.name[:3] for tab in tabs] == [f"{number:02}-" for number in range(1, 14)]
    for tab in tabs:
        comment = [line for line in tab.read_text().splitlines() if line.startswith("#")]
        assert "?" in " ".join(comment), tab.name


@pytest.mark.parametrize("tab", sorted(TABS.glob("*.graphql")), ids=lambda tab: tab.stem)
def test_default_tab_is_valid_against_the_schema(tab: Path) -> None:
    schema = build_schema(sdl())
    document = parse(tab.read_text())

    assert validate(schema, document) == []
    given = tab.with_suffix(".json")
    variables = json.loads(given.read_text()) if given.exists() else {}
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    declared = operation.variable_definitions or ()
    coerced = get_variable_values(schema, declared, variables)
    assert not isinstance(coerced, list), coerced
    assert len(variables) == len(declared)


@pytest.fixture
def ask(loaded: Loaded) -> Callable[[str], Awaitable[Any]]:
    """Return a function that runs a tab's query on the demo and returns its data."""
    schema, context = build_loom_schema(Limits()), Context(loaded.stores)

    async def ask(tab: str) -> Any:
        result = await schema.execute((TABS / tab).read_text(), context_value=context)
        assert not result.errors
        return json.loads(codec.dumps(result.data))

    return ask


async def test_one_tab_follows_calls_to_their_models_prompt_and_versions(
    ask: Callable[[str], Awaitable[Any]],
) -> None:
    data = await ask("07-prompt-of-a-call.graphql")

    assert len(data["calls"]["nodes"]) == 5
    for call in data["calls"]["nodes"]:
        [taken] = call["inputRefs"]
        assert (taken["model"]["objectId"], taken["model"]["versionIndex"]) == ("support-assistant", 2)
        [prompt] = [ref["prompt"] for ref in taken["model"]["refs"]]
        versions = prompt["versions"]["nodes"]
        assert (prompt["objectId"], prompt["versionIndex"]) == ("support-prompt", 3)
        assert [version["content"] for version in versions] == PROMPT_TEXTS
        assert [version["isLatest"] for version in versions] == [0, 0, 0, 1]
        assert call["question"]


async def test_one_tab_shows_the_objects_and_the_rows_of_the_dataset(ask: Callable[[str], Awaitable[Any]]) -> None:
    data = await ask("08-dataset.graphql")

    nodes = {node["objectId"]: node for node in data["objs"]["nodes"]}
    [table] = [node["table"] for node in nodes.values() if node["table"]]
    rows = data["tableRows"]["nodes"]
    assert nodes.keys() >= {"support-assistant", "support-prompt", "support-questions", "support-quality"}
    assert f'digest: "{table.rpartition("/")[2]}"' in (TABS / "08-dataset.graphql").read_text()
    assert data["tableRows"]["totalCount"] == 25
    assert [row["country"] for row in rows] == sorted(row["country"] for row in rows)
    assert all(row["question"] and row["expected"] for row in rows)


async def test_one_tab_charts_model_cost_by_day(ask: Callable[[str], Awaitable[Any]]) -> None:
    data = await ask("09-cost-by-day.graphql")

    rows = [row for row in data["callsAggregate"]["rows"] if row["model"]]
    cost = {(row["bucketStart"][:10], row["model"]): row["cost"] for row in rows}
    a_token = {row["bucketStart"][:10]: row["cost"] / row["totalTokens"] for row in rows if row["model"] == "gpt-4o"}
    assert len({day for day, _ in cost}) >= 14
    assert {model for _, model in cost} == {"gpt-4o", "gpt-4o-mini", "lindqvist-planner-8b", "mistral-small-2506"}
    assert all(price > 0 for price in cost.values())
    assert all(row["unpricedTokens"] == 0 and row["requests"] > 0 for row in rows)
    assert max(price for day, price in a_token.items() if day >= "2026-03-09") < min(
        price for day, price in a_token.items() if day < "2026-03-09"
    )
    assert {node["llmId"]: node["effectiveDate"][:10] for node in data["costs"]["nodes"]} == {
        "gpt-4o": "2026-03-09",
        "lindqvist-planner-8b": "2025-12-14",
        "mistral-small-2506": "2025-03-14",
    }


async def test_one_tab_shows_the_worst_evaluation_rows_and_changes(
    ask: Callable[[str], Awaitable[Any]],
) -> None:
    data = await ask("12-evaluation-results.graphql")

    rows = data["evaluationResults"]["nodes"]
    grades = [
        score["value"]["grade"]
        for row in rows
        for prediction in row["predictions"]
        for score in prediction["scores"]
        if score["name"] == "helpfulness"
    ]
    assert data["evaluationResults"]["totalCount"] == 40
    assert len(grades) == 10
    assert grades == sorted(grades)
    assert grades[0] == 3
    higher = {metric["name"]: metric["runs"][1]["numHigher"] for metric in data["evaluationCompare"]["metrics"]}
    assert higher == {"answer_overlap.passed": 8, "answer_overlap.recall": 8, "helpfulness.grade": 17}


async def test_one_tab_shows_the_worst_threads_and_slow_turns(
    ask: Callable[[str], Awaitable[Any]],
) -> None:
    threads = (await ask("10-worst-threads.graphql"))["threads"]

    worst = [node["p99TurnDurationMs"] for node in threads["nodes"]]
    assert threads["totalCount"] > 100
    assert len(worst) == 10
    assert worst == sorted(worst, reverse=True)
    for node in threads["nodes"]:
        turns = node["turns"]["nodes"]
        assert len(turns) == node["turnCount"]
        assert max(turn["latencyMs"] for turn in turns) >= int(node["p99TurnDurationMs"])
    slowest = max(threads["nodes"][0]["turns"]["nodes"], key=lambda turn: turn["latencyMs"])
    assert slowest["traceName"].startswith("Escalated: ")


async def test_one_tab_shows_responses_with_thumbs_down_and_feedback(
    ask: Callable[[str], Awaitable[Any]],
) -> None:
    calls = (await ask("11-thumbs-down.graphql"))["calls"]

    assert calls["totalCount"] > 25
    assert len(calls["nodes"]) == 20
    feedback = [node["feedback"]["nodes"] for node in calls["nodes"]]
    for found in feedback:
        emoji = [each["payload"]["emoji"] for each in found if each["feedbackType"] == "wandb.reaction.1"]
        assert [text[0] for text in emoji] == ["👎"]
    everything = [each for found in feedback for each in found]
    assert {each["feedbackType"].split(".")[1] for each in everything} == {"reaction", "note", "annotation"}
    assert {bool(each["annotation"]) for each in everything if "annotation" in each["feedbackType"]} == {True}
    assert len({emoji for each in everything if (emoji := each["payload"].get("emoji"))}) > 2


async def test_one_tab_shows_users_tags_and_kinds_and_costly_traces_with_failed_tools(
    ask: Callable[[str], Awaitable[Any]],
) -> None:
    data = await ask("13-facets-and-traces.graphql")

    facets = {facet["field"]: facet for facet in data["callsFacets"]}
    assert {name: len(facet["values"]) for name, facet in facets.items()} == dict.fromkeys(facets, 5)
    assert facets["user_id"]["numDistinct"] == 16
    assert {each["value"] for each in facets["tags"]["values"]} >= {"chat", "premium", "multilingual", "escalated"}
    costs = [node["totalCost"] for node in data["traces"]["nodes"]]
    assert costs == sorted(costs, reverse=True)
    assert all(node["userId"] and "chat" in node["tags"] for node in data["traces"]["nodes"])


@pytest.mark.parametrize("tab", sorted(tab.name for tab in TABS.glob("*.graphql") if "query " in tab.read_text()))
async def test_every_query_tab_returns_rows(ask: Callable[[str], Awaitable[Any]], tab: str) -> None:
    data = await ask(tab)

    for field in data.values():
        lists = [field] if isinstance(field, list) else [field.get(name, ()) for name in ("nodes", "rows", "metrics")]
        assert max(map(len, lists)) >= 2 or field["count"] > 1000


def test_variables_belong_to_a_tab() -> None:
    for variables in TABS.glob("*.json"):
        assert variables.with_suffix(".graphql").exists()
