"""`python -m tests.benchmarks.explorer`: how fast the Explorer shows what it is asked for, in a real Chromium.

Each time runs from the start of a navigation, or of an input, until the page shows the result. It includes the server
and MongoDB on this machine. With `--phoenix`, Arize Phoenix gets equal traces in this run, and its page is timed alike;
its packages come from PyPI and take some minutes.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.embedded_mongod import embedded_mongod
from tests.app.command import loomql
from tests.benchmarks.report import Must, Report, Row, Section, is_met, print_table
from tests.benchmarks.scale import PATIENT, loaded, prepared
from tests.benchmarks.servers import LoomQL, server
from tests.benchmarks.spans import PROJECT, SPANS, Traces, request_of
from tests.browser.conftest import CHROMIUM_FLAGS
from tests.free_ports import free_port
from tests.installation import PythonInstallation
from tests.stores.otel.messages import body, pairs
from tests.waiting import TIMEOUT

if TYPE_CHECKING:
    from playwright.async_api import Page

PHOENIX: Final = PythonInstallation("phoenix", "phoenix", "arize-phoenix")
CALLS: Final = 100_000
LARGE: Final = 10_000
"""Calls of the large trace."""
PEER_TRACES: Final = 5_000
PEER_SPANS: Final = 3_000
"""Spans of the trace that both pages open."""

_DEMO: Final = "demo/assistant"
_SECONDS: Final = 180
_SECONDS_OF_FRAMES: Final = 3.0
_ROW: Final = 28
_NAMES: Final = ("agent", "plan", "retrieve", "openai.chat", "tool")
_FRAMES: Final = """async ([selector, seconds, make]) => {
  const element = document.querySelector(selector);
  const act = new Function("element", "frame", make);
  let frames = 0;
  const start = performance.now();
  await new Promise((resolve) => {
    const step = (now) => {
      if (now - start > seconds * 1000) return resolve();
      act(element, frames++);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  });
  return (frames / (performance.now() - start)) * 1000;
}"""
"""Counts the frames that the page draws in a second while an input repeats."""

_HAS: Final = """([selectors, without]) => selectors.every((each) => document.querySelector(each)) &&
  !(without && document.querySelector(without))"""

_SCROLL: Final = "element.scrollTop += 84"
_ZOOM: Final = """element.dispatchEvent(new WheelEvent("wheel",
  { ctrlKey: true, cancelable: true, bubbles: true, deltaY: frame % 60 < 30 ? -12 : 12,
    clientX: element.getBoundingClientRect().left + 200 }))"""


def main() -> int:
    """Measure and print; return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.explorer", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of the list (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="times of each measurement (default: %(default)s)")
    parser.add_argument("--live", type=int, default=20_000, help="live calls, as of an hour (default: %(default)s)")
    parser.add_argument(
        "--live-minutes", type=float, default=0, help="minutes in which the live calls arrive (default: %(default)s)"
    )
    parser.add_argument("--phoenix", action="store_true", help="measure the page of Arize Phoenix, too")
    options = parser.parse_args()
    report: Report = {
        "the Explorer": asyncio.run(measure(options.calls, options.rounds, options.live, options.live_minutes))
    }
    if options.phoenix:
        report["beside Arize Phoenix (floor)"] = asyncio.run(compare(PEER_TRACES, PEER_SPANS, options.rounds))
    print_table(report, f"{options.calls:,} calls; ms until the page shows it, the median of {options.rounds}")
    return 0 if is_met(report) else 1


async def measure(calls: int, rounds: int, live: int, live_minutes: float) -> Section:
    """Measure the Explorer on the demo, on a number of calls, on a large trace, and with live calls."""
    section: Section = {}
    with tempfile.TemporaryDirectory(prefix="loomql-") as name, embedded_mongod(Path(name) / "m", None, 0.5) as uri:
        folder = Path(name)
        size = await asyncio.to_thread(loaded, uri, calls, None)
        with server(folder, uri, size.database, PATIENT) as started:
            loom = await asyncio.to_thread(prepared, started, uri, size)
            await asyncio.to_thread(loomql, "demo", LOOMQL_MONGODB_URI=uri, LOOMQL_MONGODB_DATABASE=size.database)
            await _send(loom.spans_url, large_trace(LARGE))
            async with _page() as page:
                await _measure_page(section, page, loom.url.removesuffix("/graphql"), calls, rounds)
                section["memory with live rows, MB more"] = await _memory(page, loom, live, live_minutes)
    return section


async def _measure_page(section: Section, page: "Page", url: str, calls: int, rounds: int) -> None:
    rows = ".row:not(.loading)"

    async def time_of(path: str, shown: str) -> float:
        return await _timed(page.goto(f"{url}/{path}"), _shown(page, shown))

    async def far_row() -> float:
        await time_of(f"?p={PROJECT}&v=traces&m=calls", rows)
        far = calls // 2
        counted = "(far) => document.querySelector('.grid').ariaRowCount > far"
        await page.wait_for_function(counted, arg=far, polling="raf")
        scroll = page.evaluate(f"document.querySelector('.grid').scrollTop = {far * _ROW}")
        return await _timed(scroll, _shown(page, f"{rows}[aria-rowindex='{far + 2}']"))

    async def large() -> float:
        async def interactive() -> None:
            await _shown(page, ".minimap", "[role=treeitem]", without=".reading")
            fifth = "document.querySelectorAll('[role=treeitem]')[5]"
            await page.evaluate(f"{fifth}.click()")
            await page.wait_for_function(f"() => {fifth}.ariaSelected === 'true'", polling="raf")

        return await _timed(page.goto(f"{url}/?p={PROJECT}&v=trace&t={_hex(LARGE)}"), interactive())

    for name, measured, bound in (
        ("first view of the demo", partial(time_of, "", "tbody tr"), None),
        (f"first rows of {calls:,} calls", partial(time_of, f"?p={PROJECT}&v=traces&m=calls", rows), None),
        (f"row {calls // 2:,}", far_row, None),
        (f"trace of {LARGE:,} calls until interactive", large, Must("ms", 1_000)),
        ("charts of a year", partial(time_of, f"?p={PROJECT}&v=charts&from=365d", ".plot canvas"), Must("ms", 300)),
    ):
        times = [await measured() for _ in range(rounds + 1)][1:]
        row = Row(loomql_ms=statistics.median(times))
        section[name] = row.held_to(bound, row.loomql_ms)
    await time_of(f"?p={PROJECT}&v=traces&m=calls", rows)
    section["frames a second while scrolling"] = await _frames(page, ".grid", _SCROLL)
    await page.goto(f"{url}/?p={PROJECT}&v=trace&t={_hex(LARGE)}")
    await page.locator(".minimap").wait_for()
    section["frames a second while zooming"] = await _frames(page, ".steps canvas", _ZOOM)


async def _frames(page: "Page", selector: str, make: str) -> Row:
    seen = float(await page.evaluate(_FRAMES, [selector, _SECONDS_OF_FRAMES, make]))
    return Row().held_to(Must("frames", 50, at_least=True), seen)


async def _memory(page: "Page", loom: LoomQL, live: int, minutes: float) -> Row:
    """Return by how much the page's memory grows with a number of live calls, in MB after a collection of garbage."""
    session = await page.context.new_cdp_session(page)

    async def used() -> float:
        await session.send("HeapProfiler.collectGarbage")
        return float((await session.send("Runtime.getHeapUsage"))["usedSize"]) / 1e6

    url = loom.url.removesuffix("/graphql")
    await page.goto(f"{url}/?p={PROJECT}&v=traces&m=calls&live=")
    await page.locator(".row:not(.loading)").first.wait_for()
    await asyncio.sleep(2)
    before = await used()
    traces = Traces(live // SPANS * 40)  # others than those that are stored
    began, starts = time.monotonic(), range(traces.count - live // SPANS, traces.count, 125)
    for number, first in enumerate(starts):
        await asyncio.sleep(began + minutes * 60 * number / len(starts) - time.monotonic())
        await _send(loom.spans_url, request_of(traces, range(first, min(first + 125, traces.count))))
    await page.locator(".news").wait_for()
    await asyncio.sleep(2)
    return Row().held_to(Must("MB", 20), max(0.0, await used() - before))


async def compare(traces: int, spans: int, rounds: int) -> Section:
    """Measure the first rows of a number of traces and a large trace, in the Explorer and in Phoenix's page."""
    if problem := PHOENIX.finish():
        raise SystemExit(f"Arize Phoenix cannot be installed: {problem[-500:]}")
    section: Section = {}
    requests = [request_of(Traces(traces), range(first, first + 125)) for first in range(0, traces, 125)]
    requests.append(large_trace(spans))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loomql-")))
        uri = stack.enter_context(embedded_mongod(folder / "m", None, 0.5))
        loom = stack.enter_context(server(folder, uri, "peer", PATIENT))
        phoenix = stack.enter_context(_phoenix(folder))
        for request in requests:
            await _send(loom.spans_url, request)
            await _send(f"{phoenix}/v1/traces", request)
        page = await stack.enter_async_context(_page())
        node = await _phoenix_project(phoenix)
        ours, theirs = loom.url.removesuffix("/graphql"), f"{phoenix}/projects/{node}"
        trace = _hex(spans)
        for title, our_path, our_sign, their_path, their_sign in (
            (
                f"first rows of {traces:,} traces",
                f"{ours}/?p={PROJECT}&v=traces",
                ".row:not(.loading)",
                f"{theirs}/spans",
                "tbody tr td a",
            ),
            (
                f"trace of {spans:,} spans",
                f"{ours}/?p={PROJECT}&v=trace&t={trace}",
                "[role=treeitem]",
                f"{theirs}/traces/{trace}",
                "[role=dialog] li, [class*=tree] li",
            ),
        ):
            both: list[list[float]] = [[], []]
            for _ in range(rounds + 1):
                for times, path, sign in ((both[0], our_path, our_sign), (both[1], their_path, their_sign)):
                    await page.goto("about:blank")  # a browser takes a while to remove a large page
                    times.append(await _timed(page.goto(path), _shown(page, sign)))
            medians = [statistics.median(times[1:]) for times in both]
            row = Row(loomql_ms=medians[0], floor_ms=medians[1], ratio=medians[0] / medians[1])
            section[title] = row.held_to(Must("ratio", 0.2), row.ratio)
    return section


async def _timed(start: Awaitable[object], shown: Awaitable[object]) -> float:
    """Return the milliseconds from the start of something until it is shown."""
    started = time.perf_counter()
    await start
    await shown
    return (time.perf_counter() - started) * 1_000


async def _shown(page: "Page", *selectors: str, without: str = "") -> None:
    """Wait until the page has an element for each selector, and none for another one; it looks at each frame.

    Locators of Playwright look twice a second.
    """
    given = [list(selectors), without]
    await page.wait_for_function(_HAS, arg=given, polling="raf")


async def _send(url: str, spans: bytes) -> None:
    headers = {"Content-Type": "application/x-protobuf", "project_id": PROJECT}
    async with httpx.AsyncClient(timeout=_SECONDS) as client:
        for _ in range(_SECONDS):
            response = await client.post(url, content=spans, headers=headers)
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(1)  # Phoenix's queue is full
        response.raise_for_status()


def _hex(number: int) -> str:
    return number.to_bytes(16).hex()


def large_trace(number: int) -> bytes:
    """Return the OTLP request of one trace: each fifth span is below the root, and the next four are below it."""
    now, spans = time.time_ns() - 3_600_000_000_000, []
    for at in range(number):
        step = (at - 1) % 5
        parent = b"" if at == 0 else (at - step + 1 if step else 1).to_bytes(8)
        spans.append(
            Span(
                trace_id=number.to_bytes(16),
                span_id=(at + 1).to_bytes(8),
                parent_span_id=parent,
                name=_NAMES[at % 5],
                start_time_unix_nano=now + at * 1_000_000,
                end_time_unix_nano=now + (number if at == 0 else at + 5) * 1_000_000,
                attributes=pairs({"gen_ai.operation.name": "chat"} if at % 5 == 3 else {}),
            )
        )
    return body(*spans, resource={"service.name": "large"})


@asynccontextmanager
async def _page() -> "AsyncIterator[Page]":
    from playwright.async_api import async_playwright  # noqa: PLC0415 -- takes half a second

    binary = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(_SECONDS * 1_000)
        yield page
        await browser.close()


@contextmanager
def _phoenix(folder: Path) -> Iterator[str]:
    """Run Arize Phoenix on a free port of this machine; yield its address."""
    port, grpc = free_port(), free_port()
    settings = {
        "PHOENIX_WORKING_DIR": str(folder / "phoenix"),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "phoenix.log").open("wb") as log:
        command = [str(PHOENIX.bin / "phoenix"), "serve"]
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT).is_success:
                    break
            time.sleep(0.5)
        else:
            raise SystemExit(f"Arize Phoenix did not start: {(folder / 'phoenix.log').read_text()[-2_000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def _phoenix_project(url: str) -> str:
    """Return the id of Phoenix's project once all spans are stored."""
    query = {"query": "{ projects { edges { node { id name recordCount } } } }"}
    known = -1
    async with httpx.AsyncClient(timeout=_SECONDS) as client:
        while True:
            answer: Any = (await client.post(f"{url}/graphql", json=query)).json()
            nodes = [edge["node"] for edge in answer["data"]["projects"]["edges"]]
            most = max(nodes, key=lambda node: int(node["recordCount"]))
            if int(most["recordCount"]) == known > 0:
                return str(most["id"])
            known = int(most["recordCount"])
            await asyncio.sleep(3)


if __name__ == "__main__":
    sys.exit(main())
