"""GraphiQL in a browser, as a user sees and operates it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tests.waiting import TIMEOUT

if TYPE_CHECKING:
    from playwright.async_api import Page

T = TypeVar("T")


async def until(read: Callable[[], Awaitable[T]], accept: Callable[[T], bool], pause: float = 0.05) -> T:
    """Read until the reading is acceptable and return it; fail with the last reading after `TIMEOUT`.

    Each reading costs processor time, so `pause` is longer for what takes seconds.
    """
    reading = await read()
    give_up = time.monotonic() + TIMEOUT
    while not accept(reading) and time.monotonic() < give_up:
        await asyncio.sleep(pause)
        reading = await read()
    assert accept(reading), f"still {reading!r} after {TIMEOUT} seconds"
    return reading


class GraphiqlPage:
    """An open GraphiQL page, which records the browser's requests and errors."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.asked_for: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked_for.append(request.url))
        page.on("websocket", lambda websocket: self.asked_for.append(websocket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    async def open(self, url: str) -> None:
        """Open the page and wait until its editor accepts input and has loaded the schema."""
        response = await self.page.goto(f"{url}/graphql")
        assert response is not None
        assert response.status == 200, await response.text()
        await self.page.locator(".graphiql-query-editor .view-line").first.wait_for()

    def hosts(self) -> set[str]:
        """Return every host that the browser contacted, also by WebSocket; data URLs have no host."""
        return {urlsplit(url).netloc for url in self.asked_for if not url.startswith("data:")}

    async def tabs(self) -> list[str]:
        return [name.strip() for name in await self.page.get_by_role("tab").all_inner_texts()]

    async def choose(self, name: str) -> None:
        """Switch to a tab and wait until the page has processed its query."""
        tab = self.page.get_by_role("tab", name=name)
        if await tab.get_attribute("aria-selected") == "false":
            await tab.click()
            await until(self._query_taken_in, lambda taken: f" {name} " in taken.replace("(", " "))

    async def open_tab(self) -> None:
        """Open an empty tab."""
        await self.page.get_by_role("button", name="New tab").click()
        await until(self._query_taken_in, lambda taken: taken == "None")
        await until(self.answer, lambda answer: answer == {})

    async def write(self, query: str) -> None:
        """Replace the content of the query editor by typing, and wait until the page has processed it."""
        await self._clear()
        await self.add(query)

    async def paste(self, query: str) -> None:
        """Replace the content of the query editor at once, and wait until the page has processed it."""
        await self._clear()
        await self.page.keyboard.insert_text(query)
        await until(self._query_taken_in, lambda taken: taken == query)

    async def _clear(self) -> None:
        await self.page.locator(".graphiql-query-editor .monaco-editor").first.click()
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.press("Delete")

    async def add(self, text: str) -> None:
        """Type at the cursor, and wait until the page has processed the text."""
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Escape")
        # The editor may have closed brackets that the text left open.
        await until(self._query_taken_in, lambda taken: text in taken)

    async def add_before_the_end(self, text: str) -> None:
        """Type before the query's last bracket."""
        await self.page.keyboard.press("Control+End")
        await self.page.keyboard.press("ArrowLeft")
        await self.add(text)

    async def complete(self, name: str) -> None:
        """Accept one of the completions at the cursor."""
        await self.completions(name)
        await self.page.keyboard.press("Control+Space")
        label = self.page.locator(".suggest-widget.visible .monaco-list-row .label-name").get_by_text(name, exact=True)
        await label.first.click()
        await until(self._query_taken_in, lambda taken: name in taken)

    async def _query_taken_in(self) -> str:
        return str(await self.page.evaluate("localStorage.getItem('loomql:graphiql:query')"))

    async def send_along(self, headers: dict[str, str]) -> None:
        """Enter headers into the Headers tab."""
        await self.page.get_by_role("button", name="Headers", exact=True).click()
        await self.page.locator(".graphiql-editor-tool .monaco-editor:visible").first.click()
        text = json.dumps(headers)
        await self.page.keyboard.insert_text(text)
        read = "__MONACO.editor.getModels().find(m => m.uri.path.endsWith('headers.json'))?.getValue() ?? ''"
        await until(lambda: self.page.evaluate(read), lambda taken: taken == text)

    async def run(self) -> None:
        """Click the button that runs the operation."""
        await self.page.locator(".graphiql-execute-button").click()

    async def stop(self) -> None:
        """Click the same button to stop the running operation."""
        await self.page.locator(".graphiql-execute-button[aria-label*=Stop]").click()

    async def completions(self, *expected: str) -> list[str]:
        """Return the completions at the cursor once they include `expected`.

        Only the visible rows count, about a dozen.
        """

        async def offered() -> list[str]:
            # A busy page shows outdated completions or none. Each attempt therefore opens the list again.
            await self.page.keyboard.press("Control+Space")
            rows = self.page.locator(".suggest-widget.visible .monaco-list-row .label-name")
            found: list[str] = await until(rows.all_inner_texts, bool)
            await self.page.keyboard.press("Escape")
            await until(rows.count, lambda count: count == 0)
            return found

        found: list[str] = await until(offered, lambda found: {*expected} <= {*found})
        return found

    async def problems(self) -> list[str]:
        """Return the errors that the editor underlines in the query."""
        markers: list[str] = await self.page.evaluate(
            "__MONACO.editor.getModelMarkers({}).filter(m => m.resource.path.endsWith('.graphql')).map(m => m.message)"
        )
        return markers

    async def answer(self) -> dict[str, Any]:
        """Return the displayed response, or an empty dict if there is none."""
        # The page's elements are incomplete: the editor draws only the visible lines. It loads after the page.
        text = await self.page.evaluate(
            "globalThis.__MONACO?.editor.getModels().find(m => m.uri.path.endsWith('response.json'))?.getValue() ?? ''"
        )
        return dict(json.loads(text)) if text else {}
