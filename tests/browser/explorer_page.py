"""The Explorer in a browser, as a user sees and operates it."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from app.demo import PROJECT_ID
from tests.waiting import TIMEOUT

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Request

LOG = "mutation ($call: CompletedCallSchemaForInsert!) { callCreate(call: $call) { id traceId ref } }"

DEEP = "as deep as a call may be"
"""Stands for JSON of a thousand levels, which the encoder of Python 3.11 refuses."""

CONTENT = """
.row:not(.loading), .plot canvas, tbody tr, [role=treeitem], .compare .step, .turn, .difference div, .edited
"""
"""Selector of what each view shows once it has read its data."""

TWO_FRAMES = "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"

State = dict[str, str | list[str]]


class ExplorerPage:
    """An open page of the Explorer, which records the browser's requests and errors."""

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.url = url
        self.asked_for: list[str] = []
        self.complaints: list[str] = []
        self._running: set[Request] = set()
        page.on("request", self._on_request)
        page.on("requestfinished", self._on_end)
        page.on("requestfailed", self._on_end)
        page.on("websocket", lambda websocket: self.asked_for.append(websocket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def _on_request(self, request: "Request") -> None:
        self.asked_for.append(request.url)
        self._running.add(request)

    def _on_end(self, request: "Request") -> None:
        self._running.discard(request)

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

    async def content(self) -> None:
        """Wait until the view shows data."""
        await self.page.locator(CONTENT).first.wait_for()

    async def settled(self) -> None:
        """Wait until the page has drawn the answers to all of its requests, which may lead to others."""
        is_settled = False
        while not is_settled:
            await self.page.evaluate(TWO_FRAMES)
            is_settled = not self._running

    async def choose_view(self, name: str) -> None:
        await self.page.get_by_label("Views").get_by_role("link", name=name, exact=True).click()

    def hosts(self) -> set[str]:
        """Return every host that the browser contacted, also by WebSocket; data and blob URLs have no host."""
        return {urlsplit(url).netloc for url in self.asked_for if not url.startswith(("data:", "blob:"))}


async def ask(url: str, query: str, /, **variables: Any) -> Any:
    """Return the data of a GraphQL operation."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        answer = (await client.post(f"{url}/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


async def log(url: str, project: str, **call: Any) -> dict[str, str]:
    """Store a call that has ended; return its id, its trace and its ref."""
    at = datetime.now(UTC) - timedelta(seconds=10)
    whole = {
        "projectId": project,
        "opName": "answer",
        "startedAt": at.isoformat(),
        "endedAt": (at + timedelta(seconds=1)).isoformat(),
        "inputs": {"question": "why?"},
        "output": "because",
        **call,
    }
    text = json.dumps({"query": LOG, "variables": {"call": whole}})
    levels = 1_000
    text = text.replace(json.dumps(DEEP), '{"a":' * levels + "0" + "}" * levels)
    async with httpx.AsyncClient(headers={"Content-Type": "application/json"}, timeout=TIMEOUT) as client:
        answer = (await client.post(f"{url}/graphql", content=text)).json()
    assert "errors" not in answer, answer["errors"]
    return dict(answer["data"]["callCreate"])


async def demo_states(url: str) -> list[State]:
    """Return a state of each view with the demo's data."""
    query = """query ($p: ID!) {
      traces(projectId: $p, first: 2) { nodes { traceId } } threads(projectId: $p, first: 1) { nodes { threadId } }
      calls(projectId: $p, filter: { kinds: [LLM], statuses: [SUCCESS] }, first: 1) { nodes { id } }
      evaluationRuns(projectId: $p, first: 2) { nodes { id } }
      obj(projectId: $p, objectId: "support-prompt") { versions(first: 2) { nodes { digest } } }
    }"""
    found = await ask(url, query, p=PROJECT_ID)
    traces = [node["traceId"] for node in found["traces"]["nodes"]]
    runs = [node["id"] for node in found["evaluationRuns"]["nodes"]]
    older, newer = (node["digest"] for node in found["obj"]["versions"]["nodes"])
    states: list[State] = [
        *(State(v=view) for view in ("traces", "threads", "charts", "objects", "evaluations")),
        {"v": "traces", "t": traces[0]},
        *(State(v="trace", t=traces[0], tab=tab) for tab in ("chat", "data", "usage", "feedback", "facts")),
        {"v": "compare", "t": traces},
        {"v": "threads", "thread": found["threads"]["nodes"][0]["threadId"]},
        {"v": "objects", "o": "support-questions"},
        {"v": "objects", "o": "support-prompt", "d": newer, "with": older},
        {"v": "evaluations", "run": runs[0]},
        {"v": "evaluations", "with": runs},
        {"v": "playground", "call": found["calls"]["nodes"][0]["id"]},
    ]
    return [{}, *({"p": PROJECT_ID, **state} for state in states)]
