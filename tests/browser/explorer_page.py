"""The Explorer in a browser, as a user sees and operates it."""

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Request


class ExplorerPage:
    """An open page of the Explorer, which records the browser's requests and errors."""

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.url = url
        self.asked_for: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._on_request)
        page.on("websocket", lambda websocket: self.asked_for.append(websocket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def _on_request(self, request: "Request") -> None:
        self.asked_for.append(request.url)

    async def open(self, **state: str | list[str]) -> None:
        """Open the page in a state, such as `p="demo/assistant", v="traces"`."""
        response = await self.page.goto(f"{self.url}/?{urlencode(state, doseq=True)}")
        assert response is not None
        assert response.status == 200, await response.text()

    @property
    def state(self) -> dict[str, list[str]]:
        """The state in the address."""
        return parse_qs(urlsplit(self.page.url).query, keep_blank_values=True)

    async def wait_for_state(self, **expected: str | None) -> None:
        """Wait until the address has these values, or not these names."""
        await self.page.wait_for_url(
            lambda url: all(
                parse_qs(urlsplit(url).query, keep_blank_values=True).get(name) == (None if value is None else [value])
                for name, value in expected.items()
            )
        )

    def rows(self) -> "Locator":
        """Return the rows of the table that were read, without its head."""
        return self.page.locator(".grid .row:not(.loading)")

    async def first_row(self) -> "Locator":
        """Wait for the first row of the table."""
        await self.rows().first.wait_for()
        return self.rows().first

    async def choose_view(self, name: str) -> None:
        await self.page.get_by_label("Views").get_by_role("link", name=name, exact=True).click()

    def hosts(self) -> set[str]:
        """Return every host that the browser contacted, also by WebSocket; data and blob URLs have no host."""
        return {urlsplit(url).netloc for url in self.asked_for if not url.startswith(("data:", "blob:"))}


async def ask(url: str, query: str, /, **variables: Any) -> Any:
    """Return the data of a GraphQL operation."""
    async with httpx.AsyncClient() as client:
        answer = (await client.post(f"{url}/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]
