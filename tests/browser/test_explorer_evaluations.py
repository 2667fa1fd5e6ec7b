"""Tests of the Explorer's evaluations in a real browser: the rows of a run, and runs side by side."""

import uuid
from datetime import UTC, datetime, timedelta

from app.demo import PROJECT_ID
from tests.browser.explorer_page import ExplorerPage, ask

LOG_CALLS = "mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { __typename } }"
NUM_EXAMPLES = 250


async def test_rows_of_an_evaluation_are_filtered_by_scores(explorer: ExplorerPage) -> None:
    page, field = explorer.page, explorer.page.get_by_role("combobox")
    await explorer.open(p=PROJECT_ID, v="evaluations")
    await page.locator("tbody a").first.click()
    await explorer.first_row()
    heads = await page.get_by_role("columnheader").all_inner_texts()
    at = next(at for at, head in enumerate(heads) if "helpfulness.grade" in head)

    async def grades() -> list[str]:
        return [await row.get_by_role("cell").nth(at).inner_text() for row in await explorer.rows().all()]

    assert any(float(grade) > 3 for grade in await grades() if grade)
    await field.fill("grade")
    await page.get_by_role("option", name="scores.helpfulness.grade").click()
    assert await field.input_value() == "scores.helpfulness.grade = "
    await field.fill("scores.helpfulness.grade <= 3")
    await page.keyboard.press("Enter")
    await explorer.wait_for_state(f="scores.helpfulness.grade:lte:3")
    await explorer.first_row()
    assert all(float(grade) <= 3 for grade in await grades())

    await field.fill("scores.helpfulness.grade > 100")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="No row matches").wait_for()
    await page.get_by_role("link", name="Show all").click()
    await explorer.first_row()

    await field.fill("nonsense = 1")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").get_by_text("there is no field 'nonsense'").wait_for()


async def test_opened_row_of_an_evaluation_is_in_the_address(explorer: ExplorerPage) -> None:
    page, opened = explorer.page, explorer.page.get_by_label("Selected example")
    await explorer.open(p=PROJECT_ID, v="evaluations")
    await page.locator("tbody a").first.click()
    await explorer.first_row()
    await explorer.rows().nth(2).get_by_role("link").click()
    await opened.get_by_role("link", name="open its trace").wait_for()
    shown = await opened.inner_text()

    await page.reload()
    await opened.get_by_role("link", name="open its trace").wait_for()
    assert await opened.inner_text() == shown
    await page.keyboard.press("Escape")
    await explorer.wait_for_state(row=None)
    assert await opened.count() == 0


async def log_run(url: str, project: str, name: str, grades: dict[int, int]) -> None:
    """Store a run of an evaluation with the grade 3 for each example, except for those in `grades`."""
    run, trace, at = str(uuid.uuid4()), str(uuid.uuid4()), datetime.now(UTC) - timedelta(hours=1)

    def call(id_: str, op: str, number: int, inputs: object, output: object, **changes: object) -> list[object]:
        times = [(at + timedelta(seconds=number + each)).isoformat() for each in (0, 1)]
        given = {"projectId": project, "id": id_}
        start = {"opName": f"weave:///{project}/op/{op}:1", "traceId": trace, "attributes": {}, "inputs": inputs}
        ended = {"endedAt": times[1], "output": output, "summary": {}}
        return [{"start": {**given, **start, "startedAt": times[0], **changes}}, {"end": {**given, **ended}}]

    batch = call(run, "Evaluation.evaluate", 0, {}, {}, displayName=name)
    for number in range(NUM_EXAMPLES):
        output = {"output": f"answer {number} of {name}", "scores": {"judge": {"grade": grades.get(number, 3)}}}
        inputs = {"example": {"question": f"question {number}"}}
        batch += call(str(uuid.uuid4()), "Evaluation.predict_and_score", number, inputs, output, parentId=run)
    await ask(url, LOG_CALLS, batch=batch)


async def test_every_example_of_two_runs_is_compared_and_the_changed_ones_come_first(
    explorer: ExplorerPage, project: str
) -> None:
    page, status = explorer.page, explorer.page.get_by_role("status")
    await log_run(explorer.url, project, "first", {})
    await log_run(explorer.url, project, "second", {240: 1, 230: 2, 220: 5})
    await explorer.open(p=project, v="evaluations")
    for name in ("first", "second"):
        await page.get_by_label(f"Mark {name}").check()
    await page.reload()
    await page.get_by_role("button", name="Compare 2").click()

    await (await explorer.first_row()).get_by_text("question 240").wait_for()
    await explorer.rows().nth(1).get_by_text("question 230").wait_for()
    await status.get_by_text("2 of 250 have a lower judge.grade in the last run", exact=True).wait_for()
    assert await explorer.rows().count() == 2
    await page.get_by_role("row", name="judge.grade").get_by_role("link", name="1", exact=True).click()
    await explorer.wait_for_state(s="-scores.judge.grade")
    await (await explorer.first_row()).get_by_text("question 220").wait_for()
    assert await explorer.rows().count() == 1

    await page.get_by_role("link", name="Show all").click()
    await status.get_by_text("All 250 that the runs have in common").wait_for()
    await explorer.rows().nth(10).wait_for()
    await page.locator(".grid").evaluate("grid => grid.scrollTo(0, grid.scrollHeight)")
    await explorer.rows().get_by_role("link").get_by_text("question 249").click()
    opened = page.get_by_label("Selected example")
    for name in ("first", "second"):
        await opened.get_by_text(f"answer 249 of {name}").wait_for()
    await page.reload()
    await opened.get_by_text("answer 249 of second").wait_for()
    await opened.get_by_role("link", name="open its trace").last.click()
    await page.get_by_role("treeitem", selected=True).wait_for()
