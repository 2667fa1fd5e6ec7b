"""Calls that a test adds to the demo's project and deletes afterwards."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from app.demo import PROJECT_ID as PROJECT
from tests.waiting import TIMEOUT

LOG_CALL = """
mutation ($start: StartedCallSchemaForInsert!) { callCreateBatch(batch: [{ start: $start }]) { __typename } }
"""
END_CALL = f"""
mutation ($id: ID!) {{
  callEnd(end: {{ projectId: "{PROJECT}", id: $id, endedAt: "2026-01-01T00:00:01.5Z", summary: {{}} }}) {{ id }}
}}
"""
RENAME_CALL = f"""
mutation ($id: ID!) {{ callUpdate(projectId: "{PROJECT}", callId: $id, displayName: "renamed") {{ numUpdated }} }}
"""
DELETE_CALL = f'mutation ($id: ID!) {{ callsDelete(projectId: "{PROJECT}", callIds: [$id]) {{ numDeleted }} }}'


class DemoCalls:
    """The calls that a test adds to the demo's project."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.ids: list[str] = []

    async def start(self) -> None:
        """Start another call."""
        self.ids.append(str(uuid.uuid4()))
        start = {"projectId": PROJECT, "id": self.ids[-1], "opName": "answer", "attributes": {}, "inputs": {}}
        await self._send(LOG_CALL, start={**start, "startedAt": "2026-01-01T00:00:00Z"})

    async def start_and(self, look: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Start another call and return what `look` returns."""
        await self.start()
        return await look()

    async def change(self, document: str) -> None:
        """Run a mutation on the last call."""
        await self._send(document, id=self.ids[-1])

    def is_last(self, answer: dict[str, Any]) -> bool:
        """Return whether an event is about the last call."""
        return bool(answer["data"]["callEvents"]["call"]["id"] == self.ids[-1])

    async def remove(self) -> None:
        """Delete all added calls."""
        for call in self.ids:
            await self._send(DELETE_CALL, id=call)

    async def _send(self, document: str, **variables: object) -> None:
        sent = await self._http.post("/graphql", json={"query": document, "variables": variables})
        assert "errors" not in sent.json()


@asynccontextmanager
async def demo_calls(url: str) -> AsyncIterator[DemoCalls]:
    """Yield an empty set of calls, and delete the calls that the test adds."""
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
        calls = DemoCalls(http)
        try:
            yield calls
        finally:
            await calls.remove()
