"""Automatic checks of the Explorer's accessibility by axe-core, in both themes."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.explorer_page import ExplorerPage, demo_states
from tests.conftest import CLIENTS_REQUIRED
from tests.node import NODE
from tests.requirements import go_without

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture(scope="module")
def axe() -> str:
    """Return axe-core's program. Skip the tests without it; fail them if LOOMQL_REQUIRE_CLIENTS is 1."""
    if problem := NODE.finish():
        go_without(f"the npm packages of the tests cannot be installed: {problem[-500:]}", CLIENTS_REQUIRED)
    return (NODE.packages / "axe-core" / "axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_any_view(chromium: "Browser", demo_server_url: str, axe: str, scheme: Any) -> None:
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": 1440, "height": 900})
    explorer = ExplorerPage(await context.new_page(), demo_server_url)
    page = explorer.page
    states = await demo_states(demo_server_url)
    if scheme == "dark":  # only the colours differ, of which these have all
        states = [state for state in states if state.get("v") in {None, "traces", "charts"}]
    violations = {}
    for state in states:
        await explorer.open(**state)
        await explorer.content()
        await page.wait_for_timeout(500)
        await page.evaluate(axe)
        results = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
        for each in results["violations"]:
            violations[f"{state} {each['id']}"] = [node["html"][:200] for node in each["nodes"][:3]]
    await context.close()
    assert not violations, "\n".join(f"{name}: {html}" for name, html in violations.items())
