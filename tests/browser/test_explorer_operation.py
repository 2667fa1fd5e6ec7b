"""Tests in a real browser of what a person does in the Explorer: filter, download, annotate, run again, press keys."""

import asyncio
import io
import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from app.demo import PROJECT_ID
from tests.browser.explorer_page import ExplorerPage, ask, log
from tests.browser.graphiql_page import until
from tests.stand_in_provider import StandIn

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator

COUNT = "query ($p: ID!, $f: CallsFilter) { callsStats(projectId: $p, filter: $f) { count } }"
CREATE_OBJECT = "mutation ($o: ObjSchemaForInsert!) { objCreate(obj: $o) { digest } }"
ERRORS = "query ($p: ID!) { traces(projectId: $p, filter: { statuses: [ERROR] }, first: 1) { nodes { traceId } } }"
TUESDAY = 1
BOUNDS = ((min, "bucketStart"), (max, "bucketEnd"))
# Whether each of the first rows on the screen has a line of the critical path above its bar, in the colour of texts.
HAS_LINE = """
(canvas, number) => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = getComputedStyle(document.body).color;
  context.fillRect(0, 0, 1, 1);
  const colour = context.getImageData(0, 0, 1, 1).data.join();
  return Array.from({ length: Math.min(number, Math.floor(canvas.height / 28)) }, (_, row) => {
    const line = canvas.getContext("2d").getImageData(0, row * 28 + 5, canvas.width, 1).data;
    return Array.from({ length: canvas.width }, (_, x) => line.slice(4 * x, 4 * x + 4).join()).includes(colour);
  });
}
"""
DESCRIPTIONS = "items => items.map(item => item.getAttribute('aria-description'))"
FEEDBACK = "query ($p: ID!) { feedback(projectId: $p) { nodes { feedbackType payload } } }"


async def number_of(text: "Locator") -> int:
    """Return the number with which a text begins; -1 without one."""
    found = re.match(r"[\d,]+", await text.inner_text())
    return int(found[0].replace(",", "")) if found else -1


async def drag(explorer: ExplorerPage, element: "Locator", start: float, end: float) -> None:
    """Drag the mouse over an element, between two shares of its width."""
    box = await element.bounding_box()
    assert box is not None
    mouse, y = explorer.page.mouse, box["y"] + box["height"] / 2
    await mouse.move(box["x"] + start * box["width"], y)
    await mouse.down()
    await mouse.move(box["x"] + end * box["width"], y, steps=4)
    await mouse.up()


async def test_facets_a_column_of_json_and_the_histogram_narrow_a_list(explorer: ExplorerPage) -> None:
    page, field = explorer.page, explorer.page.get_by_role("combobox", name="Add a filter")
    await explorer.open(p=PROJECT_ID, v="traces", m="calls")
    await explorer.first_row()

    await field.fill("stat")
    await page.get_by_role("option", name="status", exact=True).click()
    facet = page.get_by_role("option", name=re.compile(r"^error\b", re.IGNORECASE))
    errors = await number_of(facet.locator(".muted"))
    await facet.click()
    await until(lambda: asyncio.sleep(0, explorer.state), lambda state: "f" in state)
    status = page.get_by_role("status").first
    await until(partial(number_of, status), lambda number: number == errors)

    await page.get_by_role("button", name="Columns").click()
    path = page.get_by_label("Path of a new column")
    await path.fill("nonsense")
    await path.press("Enter")
    assert "begins with inputs" in await path.evaluate("input => input.validationMessage")
    await path.fill("attributes.environment")
    await path.press("Enter")
    await explorer.wait_for_state(col="attributes.environment")
    await page.keyboard.press("Escape")
    await explorer.rows().first.get_by_text(re.compile("^production|^staging")).first.wait_for()
    await page.get_by_role("columnheader").get_by_role("button", name="attributes.environment").click()
    await explorer.wait_for_state(s="-attributes.environment")
    await explorer.rows().first.get_by_text("staging", exact=True).wait_for()

    await drag(explorer, page.locator(".histogram"), 0.3, 0.8)
    await until(lambda: asyncio.sleep(0, explorer.state), lambda state: {"from", "to"} <= state.keys())
    [after], [before] = explorer.state["from"], explorer.state["to"]
    bounds = {"statuses": ["ERROR"], "startedAfter": after, "startedBefore": before}
    found = await ask(explorer.url, COUNT, p=PROJECT_ID, f=bounds)
    await until(partial(number_of, status), lambda number: number == found["callsStats"]["count"])
    assert 0 < found["callsStats"]["count"] < errors


async def test_advanced_takes_the_query_language_and_names_mistakes(explorer: ExplorerPage) -> None:
    page, status = explorer.page, explorer.page.get_by_role("status").first
    await explorer.open(p=PROJECT_ID, v="traces", m="calls")
    await explorer.first_row()
    total = await until(partial(number_of, status), lambda number: number > 0)
    await page.get_by_role("button", name="Advanced").click()
    text, apply = page.get_by_label("as JSON"), page.get_by_role("button", name="Apply")

    await text.fill('{"$gt": [')
    await page.locator("button:disabled").get_by_text("Apply").wait_for()
    await text.fill('{"$gt": [{"$getField": "latency_ms"}, {"$literal": 5000}]}')
    await apply.click()
    await until(partial(number_of, status), lambda number: 0 < number < total)

    await text.fill('{"$nonsense": [1, 2]}')
    await apply.click()
    await page.get_by_role("alert").get_by_text("$nonsense").wait_for()
    assert await explorer.rows().count() == 0
    await page.locator(".expert").get_by_role("button", name="Remove").click()
    await explorer.wait_for_state(dsl=None)
    await explorer.first_row()
    await until(partial(number_of, status), lambda number: number == total)


async def test_calls_of_a_list_are_downloaded_as_ndjson_and_parquet(explorer: ExplorerPage, project: str) -> None:
    page = explorer.page
    wanted = {(await log(explorer.url, project, opName="wanted"))["id"] for _ in range(2)}
    await log(explorer.url, project, opName="other")
    await explorer.open(p=project, v="traces", m="calls", f="op_name:is:wanted")
    await until(lambda: explorer.rows().count(), lambda number: number == 2)
    await page.get_by_role("button", name="Download").click()

    async def downloaded(name: str) -> Path:
        async with page.expect_download() as started:
            await page.get_by_role("link", name=name).click()
        return Path(await (await started.value).path())

    lines = [json.loads(line) for line in (await downloaded("Download NDJSON")).read_text().splitlines()]
    assert {line["id"] for line in lines if "id" in line} == wanted
    table = pq.read_table(io.BytesIO((await downloaded("Download Parquet")).read_bytes()))
    assert {row["id"] for row in table.to_pylist()} == wanted


async def test_annotation_forms_of_the_op_take_valid_values(explorer: ExplorerPage, project: str) -> None:
    page = explorer.page
    forms: dict[str, Any] = {
        "rating": {"field_schema": {"type": "integer", "minimum": 1, "maximum": 5}, "op_scope": ["answer"]},
        "problem": {"field_schema": {"type": "string", "enum": ["none", "off topic"]}},
        "follow-up": {"field_schema": {"type": "boolean"}},
        "comment": {"field_schema": {"type": "string"}},
        "elsewhere": {"field_schema": {"type": "string"}, "op_scope": ["search"]},
    }
    for name, form in forms.items():
        created = {"projectId": project, "objectId": name, "builtinObjectClass": "AnnotationSpec"}
        await ask(explorer.url, CREATE_OBJECT, o={**created, "val": {"name": name, **form}})
    call = await log(explorer.url, project)
    await explorer.open(p=project, v="trace", t=call["traceId"], tab="feedback")

    rating = page.get_by_label("rating")
    await rating.fill("9")
    await rating.press("Enter")
    await rating.fill("4")
    await rating.press("Enter")
    articles = page.get_by_role("article")
    await articles.get_by_text("4", exact=True).wait_for()
    await page.get_by_label("problem").select_option("off topic")
    await articles.get_by_text("off topic").wait_for()
    await page.get_by_label("follow-up").select_option("no")
    await articles.get_by_text("false").wait_for()
    await page.get_by_label("comment").fill("as expected")
    await page.get_by_label("comment").press("Enter")
    await articles.get_by_text("as expected").wait_for()

    assert await page.get_by_label("elsewhere").count() == 0
    found = (await ask(explorer.url, FEEDBACK, p=project))["feedback"]["nodes"]
    given = {each["feedbackType"]: each["payload"]["value"] for each in found}
    names = ("rating", "problem", "follow-up", "comment")
    assert given == {
        f"wandb.annotation.{name}": value
        for name, value in zip(names, (4, "off topic", False, "as expected"), strict=True)
    }


async def test_times_are_local_or_utc(chromium: "Browser", demo_server_url: str, project: str) -> None:
    at = datetime.now(UTC).replace(hour=20, minute=0, second=0, microsecond=0) - timedelta(days=3)
    call = await log(demo_server_url, project, startedAt=at.isoformat(), endedAt=at.isoformat())
    local = f"{at + timedelta(hours=5, minutes=30):%Y-%m-%d} 01:30:00"
    context = await chromium.new_context(timezone_id="Asia/Kolkata", viewport={"width": 1440, "height": 900})
    explorer = ExplorerPage(await context.new_page(), demo_server_url)
    page = explorer.page
    await explorer.open(p=project, v="traces")
    row = await explorer.first_row()
    await row.get_by_text(local, exact=True).wait_for()

    await page.get_by_title("Range of times").click()
    await page.get_by_label("From").fill(f"{at:%Y-%m-%d}T00:00")
    await explorer.wait_for_state(**{"from": f"{at - timedelta(days=1):%Y-%m-%d}T18:30:00.000Z"})
    await explorer.first_row()
    await page.get_by_role("link", name="Show times in UTC").click()
    await explorer.wait_for_state(utc="")
    await explorer.rows().get_by_text(f"{at:%Y-%m-%d} 20:00:00 UTC", exact=True).wait_for()
    assert await page.get_by_label("From").input_value() == f"{at - timedelta(days=1):%Y-%m-%d}T18:30"

    for utc, shown in ({}, f"{local}.000"), ({"utc": ""}, f"{at:%Y-%m-%d} 20:00:00.000 UTC"):
        await explorer.open(p=project, v="trace", t=call["traceId"], tab="facts", **utc)
        await page.locator(".facts dd").get_by_text(shown, exact=True).first.wait_for()
    assert explorer.complaints == []
    await context.close()


async def test_keys_move_open_fold_and_change_views(explorer: ExplorerPage) -> None:
    page, press = explorer.page, explorer.page.keyboard.press
    await explorer.open(p=PROJECT_ID, v="traces")
    await explorer.first_row()
    selected = page.locator(".row[aria-selected=true]")

    for key, index in ("j", 2), ("j", 3), ("k", 2):
        await press(key)
        await page.locator(f".row[aria-selected=true][aria-rowindex='{index}']").wait_for()
    assert await selected.count() == 1
    trace = explorer.state["t"]
    await page.get_by_label("Selected trace").get_by_role("treeitem").first.wait_for()
    await press("Escape")
    await explorer.wait_for_state(t=None)
    await press("/")
    field = page.get_by_role("combobox", name="Add a filter")
    assert await field.evaluate("input => input === document.activeElement")
    await page.keyboard.type("jk?")
    assert await field.input_value() == "jk?"
    await press("Escape")
    await press("?")
    help_dialog = page.get_by_role("dialog", name="Keys")
    await help_dialog.get_by_text("next and previous row").wait_for()
    await press("Escape")
    await help_dialog.wait_for(state="detached")
    await press("j")
    await explorer.wait_for_state(t=trace[0])
    await press("Enter")
    await explorer.wait_for_state(v="trace", t=trace[0])

    # `]` leads to an older trace, and `[` back.
    await page.get_by_role("treeitem").first.wait_for()
    await press("]")
    await until(lambda: asyncio.sleep(0, explorer.state), lambda state: state["t"] != trace)
    await page.get_by_role("treeitem").first.wait_for()
    await press("[")
    await explorer.wait_for_state(t=trace[0])

    for letter, view in ("h", "threads"), ("c", "charts"), ("o", "objects"), ("v", "evaluations"), ("t", "traces"):
        await press("g")
        await press(letter)
        await explorer.wait_for_state(v=view)
    await press("g")
    await press("p")
    await page.get_by_role("heading", name="Projects").wait_for()


async def test_keys_of_a_trace_fold_and_find_errors(explorer: ExplorerPage) -> None:
    page, press = explorer.page, explorer.page.keyboard.press
    [found] = (await ask(explorer.url, ERRORS, p=PROJECT_ID))["traces"]["nodes"]
    await explorer.open(p=PROJECT_ID, v="trace", t=found["traceId"])
    items = page.get_by_role("treeitem")
    await page.get_by_role("treeitem", selected=True).wait_for()
    number = await items.count()

    for key, expected in ("h", 1), ("l", number):
        await press(key)
        await until(items.count, partial(eq, expected))
    await press("j")
    await page.locator("[role=treeitem][aria-selected=true][aria-level='2']").wait_for()
    await press("e")
    await page.get_by_role("treeitem", selected=True).get_by_text("error", exact=True).wait_for()
    await page.locator(".call .exception").wait_for()


async def test_search_folds_and_zoom_of_a_trace_are_in_its_address(explorer: ExplorerPage) -> None:
    page, items = explorer.page, explorer.page.get_by_role("treeitem")
    [found] = (await ask(explorer.url, ERRORS, p=PROJECT_ID))["traces"]["nodes"]
    await explorer.open(p=PROJECT_ID, v="trace", t=found["traceId"])
    await page.get_by_role("treeitem", selected=True).wait_for()
    number = await items.count()
    length = await page.evaluate("history.length")
    search, whole = page.get_by_label("Search in the trace"), page.get_by_role("button", name="Whole time")
    fold = items.get_by_role("button", name="Fold").nth(1)
    await search.press_sequentially("answer")
    await fold.click()
    await page.locator(".steps canvas").hover()
    await page.keyboard.down("Control")
    for _ in range(3):
        await page.mouse.wheel(0, -100)
    await page.keyboard.up("Control")
    await whole.wait_for()
    await page.wait_for_url(re.compile("find=answer.*zoom=|zoom=.*find=answer"))
    left = await items.count()
    assert left < number
    assert await page.evaluate("history.length") == length

    before = explorer.state
    assert set(before) == {"p", "v", "t", "find", "fold", "zoom"}
    await page.reload()
    await until(items.count, partial(eq, left))
    assert await search.input_value() == "answer"
    await whole.click()
    await explorer.wait_for_state(zoom=None)

    # Another trace begins without them, and the way back brings them again.
    await page.keyboard.press("]")
    await until(lambda: asyncio.sleep(0, explorer.state), lambda state: set(state) == {"p", "v", "t"})
    await page.go_back()
    await until(items.count, partial(eq, left))
    assert await search.input_value() == "answer"


async def test_documented_walk_leads_from_the_first_page_to_the_prompt(explorer: ExplorerPage) -> None:
    page = explorer.page
    await explorer.open()
    await page.get_by_role("link", name=PROJECT_ID).click()
    await explorer.choose_view("Charts")
    async with page.expect_response(lambda response: "USER_ID" in (response.request.post_data or "")) as answered:
        await page.get_by_role("link", name="by user").click()
    rows = (await (await answered.value).json())["data"]["callsAggregate"]["rows"]
    figure = page.locator("figure").filter(has_text="p95 latency by user")
    plot = figure.locator(".u-over")
    await plot.scroll_into_view_if_needed()
    box = await plot.bounding_box()
    assert box is not None

    # The chart shows the eight users with the highest points.
    highest: dict[str, float] = {}
    for row in rows:
        user = row["userId"] or "none"
        highest[user] = max(highest.get(user, 0.0), row["p95LatencyMs"] or 0.0)
    drawn = sorted(highest, key=lambda user: -highest[user])[:8]
    start, end = (pick(datetime.fromisoformat(row[bound]) for row in rows) for pick, bound in BOUNDS)
    points = [row for row in rows if row["userId"] in drawn and row["p95LatencyMs"]]
    tuesdays = [row for row in points if datetime.fromisoformat(row["bucketStart"]).weekday() == TUESDAY]
    point = max(tuesdays, key=lambda row: row["p95LatencyMs"])
    share = (datetime.fromisoformat(point["bucketStart"]) - start) / (end - start)
    height = 1 - point["p95LatencyMs"] / (1.05 * max(highest.values()))
    await page.mouse.move(box["x"] + share * box["width"] + 1, box["y"] + height * box["height"] + 1)
    await page.mouse.click(box["x"] + share * box["width"] + 1, box["y"] + height * box["height"] + 1)
    await explorer.wait_for_state(v="traces", m="calls", s="-latency_ms")
    # The page takes the nearest point, and the pointer has whole pixels.
    three_pixels = 3 * 1.05 * max(highest.values()) / box["height"]
    on_that_day = [row for row in tuesdays if row["bucketStart"] == point["bucketStart"]]
    near = [row for row in on_that_day if point["p95LatencyMs"] - row["p95LatencyMs"] < three_pixels]
    assert {f"user_id:is:{row['userId']}" for row in near}.issuperset(explorer.state["f"])

    await (await explorer.first_row()).get_by_role("link").first.click()
    drawer = page.get_by_label("Selected trace")
    items = drawer.get_by_role("treeitem")
    await items.first.wait_for()
    canvas = drawer.locator(".steps canvas")
    texts = await until(
        partial(items.evaluate_all, DESCRIPTIONS),
        lambda texts: any(text and text.endswith(" on the critical path") for text in texts[1:]),
    )
    is_critical = [text is not None for text in texts]
    await until(
        partial(canvas.evaluate, HAS_LINE, len(texts)), lambda has: len(has) > 2 and has == is_critical[: len(has)]
    )
    await canvas.click(position={"x": 20, "y": 14})
    await drawer.locator("[role=treeitem][aria-selected=true][aria-level='1']").wait_for()
    await drawer.get_by_role("tab", name="Data").click()
    await drawer.get_by_role("link", name=re.compile("^object.support-assistant")).first.click()
    await page.get_by_role("heading", name=re.compile("support-assistant")).wait_for()
    await page.get_by_role("heading", name="Used by").wait_for()
    await page.get_by_role("link", name=re.compile("^object.support-prompt")).first.click()
    await page.get_by_role("heading", name=re.compile("support-prompt")).wait_for()
    await page.get_by_role("link", name="compare").first.click()
    await page.locator(".difference .added").first.wait_for()


async def test_model_call_runs_again_beside_the_original(
    explorer: ExplorerPage, project: str, stand_in: StandIn
) -> None:
    page = explorer.page
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    call = await log(
        explorer.url,
        project,
        opName="openai.chat.completions.create",
        inputs={"model": "gpt-4o", "messages": messages, "temperature": 0.5, "stream": True},
        output={"choices": [{"message": {"role": "assistant", "content": "Because it was so."}}]},
    )
    await explorer.open(p=project, v="trace", t=call["traceId"])
    await page.get_by_role("link", name="Run again with changes").click()
    answers, run = page.get_by_role("region", name="Answers"), page.get_by_role("button", name="Run", exact=True)
    await answers.get_by_text("Because it was so.").wait_for()

    model, parameters = page.get_by_label("Model", exact=True), page.get_by_label("Parameters, as JSON")
    assert await model.input_value() == "gpt-4o"
    assert json.loads(await parameters.input_value()) == {"temperature": 0.5}
    for wrong in ('{"temperature"', '{"nonsense": 1}'):
        await parameters.fill(wrong)
        await page.locator("button:disabled").get_by_text("Run", exact=True).wait_for()
    await page.get_by_text("nonsense is no parameter").wait_for()
    await parameters.fill('{"temperature": 0.25}')
    await page.get_by_label("Message of the user").fill("Why not?")
    await model.fill("paused")
    await run.click()

    # The provider sends the rest only after somebody has seen this part.
    await answers.get_by_text("You said: ", exact=True).wait_for()
    await answers.get_by_text("streams").wait_for()
    assert await answers.get_by_role("link", name="open", exact=True).count() == 0
    stand_in.is_released = True
    await answers.get_by_text("You said: Why not?", exact=True).wait_for()
    await answers.get_by_role("link", name="open", exact=True).wait_for()
    assert await answers.get_by_text("streams").count() == 0
    await answers.get_by_text("Because it was so.").wait_for()
    [body] = stand_in.bodies
    assert body["messages"] == [messages[0], {"role": "user", "content": "Why not?"}]
    assert (body["temperature"], body["stream"]) == (0.25, True)

    await model.fill("status-400")
    await run.click()
    await answers.get_by_role("alert").wait_for()
    await model.fill("gpt-4o-mini")
    await run.click()
    await answers.get_by_role("link", name="open", exact=True).click()
    await page.get_by_role("treeitem").wait_for()
    await page.locator(".message.assistant").get_by_text("You said: Why not?").wait_for()
