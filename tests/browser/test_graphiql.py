"""Tests of GraphiQL in a real browser, on the real server with its demo data."""

import asyncio
import re
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.browser.demo_calls import DELETE_CALL, END_CALL, LOG_CALL, RENAME_CALL, demo_calls
from tests.browser.graphiql_page import GraphiqlPage, until
from tests.waiting import TIMEOUT

# On a busy machine the sample may contain fewer than 1,000 calls.
MISSPELT = r"No call among the newest [0-9,]+ has inputs\.modle\. inputs\.model occurs in [0-9]+ of "


async def test_graphiql_starts_with_a_name_an_icon_and_thirteen_whole_tabs(
    graphiql: GraphiqlPage,
) -> None:
    icon = await graphiql.page.evaluate("document.querySelector('link[rel=icon]').href")

    assert await graphiql.page.title() == "LoomQL"
    assert await graphiql.page.locator(".loomql-logo").inner_text() == "LoomQL"
    assert (await graphiql.page.request.get(icon)).headers["content-type"] == "image/svg+xml"
    assert await graphiql.tabs() == [
        "LatestTraces",
        "SlowestCalls",
        "Failures",
        "TokenUsage",
        "LogCall",
        "LiveCalls",
        "PromptOfCall",
        "Dataset",
        "CostByDay",
        "WorstThreads",
        "ThumbsDown",
        "EvaluationResults",
        "FacetsAndTraces",
    ]
    await documentation_cuts_off_neither_its_shortcut_nor_a_tab(graphiql)


async def documentation_cuts_off_neither_its_shortcut_nor_a_tab(graphiql: GraphiqlPage) -> None:
    await graphiql.page.set_viewport_size({"width": 1440, "height": 900})
    await graphiql.page.get_by_label("Show Documentation Explorer").click()
    field = graphiql.page.get_by_role("combobox")

    shown, needed = await field.evaluate(
        """field => {
            const context = document.createElement("canvas").getContext("2d");
            context.font = getComputedStyle(field).font;
            return [field.getBoundingClientRect().width, context.measureText(field.placeholder).width];
        }"""
    )

    assert 0 < needed < shown

    await graphiql.open_tab()
    tabs = await graphiql.page.get_by_role("tab").all()

    for tab in tabs:
        await tab.click(trial=True)
    assert len(tabs) == 14
    assert await tabs[-1].get_attribute("aria-selected") == "true"
    bottoms = [box["y"] + box["height"] for tab in tabs if (box := await tab.bounding_box())]
    session = await graphiql.page.locator("#graphiql-session").bounding_box()
    assert session is not None
    assert max(bottoms) <= session["y"]
    assert session["y"] + session["height"] <= 900


async def test_graphiql_and_the_other_pages_link_each_other(graphiql_tab: GraphiqlPage, demo_server_url: str) -> None:
    # The test does not wait until GraphiQL has loaded, which takes seconds.
    await graphiql_tab.page.goto(f"{demo_server_url}/docs")
    for name, path in (("Explorer", "/"), ("Docs", "/docs")):
        await graphiql_tab.page.get_by_role("link", name="GraphiQL", exact=True).first.click()
        await graphiql_tab.page.wait_for_url(f"{demo_server_url}/graphql", wait_until="commit")
        await graphiql_tab.page.get_by_role("link", name=name, exact=True).click()
        await graphiql_tab.page.wait_for_url(f"{demo_server_url}{path}")


@pytest.mark.parametrize(("tab", "selected"), [("LatestTraces", "calls"), ("Dataset", "objs")])
async def test_explorer_panel_opens_at_the_query(shared_graphiql: GraphiqlPage, tab: str, selected: str) -> None:
    graphiql = shared_graphiql
    await graphiql.choose(tab)
    await graphiql.page.get_by_label("Show GraphiQL Explorer").click()

    field = graphiql.page.locator(f"[data-field-name={selected}]")
    panel = graphiql.page.locator(".graphiql-plugin")

    async def is_in_view() -> bool:
        inner, outer = await field.bounding_box(), await panel.bounding_box()
        return bool(inner and outer and outer["y"] <= inner["y"] <= outer["y"] + outer["height"] - inner["height"])

    await until(is_in_view, bool)
    # The panel shows lists as text, which it cannot edit.
    assert await graphiql.page.locator(".graphiql-explorer-root").get_by_text('[{field: "').count() >= 1
    await graphiql.page.get_by_label("Hide GraphiQL Explorer").click()
    assert graphiql.complaints == []


async def test_weave_sdk_link_opens_a_tab_with_a_query_of_the_call(
    graphiql_tab: GraphiqlPage, demo_server_url: str
) -> None:
    graphiql = graphiql_tab
    query = '{ calls(projectId: "demo/assistant", first: 2) { nodes { id traceName } } }'
    async with httpx.AsyncClient(base_url=demo_server_url, timeout=TIMEOUT) as client:
        calls = (await client.post("/graphql", json={"query": query})).json()["data"]["calls"]["nodes"]

    # The first link opens GraphiQL for the first time; the second one finds the tabs that the page has kept.
    for number, call in enumerate(calls):
        await graphiql.page.goto(f"{demo_server_url}/weave/demo/assistant/r/call/{call['id']}")
        await until(graphiql.page.get_by_role("tab").count, (14 + number).__eq__)
        tabs = await graphiql.tabs()
        await until(graphiql.answer, lambda shown: shown == {})  # for a moment it may be that of the tab before
        await graphiql.run()
        answer = await until(graphiql.answer, bool)

        assert tabs.count("Call") == number + 1
        shown = answer["data"]["call"]
        assert (shown["id"], shown["traceName"]) == (call["id"], call["traceName"])


async def test_typed_query_shows_its_result_and_contacts_no_other_host(
    new_tab: GraphiqlPage, demo_server_url: str, tmp_path: Path
) -> None:
    await new_tab.write('{ calls(projectId: "demo/assistant", first: 3) { totalCount nodes { traceName status } } }')
    await new_tab.run()

    answer = await until(new_tab.answer, bool)
    assert "errors" not in answer
    calls = answer["data"]["calls"]
    assert calls["totalCount"] > 100
    assert len(calls["nodes"]) == 3
    await new_tab.page.screenshot(path=tmp_path / "graphiql.png")
    assert (tmp_path / "graphiql.png").stat().st_size > 10_000
    assert new_tab.hosts() == {urlsplit(demo_server_url).netloc}


async def test_misspelt_path_shows_a_hint_with_the_empty_result(new_tab: GraphiqlPage, tmp_path: Path) -> None:
    notice = new_tab.page.get_by_role("status", name="Hints")

    async def ask(path: str) -> dict[str, Any]:
        condition = f'{{expr: {{eq: [{{getField: "{path}"}}, {{literal: "gpt-4o"}}]}}}}'
        await new_tab.paste(f'{{ calls(projectId: "demo/assistant", query: {condition}) {{ totalCount }} }}')
        await new_tab.run()
        answer: dict[str, Any] = await until(new_tab.answer, bool)
        return answer

    misspelt = await ask("inputs.modle")
    shown = await until(notice.all_inner_texts, bool)
    await new_tab.page.screenshot(path=tmp_path / "hint.png")
    right = await ask("inputs.model")

    assert misspelt["data"] == {"calls": {"totalCount": 0}}
    [hint] = misspelt["extensions"]["hints"]
    assert hint["suggestion"] == "inputs.model"
    assert shown == [f"calls {hint['message']}"]
    assert re.match(MISSPELT, hint["message"])
    assert right["data"]["calls"]["totalCount"] > 0
    await until(notice.count, lambda count: count == 0)


async def test_waiting_subscription_shows_its_hint(new_tab: GraphiqlPage) -> None:
    condition = '{expr: {eq: [{getField: "inputs.modle"}, {literal: "gpt-4o"}]}}'
    await new_tab.paste(f'subscription {{ callEvents(projectId: "demo/assistant", query: {condition}) {{ type }} }}')
    await new_tab.run()

    [shown] = await until(new_tab.page.get_by_role("status", name="Hints").all_inner_texts, bool)

    await new_tab.stop()
    assert re.match(f"callEvents {MISSPELT}", shown)


@pytest.mark.parametrize(
    "tab",
    [
        *("LatestTraces", "SlowestCalls", "Failures", "TokenUsage", "LogCall", "PromptOfCall", "Dataset"),
        *("CostByDay", "WorstThreads", "ThumbsDown"),
    ],
)
async def test_default_tab_returns_demo_data(shared_graphiql: GraphiqlPage, tab: str) -> None:
    graphiql = shared_graphiql
    await graphiql.choose(tab)
    await until(graphiql.answer, lambda answer: answer == {})
    await graphiql.run()

    answer = await until(graphiql.answer, bool)

    assert "errors" not in answer
    (field, *_) = answer["data"].values()
    assert len(field.get("nodes") or field.get("rows") or field["res"]) >= 2
    assert await graphiql.problems() == []
    assert graphiql.complaints == []


async def test_failures_have_one_row_for_each_error(shared_graphiql: GraphiqlPage) -> None:
    await shared_graphiql.choose("Failures")
    await shared_graphiql.run()

    def rows_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = answer.get("data", {}).get("callsAggregate", {}).get("rows", [])
        return rows

    rows = rows_of(await until(shared_graphiql.answer, lambda answer: bool(rows_of(answer))))
    errors = [row["errorType"] for row in rows]
    assert len(set(errors)) == len(errors)
    assert {"APITimeoutError", "RateLimitError"} < set(errors)


async def test_refetch_button_fetches_the_schema_again(new_tab: GraphiqlPage) -> None:
    async with new_tab.page.expect_request(lambda request: "isOneOf" in (request.post_data or "")) as fetched:
        await new_tab.page.get_by_label("Re-fetch GraphQL schema").click()

    response = await (await fetched.value).response()
    assert response is not None
    assert response.status == 200


async def test_fields_of_a_one_of_input_are_suggested(new_tab: GraphiqlPage) -> None:
    await new_tab.write("mutation { callCreateBatch(batch: [{ ")

    assert await new_tab.completions() == ["end", "start"]


async def test_nested_condition_is_completed_down_to_its_leaves_and_runs(new_tab: GraphiqlPage) -> None:
    async def composed() -> tuple[set[str], list[str]] | None:
        await new_tab.write('{ calls(projectId: "demo/assistant", query: {expr: {and: [{ ')
        operations = await new_tab.completions("contains", "isNull")
        await new_tab.complete("contains")
        parts = await new_tab.completions("caseInsensitive", "input", "substr")
        await new_tab.add('input: { getField: "inputs.model" }, substr: { literal: "GPT-4O" }, ')
        await new_tab.complete("caseInsensitive")
        await new_tab.add("true")
        await new_tab.add_before_the_end(' { nodes { model: inputs(path: "model") } }')
        # On a busy page a key may accept another suggestion while the list changes. The test then types the
        # query again.
        with suppress(AssertionError):
            await until(new_tab.problems, lambda problems: problems == [])
            return set(operations), parts
        return None

    found = await composed() or await composed() or await composed()
    await new_tab.run()

    answer = await until(new_tab.answer, bool)
    assert found is not None
    operations, parts = found
    assert {"and", "contains", "convert", "eq", "exists", "getField", "gt", "in", "isNull", "literal"} <= operations
    assert parts == ["caseInsensitive", "input", "substr"]
    assert len(answer["data"]["calls"]["nodes"]) == 100
    assert {node["model"] for node in answer["data"]["calls"]["nodes"]} == {"gpt-4o", "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("condition", "first"),
    [
        ("eq: [{ ", ["getField", "literal"]),
        ('eq: [{ getField: "op_name" }, { ', ["literal", "getField"]),
        ("contains: { input: { ", ["getField", "literal"]),
        ("not: [{ ", ["and", "contains"]),
    ],
)
async def test_fields_and_values_are_the_first_completions_where_they_are_wanted(
    new_tab: GraphiqlPage, condition: str, first: list[str]
) -> None:
    await new_tab.write(f'{{ calls(projectId: "demo/assistant", query: {{expr: {{{condition}')

    assert (await new_tab.completions(*first))[:2] == first


async def test_two_fields_of_a_one_of_input_are_marked_as_an_error(new_tab: GraphiqlPage) -> None:
    await new_tab.paste(
        'mutation { callCreateBatch(batch: [{ start: { projectId: "a/b", opName: "op", '
        'startedAt: "2026-01-01T00:00:00Z", attributes: {}, inputs: {} }, '
        'end: { projectId: "a/b", id: "x", endedAt: "2026-01-01T00:00:00Z", summary: {} } }]) { __typename } }'
    )

    expected = ['OneOf Input Object "CallBatchMode" must specify exactly one key.']
    await until(new_tab.problems, lambda problems: problems == expected)


async def test_subscription_shows_changes_by_other_clients(new_tab: GraphiqlPage, demo_server_url: str) -> None:
    graphiql = new_tab
    project = f"browser/{uuid.uuid4().hex}"
    start = {
        "projectId": project,
        "opName": "from_elsewhere",
        "startedAt": "2026-01-01T00:00:00Z",
        "attributes": {},
        "inputs": {},
    }
    await graphiql.paste(f'subscription {{ callEvents(projectId: "{project}") {{ type call {{ opName }} }} }}')
    async with graphiql.page.expect_websocket() as websocket:
        await graphiql.run()
    # The subscription starts after its socket is open, so the test logs calls until one appears.
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:

        async def log_a_call_and_look() -> dict[str, Any]:
            sent = await http.post(
                f"{demo_server_url}/graphql", json={"query": LOG_CALL, "variables": {"start": start}}
            )
            assert "errors" not in sent.json()
            return await graphiql.answer()

        answer = await until(log_a_call_and_look, bool)

    event = {"type": "STARTED", "call": {"opName": "from_elsewhere"}}
    assert answer["data"] == {"callEvents": event}
    assert (await websocket.value).url == f"{demo_server_url}/graphql".replace("http", "ws", 1)
    await graphiql.stop()


async def test_live_query_shows_call_events_until_it_is_stopped(
    shared_graphiql: GraphiqlPage, demo_server_url: str, tmp_path: Path
) -> None:
    graphiql = shared_graphiql
    await graphiql.choose("LiveCalls")
    async with graphiql.page.expect_websocket() as opened:
        await graphiql.run()
    websocket = await opened.value
    async with demo_calls(demo_server_url) as calls:
        # The subscription starts after its socket is open, so the test starts calls until the last one appears.
        await until(lambda: calls.start_and(graphiql.answer), bool)
        await until(graphiql.answer, calls.is_last)
        seen = [await graphiql.answer()]
        await calls.start()
        for step in (None, END_CALL, RENAME_CALL, DELETE_CALL):
            if step:
                await calls.change(step)
            seen.append(await until(graphiql.answer, lambda answer: answer != seen[-1]))
            await graphiql.page.screenshot(path=tmp_path / f"live-{len(seen)}.png")
        call = calls.ids[-1]
        await graphiql.stop()
        await until(lambda: asyncio.sleep(0, websocket.is_closed()), bool)
        await calls.start()

    events = [answer["data"]["callEvents"] for answer in seen[1:]]
    assert {event["call"]["id"] for event in events} == {call}
    assert [event["type"] for event in events] == ["STARTED", "ENDED", "UPDATED", "DELETED"]
    assert [(event["call"]["status"], event["call"]["latencyMs"]) for event in events] == [
        ("RUNNING", None),
        ("SUCCESS", 1500),
        ("SUCCESS", 1500),
        ("SUCCESS", 1500),
    ]
    assert [event["call"]["traceName"] for event in events] == ["answer", "answer", "renamed", "renamed"]
    assert await graphiql.answer() == seen[-1]
    assert graphiql.complaints == []
