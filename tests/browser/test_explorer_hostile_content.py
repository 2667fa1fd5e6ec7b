"""Tests in a real browser that the Explorer shows hostile content as text, in each place where strings appear."""

import uuid
from typing import Any

from tests.browser.explorer_page import DEEP, ExplorerPage, State, ask, log
from tests.browser.graphiql_page import until

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "[link](javascript:window.hacked=1) ![image](http://198.51.100.1/pixel.png)",
    "\u202egnp.exe\u202c \u2066reversed\u2069",
    "x" * 1_000_000,
    "{" * 2_000,
    "\u0000\ufffd\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
]


async def test_messages_and_data_of_a_call_are_only_text(explorer: ExplorerPage, project: str) -> None:
    page = explorer.page
    messages: list[Any] = [{"role": "user", "content": text} for text in HOSTILE]
    messages.append(
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://198.51.100.1/a.png"}}]}
    )
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages.append({"role": "user", "content": [broken]})
    call = await log(
        explorer.url,
        project,
        opName="<b>op</b>",
        displayName="<script>window.hacked = 1</script>",
        inputs={"messages": messages, "deep": DEEP, "__proto__": "polluted"},
        output="**bold** <iframe src='http://198.51.100.1/'></iframe>",
        exception="Traceback\n<img src=x onerror='window.hacked = 1'>",
        attributes={"<i>key</i>": HOSTILE[:4]},
        threadId="<u>thread</u>",
    )
    await explorer.open(p=project, v="traces", col="inputs.messages.0.content")
    await explorer.first_row()
    for tab in ("chat", "data", "facts", "feedback", "usage"):
        await explorer.open(p=project, v="trace", t=call["traceId"], tab=tab)
        await page.get_by_role("treeitem").first.wait_for()
        await page.locator("[role=tabpanel]").wait_for()
        await explorer.settled()
        assert await page.evaluate("window.hacked") is None
        assert await page.locator("iframe, script[src=''], .message img[src^='http'], .json b, .json i").count() == 0
    await explorer.open(p=project, v="trace", t=call["traceId"])
    await page.locator(".message").first.wait_for()
    await page.locator(".message strong", has_text="bold").wait_for()
    assert await page.locator("a[href^='javascript']").count() == 0
    # A text of megabytes, of which a call may have two, is shown in parts.
    large = await log(explorer.url, project, traceId=call["traceId"], parentId=call["id"], output="y" * 3_500_000)
    await explorer.open(p=project, v="trace", t=call["traceId"], call=large["id"])
    await page.get_by_role("button", name="Show more of 3.50 M characters").click()
    await until(page.locator(".chat").inner_text, lambda text: 200_000 < len(text) < 300_000)
    await explorer.open(p=project, v="trace", t=call["traceId"], call=call["id"])
    # A broken data URL is named in words, once somebody looks at it.
    await page.locator(".message").last.scroll_into_view_if_needed()
    await page.get_by_text("This image cannot be shown").wait_for()


IMAGE = "<img src=x onerror='window.hacked = 1'>"
SCRIPT = "<script>window.hacked = 1</script>"
LINK = "[link](javascript:window.hacked=1)"
FOREIGN = "#root :is(script, iframe, img[src=x], img[src^=http], a[href^=javascript])"

CREATE_OBJECT = "mutation ($o: ObjSchemaForInsert!) { objCreate(obj: $o) { digest } }"
CREATE_TABLE = "mutation ($t: TableSchemaForInsert!) { tableCreate(table: $t) { digest } }"
GIVE = "mutation ($f: [FeedbackCreateReq!]!) { feedbackCreateBatch(batch: $f) { __typename } }"


async def prompt(url: str, project: str, text: str) -> str:
    """Store a version of the prompt `greeting`; return its digest."""
    val = {"_type": "MessagesPrompt", "name": IMAGE, "messages": [{"role": "user", "content": text}], IMAGE: SCRIPT}
    created = await ask(url, CREATE_OBJECT, o={"projectId": project, "objectId": "greeting", "val": val})
    return str(created["objCreate"]["digest"])


async def evaluation_run(url: str, project: str, grade: int) -> str:
    """Store a run with one prediction; return its id."""

    def ref(kind: str, name: str) -> str:
        return f"weave:///{project}/{kind}/{name}:{'o' * 43}"

    given = {"self": ref("object", "quality"), "model": ref("object", "assistant")}
    run = await log(url, project, opName=ref("op", "Evaluation.evaluate"), displayName=IMAGE, inputs=given)
    below = {"traceId": run["traceId"], "parentId": run["id"]}
    inputs = {**given, "example": {"question": IMAGE, SCRIPT: LINK}}
    output = {"output": SCRIPT, "scores": {IMAGE: {"grade": grade, "reason": SCRIPT}}, "model_latency": 0.25}
    await log(url, project, opName=ref("op", "Evaluation.predict_and_score"), inputs=inputs, output=output, **below)
    return run["id"]


async def test_strings_are_only_text_in_every_view(explorer: ExplorerPage, project: str) -> None:
    page, url = explorer.page, explorer.url
    messages = [{"role": "user", "content": f"{text} asks"} for text in (IMAGE, SCRIPT, LINK, HOSTILE[3])]
    calls = [
        await log(
            url,
            project,
            opName=IMAGE,
            displayName=f"{name} name",
            inputs={"model": SCRIPT, "messages": messages},
            output={"choices": [{"message": {"role": "assistant", "content": f"{IMAGE} answers"}}]},
            attributes={
                "user_id": IMAGE,
                "environment": SCRIPT,
                "release": IMAGE,
                "tags": [SCRIPT, LINK],
                "kind": "llm",
            },
            exception=f"Traceback\n{SCRIPT}",
            threadId=IMAGE,
            id=identity,
            turnId=identity,
        )
        for name, identity in ((IMAGE, str(uuid.uuid4())), (SCRIPT, str(uuid.uuid4())))
    ]
    said = {"projectId": project, "weaveRef": calls[0]["ref"], "creator": IMAGE}
    feedback = [
        {**said, "feedbackType": "wandb.note.1", "payload": {"note": f"{SCRIPT} notes"}},
        {**said, "feedbackType": "custom", "payload": {IMAGE: SCRIPT}},
    ]
    await ask(url, GIVE, f=feedback)
    digests = [await prompt(url, project, text) for text in (IMAGE, f"{SCRIPT} is new")]
    rows = {"projectId": project, "rows": [{IMAGE: SCRIPT, "question": LINK}, {IMAGE: IMAGE}]}
    table = (await ask(url, CREATE_TABLE, t=rows))["tableCreate"]["digest"]
    dataset = {"_type": "Dataset", "_class_name": "Dataset", "_bases": ["Object", "BaseModel"]}
    created = {**dataset, "name": IMAGE, "rows": f"weave:///{project}/table/{table}"}
    await ask(url, CREATE_OBJECT, o={"projectId": project, "objectId": "questions", "val": created})
    runs = [await evaluation_run(url, project, grade) for grade in (1, 2)]

    views: list[tuple[State, str]] = [
        ({"v": "traces", "m": "calls", "col": ["+environment", "+release", "inputs.model"]}, IMAGE),
        ({"v": "traces", "q": "asks"}, "asks"),
        ({"v": "trace", "t": calls[0]["traceId"], "tab": "feedback"}, f"{SCRIPT} notes"),
        ({"v": "threads"}, IMAGE),
        ({"v": "threads", "thread": IMAGE}, "asks"),
        ({"v": "charts", "g": "op"}, IMAGE),
        ({"v": "charts", "g": "user"}, IMAGE),
        ({"v": "objects", "o": "greeting", "d": digests[0]}, IMAGE),
        ({"v": "objects", "o": "greeting", "d": digests[1], "with": digests[0]}, f"{SCRIPT} is new"),
        ({"v": "objects", "o": "questions"}, SCRIPT),
        ({"v": "evaluations"}, IMAGE),
        ({"v": "evaluations", "run": runs[0]}, SCRIPT),
        ({"v": "evaluations", "with": runs}, SCRIPT),
        ({"v": "compare", "t": [call["traceId"] for call in calls]}, f"{SCRIPT} name"),
        ({"v": "playground", "call": calls[0]["id"]}, "answers"),
    ]
    for state, text in views:
        await explorer.open(p=project, **state)
        await page.locator("#root").get_by_text(text).first.wait_for()
        assert await page.locator(FOREIGN).count() == 0, state
        assert await page.evaluate("window.hacked") is None, state

    # Facets, and the details of a row.
    await explorer.open(p=project, v="traces", m="calls")
    await explorer.first_row()
    field = page.get_by_role("combobox", name="Add a filter")
    for name in ("user_id", "tags", "inputs.model"):
        await field.fill("stat")
        await page.get_by_role("option", name="status").wait_for()
        await field.fill(f"{name} = ")
        await page.get_by_role("option", name="window.hacked").first.wait_for()
        assert await page.locator(FOREIGN).count() == 0, name
    for view in ({"v": "objects", "o": "questions"}, {"v": "evaluations", "run": runs[0]}):
        await explorer.open(p=project, **view)
        await (await explorer.first_row()).get_by_role("link").first.click()
        await page.locator(".json").get_by_text(SCRIPT).first.wait_for()
        assert await page.locator(FOREIGN).count() == 0, view
    assert await page.evaluate("window.hacked") is None
