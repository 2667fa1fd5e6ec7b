"""Tests of every view of the Explorer with the demo: each is opened once, and then measured in several ways."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.explorer_page import ExplorerPage, State, demo_states
from tests.conftest import CLIENTS_REQUIRED
from tests.node import NODE
from tests.requirements import go_without

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, ViewportSize

SIZE: "ViewportSize" = {"width": 1440, "height": 900}
WIDTHS = (2560, 1280, 380)
IN_DARK = {None, "traces", "charts"}
"""Views with all colours; in the dark theme only the colours differ."""

MOST_SHIFT = 0.1
"""Sum of layout shifts up to which a page counts as stable (Cumulative Layout Shift, web.dev/cls)."""

RECORD_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries()) {
    const moved = sources.map(({ node }) => node?.outerHTML?.slice(0, 80) ?? node?.textContent ?? "gone");
    if (!hadRecentInput) window.shifts.push({ value, moved });
  }
}).observe({ type: "layout-shift", buffered: true });
"""


# A view takes some frames to fit into another width.
LASTING_OVERFLOW = """
new Promise((resolve) => {
  const look = (left) => {
    const overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    if (overflow <= 0 || left === 0) resolve(Math.max(0, overflow));
    else requestAnimationFrame(() => look(left - 1));
  };
  requestAnimationFrame(() => look(300));
})
"""


@dataclass
class Findings:
    """Problems of the views, by the view and the problem."""

    shifts: dict[str, Any] = field(default_factory=dict)
    violations: dict[str, Any] = field(default_factory=dict)
    overflows: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
async def findings(chromium: "Browser", demo_server_url: str) -> Findings:
    """Open each view once: measure its layout shifts, let axe-core check it in both themes, and change its width."""
    found = Findings()
    has_axe = not NODE.finish()
    axe = (NODE.packages / "axe-core" / "axe.min.js").read_text() if has_axe else ""
    context = await chromium.new_context(color_scheme="light", viewport=SIZE)
    await context.add_init_script(RECORD_SHIFTS)
    explorer = ExplorerPage(await context.new_page(), demo_server_url)
    page = explorer.page
    for state in await demo_states(demo_server_url):
        await page.set_viewport_size(SIZE)
        await explorer.open(**state)
        await explorer.content()
        await explorer.settled()
        shifts = await page.evaluate("window.shifts")
        if sum(shift["value"] for shift in shifts) >= MOST_SHIFT:
            found.shifts[str(state)] = shifts
        if has_axe:
            await page.evaluate(axe)
            found.violations |= await violations(page, f"{state} in the light theme")
            if state.get("v") in IN_DARK:
                await page.emulate_media(color_scheme="dark")
                found.violations |= await violations(page, f"{state} in the dark theme")
                await page.emulate_media(color_scheme="light")
        found.overflows |= await overflows(page, state)
    assert explorer.complaints == []
    assert explorer.hosts() == {demo_server_url.removeprefix("http://")}
    await context.close()
    return found


async def violations(page: "Page", name: str) -> dict[str, list[str]]:
    results = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return {
        f"{name}: {each['id']}": [node["html"][:200] for node in each["nodes"][:3]] for each in results["violations"]
    }


async def overflows(page: "Page", state: State) -> dict[str, int]:
    """Return by how many pixels a view stays wider than the page at some widths."""
    found = {}
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        if overflow := await page.evaluate(LASTING_OVERFLOW):
            found[f"{state} at {width} pixels"] = overflow
    return found


def test_axe_finds_nothing_in_any_view(findings: Findings) -> None:
    if problem := NODE.finish():
        go_without(f"the npm packages of the tests cannot be installed: {problem[-500:]}", CLIENTS_REQUIRED)
    assert findings.violations == {}


def test_views_fit_any_width(findings: Findings) -> None:
    assert findings.overflows == {}


def test_views_do_not_shift_while_they_load(findings: Findings) -> None:
    assert findings.shifts == {}
