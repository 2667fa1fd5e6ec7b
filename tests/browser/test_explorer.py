"""Tests of the Explorer in a real browser, on the real server with its demo data."""

import asyncio
import json
import operator
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.demo import PROJECT_ID
from tests.app.command import serving
from tests.browser.explorer_page import ExplorerPage, ask, log
from tests.browser.graphiql_page import until
from tests.free_ports import free_port

if TYPE_CHECKING:
    from playwright.async_api import Browser, Route

START = "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id traceId } }"
END = "mutation ($end: EndedCallSchemaForInsert!) { callEnd(end: $end) { id } }"
NO_TIMER_OF_300_MS = """{
  const start = window.setTimeout.bind(window);
  window.setTimeout = (call, pause, ...rest) => (pause === 300 ? 0 : start(call, pause, ...rest));
}"""
# Whether each chart has the width of its place.
FIT = """
() => [...document.querySelectorAll(".plot")].every(
  (plot) => Math.abs((plot.querySelector(".u-wrap")?.offsetWidth ?? 0) - plot.clientWidth) <= 1
)
"""
HEIGHTS = "(elements) => elements.map((element) => element.offsetHeight)"
VIEWS = ("traces", "threads", "charts", "objects", "evaluations")


async def test_page_asks_once_for_the_callers_role(explorer: ExplorerPage) -> None:
    sent: list[str] = []
    explorer.page.on("request", lambda request: sent.append(request.post_data or ""))

    await explorer.open(p=PROJECT_ID, v="traces")
    await explorer.first_row()

    assert len([body for body in sent if "query Role(" in body]) == 1


@pytest.mark.parametrize("is_slow", [False, True], ids=["until they are shown", "not for long"])
async def test_count_and_histogram_wait_for_the_first_rows(explorer: ExplorerPage, *, is_slow: bool) -> None:
    asked: list[str] = []
    asking, answering = asyncio.Event(), asyncio.Event()

    async def held(route: "Route") -> None:
        body = route.request.post_data or ""
        asked.extend(name for name in ("Traces", "TracesCount", "Histogram") if f"query {name}(" in body)
        if "query Traces(" in body:
            asking.set()
            await answering.wait()
        await route.continue_()

    await explorer.page.route("**/graphql", held)
    if not is_slow:  # the page does not give up waiting
        await explorer.page.add_init_script(NO_TIMER_OF_300_MS)
    await explorer.open(p=PROJECT_ID, v="traces")
    if is_slow:
        await until(explorer.page.get_by_role("status").first.inner_text, lambda text: text.split()[0].isdigit())
        assert await explorer.rows().count() == 0
    else:
        await asking.wait()
        await asyncio.sleep(1)
        assert asked == ["Traces"]
    answering.set()
    await explorer.first_row()

    await until(explorer.page.get_by_role("status").first.inner_text, lambda text: text.split()[0].isdigit())
    assert {"TracesCount", "Histogram"} <= set(asked)


async def test_path_from_projects_to_a_call_can_be_linked_and_walked_back(explorer: ExplorerPage) -> None:
    page = explorer.page
    await explorer.open()
    await page.get_by_role("link", name=PROJECT_ID).click()
    await explorer.first_row()
    await page.get_by_role("combobox").fill("user_id = customer-04")
    await page.keyboard.press("Enter")
    await explorer.wait_for_state(f="user_id:is:customer-04")
    await until(page.get_by_role("status").first.inner_text, lambda text: text.split()[0] in map(str, range(1, 100)))
    await page.locator(".row").first.get_by_role("link").first.click()
    await page.get_by_role("treeitem").nth(1).click()
    await page.get_by_role("tab", name="Data").click()
    linked = page.url

    await page.reload()
    selected = page.get_by_role("treeitem", selected=True)
    await selected.wait_for()
    assert await page.get_by_role("tab", name="Data").get_attribute("aria-selected") == "true"
    assert page.url == linked
    assert explorer.state["f"] == ["user_id:is:customer-04"]

    for _ in range(3):
        await page.go_back()
    await explorer.wait_for_state(f=None, v="traces")
    await page.go_back()
    await page.get_by_role("heading", name="Projects").wait_for()
    await page.go_forward()
    await explorer.first_row()


@pytest.mark.parametrize("view", VIEWS)
async def test_each_view_shows_queries_that_run(explorer: ExplorerPage, view: str) -> None:
    page = explorer.page
    await explorer.open(p=PROJECT_ID, v=view)
    await page.locator(".row:not(.loading), .plot canvas, tbody tr").first.wait_for()

    await page.keyboard.press(".")
    queries = page.locator("dialog .query")
    await queries.first.wait_for()
    for number in range(await queries.count()):
        texts = await queries.nth(number).locator("pre").all_inner_texts()
        query, variables = texts[0], json.loads(texts[1])
        if not query.startswith("subscription"):
            assert await ask(explorer.url, query, **variables)
    link = await queries.first.get_by_role("link", name="Open in GraphiQL").get_attribute("href")
    assert link is not None
    assert link.startswith("graphql?query=")


async def test_trace_is_a_tree_with_a_chat_that_the_keyboard_operates(explorer: ExplorerPage) -> None:
    page = explorer.page
    found = await ask(
        explorer.url,
        "query ($p: ID!, $f: CallsFilter) { calls(projectId: $p, filter: $f, first: 1)"
        " { nodes { id traceId environment } } }",
        p=PROJECT_ID,
        f={"kinds": ["LLM"], "statuses": ["SUCCESS"]},
    )
    [call] = found["calls"]["nodes"]
    await explorer.open(p=PROJECT_ID, v="trace", t=call["traceId"], call=call["id"])

    await page.locator(".message.user").first.wait_for()
    assert await page.get_by_role("treeitem", selected=True).get_attribute("id") == f"step-{call['id']}"
    number = await page.get_by_role("treeitem").count()
    assert number > 2
    for _ in range(number):
        await page.keyboard.press("k")
    assert await page.get_by_role("treeitem").first.get_attribute("aria-selected") == "true"
    await page.keyboard.press("h")
    assert await page.get_by_role("treeitem").count() == 1
    await page.keyboard.press("l")
    assert await page.get_by_role("treeitem").count() == number
    await page.get_by_role("tab", name="Usage").click()
    await page.get_by_role("tab", name="Facts").click()
    await page.locator(".facts dd").filter(has_text=call["environment"]).wait_for()


async def test_running_trace_grows_while_one_watches(explorer: ExplorerPage, project: str) -> None:
    page, at = explorer.page, datetime.now(UTC)
    begun = {"projectId": project, "startedAt": at.isoformat(), "inputs": {}, "attributes": {}}
    root = (await ask(explorer.url, START, start={**begun, "opName": "agent"}))["callStart"]
    await explorer.open(p=project, v="trace", t=root["traceId"])
    await page.get_by_role("treeitem").first.wait_for()
    await until(lambda: page.get_by_role("treeitem").count(), lambda number: number == 1)

    child = {**begun, "opName": "step", "traceId": root["traceId"], "parentId": root["id"]}
    await ask(explorer.url, START, start=child)
    await until(lambda: page.get_by_role("treeitem").count(), lambda number: number == 2)
    await page.get_by_role("tab", name="Feedback").click()
    note = page.get_by_role("textbox", name="Note")
    await note.fill("unfinished")
    ended = {
        "projectId": project,
        "id": root["id"],
        "endedAt": datetime.now(UTC).isoformat(),
        "summary": {},
        "output": "the end",
    }
    await ask(explorer.url, END, end=ended)
    # The totals of the header no longer run, either.
    await until(page.locator(".totals").inner_text, lambda text: "running" not in text)
    assert await note.input_value() == "unfinished"
    await page.get_by_role("tab", name="Chat").click()
    await page.get_by_text("the end").first.wait_for()


@pytest.mark.parametrize("name", ["user name", "a:b", "http/url", "größe", "in[0]"])
async def test_condition_on_any_path_is_a_filter(explorer: ExplorerPage, project: str, name: str) -> None:
    page, field = explorer.page, explorer.page.get_by_role("combobox")
    await log(explorer.url, project, inputs={name: "x"})
    await log(explorer.url, project, inputs={name: "y"})
    await explorer.open(p=project, v="traces", m="calls")
    await field.fill("inputs.")
    await page.get_by_role("option", name=f"inputs.{name}").click()
    await page.get_by_role("option", name="x 1").click()

    await until(page.get_by_role("status").first.inner_text, lambda text: text.startswith("1 "))
    assert explorer.state["f"][0].endswith(":is:x")


async def test_ranges_and_feedback_are_filters(explorer: ExplorerPage) -> None:
    page, field = explorer.page, explorer.page.get_by_role("combobox")
    await explorer.open(p=PROJECT_ID, v="traces", m="calls")
    await explorer.first_row()
    await field.fill("latency_ms > ")
    await page.get_by_role("option").nth(1).click()
    await page.wait_for_url(lambda url: url.count("f=latency_ms") == 2)
    least, most = (float(chip.rpartition(":")[2]) for chip in explorer.state["f"])
    assert 0 < least < most

    await explorer.open(p=PROJECT_ID, v="traces", m="calls")
    await field.fill("feedback")
    await page.get_by_role("option", name="answer-rating").click()
    chosen = page.get_by_role("option").first
    await until(chosen.inner_text, lambda text: text.split()[0].isdigit())
    rating, number = (await chosen.inner_text()).split()
    await chosen.click()
    await explorer.wait_for_state(f=f"feedback.[wandb.annotation.answer-rating].payload.value:is:{rating}")
    await until(page.get_by_role("status").first.inner_text, lambda text: text.split()[0] == number)


async def test_rows_go_to_no_object_that_is_another_kind(explorer: ExplorerPage, project: str) -> None:
    page = explorer.page
    prompt = {"_type": "MessagesPrompt", "_class_name": "MessagesPrompt", "_bases": ["Prompt", "Object", "BaseModel"]}
    create = "mutation ($obj: ObjSchemaForInsert!) { objCreate(obj: $obj) { digest } }"
    await ask(
        explorer.url, create, obj={"projectId": project, "objectId": "greeting", "val": prompt | {"messages": []}}
    )
    await log(explorer.url, project)
    await explorer.open(p=project, v="traces")
    await explorer.first_row()
    await page.get_by_label("Select this row").first.check()
    await page.get_by_role("button", name="Add to a dataset").click()
    await page.get_by_role("combobox", name="Dataset").fill("greeting")
    await page.get_by_role("button", name="Create the dataset").click()

    await page.get_by_role("alert").get_by_text("greeting is a Prompt. Choose another name.").wait_for()
    found = await ask(
        explorer.url, 'query ($p: ID!) { obj(projectId: $p, objectId: "greeting") { versionIndex } }', p=project
    )
    assert found["obj"]["versionIndex"] == 0


async def test_live_rows_wait_behind_a_button(explorer: ExplorerPage, project: str) -> None:
    page = explorer.page
    await log(explorer.url, project, opName="first")
    await explorer.open(p=project, v="traces", live="")
    await explorer.first_row()
    await explorer.settled()

    await log(explorer.url, project, opName="second")
    await page.get_by_role("button", name="1 new").wait_for()
    assert await explorer.rows().count() == 1

    await page.get_by_role("button", name="1 new").click()
    await until(lambda: explorer.rows().count(), lambda number: number == 2)
    assert "second" in await explorer.rows().first.inner_text()


async def test_empty_project_shows_how_to_send_and_reacts_to_the_first_call(
    explorer: ExplorerPage, project: str
) -> None:
    page = explorer.page
    await explorer.open(p=project, v="traces")
    await page.get_by_role("heading", name=f"No calls in {project} yet").wait_for()
    assert await page.get_by_text(f"{explorer.url}/v1/traces").count() == 1

    await log(explorer.url, project)

    await explorer.first_row()


def has_rows(number: int, found: Any) -> bool:
    return bool(found["obj"]["table"]["count"] == number)


async def test_marked_rows_get_feedback_go_to_a_dataset_and_are_deleted(explorer: ExplorerPage, project: str) -> None:
    page = explorer.page
    calls = [await log(explorer.url, project, inputs={"question": str(number)}) for number in range(3)]
    await explorer.open(p=project, v="traces")
    await until(lambda: explorer.rows().count(), lambda number: number == 3)
    boxes = page.get_by_label("Select this row")
    await boxes.nth(0).check()
    await boxes.nth(1).check()
    await page.reload()

    await page.get_by_role("button", name="React with 👍").click()
    await page.get_by_text("is on 2 calls").wait_for()
    for rows in (2, 4):
        await page.get_by_role("button", name="Add to a dataset").click()
        await page.get_by_role("combobox", name="Dataset").fill("questions")
        await page.get_by_role("button", name=re.compile("Create the dataset|Add a version")).click()
        await page.get_by_text("2 rows are in a new version of questions").wait_for()
        dataset = 'query ($p: ID!) { obj(projectId: $p, objectId: "questions") { table { count } } }'
        await until(partial(ask, explorer.url, dataset, p=project), partial(has_rows, rows))
    await page.get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await until(lambda: explorer.rows().count(), lambda number: number == 1)
    left = await ask(
        explorer.url, "query ($p: ID!) { calls(projectId: $p) { nodes { id feedback { totalCount } } } }", p=project
    )
    assert [call["id"] for call in left["calls"]["nodes"]] == [calls[0]["id"]]


async def test_feedback_is_given_and_deleted_on_a_call(explorer: ExplorerPage, project: str) -> None:
    page, call = explorer.page, await log(explorer.url, project)
    await explorer.open(p=project, v="trace", t=call["traceId"], tab="feedback")
    await page.get_by_label("Note").fill("looks wrong")
    await page.get_by_role("button", name="Add the note").click()
    await page.get_by_role("article").get_by_text("looks wrong").wait_for()
    await page.get_by_role("button", name="React with 👎").click()
    await until(lambda: page.get_by_role("article").count(), lambda number: number == 2)

    await page.get_by_role("article").filter(has_text="looks wrong").get_by_role("button", name="Delete").click()

    await until(lambda: page.get_by_role("article").count(), lambda number: number == 1)


async def test_charts_zoom_and_lead_to_the_calls_of_a_point(explorer: ExplorerPage) -> None:
    page = explorer.page
    await explorer.open(p=PROJECT_ID, v="charts")
    plot = page.locator(".u-over").first
    await plot.wait_for()
    box = await plot.bounding_box()
    assert box
    await page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=5)
    await page.mouse.up()
    await until(lambda: asyncio.sleep(0, explorer.state), lambda state: "from" in state and "to" in state)
    await page.get_by_role("link", name="by model").click()
    await page.get_by_text("Calls by model").wait_for()
    await explorer.settled()

    # The middle of a bar is to the right of its start.
    for share in (0.15, 0.3, 0.45, 0.6, 0.75):
        await page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] - 4)
        await page.mouse.click(box["x"] + box["width"] * share, box["y"] + box["height"] - 4)
        if explorer.state["v"] == ["traces"]:
            break
    await explorer.first_row()
    assert explorer.state["m"] == ["calls"]


async def test_charts_stay_in_place_while_a_person_points_at_them(explorer: ExplorerPage) -> None:
    page = explorer.page
    await explorer.open(p=PROJECT_ID, v="charts", g="user")
    plots = page.locator(".u-over")
    figures = page.locator("figure")
    await page.get_by_text("p95 latency by user").wait_for()
    await explorer.settled()
    # At any width, a legend may have just enough room for its values.
    for width in range(700, 1500, 25):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.mouse.move(1, 1)
        await until(partial(page.evaluate, FIT), bool)
        heights = await figures.evaluate_all(HEIGHTS)
        box = await plots.first.bounding_box()
        assert box
        time = "--"
        for share in (0.1, 0.5, 0.9):
            await page.mouse.move(box["x"] + box["width"] * share, box["y"] + 50)
            time = await until(page.locator(".u-value").first.inner_text, partial(operator.ne, time))
            assert await figures.evaluate_all(HEIGHTS) == heights, width


async def test_links_lead_from_a_thread_to_its_trace_and_back_and_to_the_prompt(explorer: ExplorerPage) -> None:
    page = explorer.page
    await explorer.open(p=PROJECT_ID, v="threads")
    await (await explorer.first_row()).get_by_role("link").first.click()
    await page.get_by_role("link", name="Turn 1", exact=True).click()
    await page.get_by_role("treeitem").first.wait_for()
    await page.locator(".totals").get_by_role("link", name=re.compile("^chat-")).click()
    await page.get_by_role("link", name="Turn 1", exact=True).wait_for()
    await explorer.choose_view("Objects")
    await page.get_by_role("link", name="support-prompt").click()
    await page.get_by_role("link", name="compare").first.click()
    await page.locator(".difference .added").first.wait_for()


async def test_two_traces_show_their_first_difference(explorer: ExplorerPage, project: str) -> None:
    first = await log(explorer.url, project, opName="agent")
    second = await log(explorer.url, project, opName="agent")
    for root, op in ((first, "search"), (second, "guess")):
        await log(explorer.url, project, opName=op, traceId=root["traceId"], parentId=root["id"])
    await explorer.open(p=project, v="compare", t=[first["traceId"], second["traceId"]])

    await explorer.page.get_by_text("The first difference is call 2.").wait_for()

    search, guess = await explorer.page.locator(".differs").all_inner_texts()
    assert "search" in search
    assert "guess" in guess


async def test_server_that_stops_and_returns_costs_one_retry(
    chromium: "Browser", mongodb_uri: str, database_name: str, tmp_path: Path, project: str
) -> None:
    port = str(free_port())
    settings = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    with serving(tmp_path / "first", "--port", port, **settings) as server:
        url = server.url.removesuffix("/graphql")
        await log(url, project)
        explorer = ExplorerPage(await chromium.new_page(), url)
        page = explorer.page
        async with page.expect_response(re.compile("evaluations")):  # other views load after the first one
            await explorer.open(p=project, v="traces")
        await explorer.first_row()
        await explorer.settled()
        server.process.kill()
        await explorer.choose_view("Evaluations")
        await page.get_by_role("alert").get_by_text("The server does not answer").wait_for()

    with serving(tmp_path / "second", "--port", port, **settings):
        await page.get_by_role("button", name="Retry").click()
        await page.get_by_role("heading", name="No evaluation runs").wait_for()
    await page.close()


@pytest.mark.parametrize("state", [{"v": "constructor"}, {"v": "charts", "g": "constructor"}, {"v": "nothing"}])
async def test_unknown_state_in_the_address_breaks_nothing(explorer: ExplorerPage, state: dict[str, str]) -> None:
    await explorer.open(p=PROJECT_ID, **state)

    shown = "All projects" if state["v"] != "charts" else "by model"
    await explorer.page.get_by_role("link", name=shown).last.wait_for()
    assert await explorer.page.get_by_text("This page failed").count() == 0
