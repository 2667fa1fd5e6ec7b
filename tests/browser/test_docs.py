"""Tests of the documentation in a real browser, behind a path prefix."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from app.docs import Documentation
from tests.browser.graphiql_page import until
from tests.live_server import live_server

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

INDEX = "# Docs\n\nStart here.\n\n## Guides\n\n- [Weave](guides/weave.md)\n- [Spin](guides/spin.md)\n"
WIDE = f"| {' | '.join(f'heading{number}' for number in range(20))} |\n|{' --- |' * 20}\n"
WEAVE = f"# Weave cloth\n\nUse a loom.\n\n## Thread the shuttle\n\n```sh\nloom --warp {'x' * 300}\n```\n\n{WIDE}"


@pytest.fixture
def docs_url(tmp_path: Path) -> Iterator[str]:
    for name, text in {"index": INDEX, "guides/weave": WEAVE, "guides/spin": "# Spin yarn\n\nUse a wheel.\n"}.items():
        path = tmp_path / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    routes = Documentation(tmp_path, others={"Explorer": "", "GraphiQL": "graphql"}).routes()
    with live_server(Starlette(routes=[Mount("/behind", routes=routes)])) as host:
        yield f"http://{host}/behind/docs"


@pytest.fixture(params=[(1600, "light"), (360, "dark")], ids=["wide", "narrow"])
async def page(
    chromium: "Browser",
    request: pytest.FixtureRequest,
    docs_url: str,  # noqa: ARG001 - the server stops after the page is closed
) -> AsyncIterator["Page"]:
    """Yield a page of one of two widths; after the test, require that its console is empty."""
    width, scheme = request.param
    context = await chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, complaints = await context.new_page(), list[str]()
    page.on("console", lambda line: complaints.append(line.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    assert complaints == []


async def test_search_finds_a_heading_by_keyboard(page: "Page", docs_url: str) -> None:
    await page.goto(docs_url)

    await page.keyboard.press("/")
    await page.keyboard.type("shuttle weave")
    found = await until(page.get_by_role("option").all_inner_texts, bool)
    await page.keyboard.press("Enter")

    await page.wait_for_url(f"{docs_url}/guides/weave#thread-the-shuttle")
    assert found == ["Thread the shuttle\nWeave cloth"]


async def test_search_lists_pages_before_headings_and_reports_no_results(page: "Page", docs_url: str) -> None:
    await page.goto(f"{docs_url}/guides/spin")
    search = page.get_by_role("combobox")

    await search.fill("weave")
    found = await until(page.get_by_role("option").all_inner_texts, bool)
    await search.press("ArrowDown")
    selected = await page.locator("[aria-selected=true]").inner_text()
    await search.fill("zeppelin")
    nothing = await page.get_by_role("listbox").inner_text()
    await search.press("Escape")

    assert found == ["Weave cloth", "Thread the shuttle\nWeave cloth"]
    assert selected == found[1]
    assert nothing == "No title or heading has these words."
    assert await page.get_by_role("listbox").count() == 0


async def test_page_is_as_wide_as_its_window(page: "Page", docs_url: str) -> None:
    await page.goto(f"{docs_url}/guides/weave")

    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.evaluate(
        "[...document.querySelectorAll('.table, pre')].every(e => e.scrollWidth > e.clientWidth)"
    )


async def test_all_pages_and_headings_are_reachable(page: "Page", docs_url: str) -> None:
    await page.goto(f"{docs_url}/guides/weave")
    is_narrow = await page.evaluate("innerWidth < 600")

    if is_narrow:
        await page.get_by_role("button", name="On this page").click()
    await page.get_by_role("navigation", name="On this page").get_by_role("link", name="Thread the shuttle").click()
    await page.wait_for_url(f"{docs_url}/guides/weave#thread-the-shuttle")
    if is_narrow:
        await page.get_by_role("button", name="Pages", exact=True).click()
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Spin yarn").click()

    await page.wait_for_url(f"{docs_url}/guides/spin")


async def test_pages_work_without_scripts(chromium: "Browser", docs_url: str) -> None:
    context = await chromium.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page = await context.new_page()
    await page.goto(docs_url)

    has_search = await page.get_by_role("combobox").count()
    await page.get_by_role("button", name="Pages", exact=True).click()
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Weave cloth").click()
    await page.wait_for_url(f"{docs_url}/guides/weave")

    assert has_search == 0
    await context.close()
