"""Tests that only a few scans of one caller run at once, and that other callers have their own slots."""

import asyncio
from typing import Any

import httpx

from graphql_schema.execution.executor import MAX_CONCURRENT_ROOT_FIELDS
from stores.database import Database
from stores.database.connection import MAX_SCANS
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.app.graphql_http.test_cancellation import PROJECT, slowed
from tests.waiting import TIMEOUT, until

ALIASES = 60
REQUESTS = 3
# The filter holds for every call: MongoDB evaluates the slow part of the view only if it holds.
UNINDEXED = 'query: { expr: { not: [{ eq: [{ getField: "inputs.a.b" }, { literal: "none" }] }] } }'
SCAN = f'calls(projectId: "{PROJECT}", first: 1, {UNINDEXED}) {{ nodes {{ id }} }}'
MOST_EXPENSIVE = "{ " + " ".join(f"a{number}: {SCAN}" for number in range(ALIASES)) + " }"
TOO_EXPENSIVE = "{ " + " ".join(f"a{number}: {SCAN}" for number in range(90)) + " }"
SMALL = '{ objs(projectId: "acme/other") { nodes { digest } } }'


async def test_scans_of_one_caller_leave_slots_for_others(
    mongodb_uri: str, database_name: str, database: Database
) -> None:
    keys = KeysStore(database, settle_seconds=0)
    greedy, modest = [(await keys.create([Grant("*", Role.READER)])).text for _ in range(2)]
    each = MAX_SCANS // 2

    with slowed(mongodb_uri, database_name, query_timeout_seconds=3000, request_timeout_seconds=3000) as slow:
        async with httpx.AsyncClient(base_url=f"http://{slow.server.host}", timeout=TIMEOUT) as client:

            async def posted(document: str, key: str) -> dict[str, Any]:
                headers = {"authorization": f"Bearer {key}"}
                answer = await client.post("/graphql", json={"query": document}, headers=headers)
                found: dict[str, Any] = answer.json()
                return found

            scanning = [asyncio.create_task(posted(MOST_EXPENSIVE, greedy)) for _ in range(REQUESTS)]
            await until(lambda: len(slow.reads()) == each)
            small = await posted(SMALL, modest)
            # One scan beyond a caller's limit runs at once, because it is another caller's.
            theirs = asyncio.create_task(posted(f"{{ {SCAN} }}", modest))
            await until(lambda: len(slow.reads()) == each + 1)

            assert small["data"] == {"objs": {"nodes": []}}
            assert [task.done() for task in scanning] == [False] * REQUESTS
            for _ in range(5):
                assert len(slow.reads()) == each + 1
            refused = await posted(TOO_EXPENSIVE, greedy)
            assert [error["extensions"]["code"] for error in refused["errors"]] == ["QUERY_TOO_COMPLEX"]
            for task in (*scanning, theirs):
                task.cancel()
            await asyncio.gather(*scanning, theirs, return_exceptions=True)
        await until(lambda: not slow.reads())


async def test_one_request_runs_a_few_counts_concurrently(mongodb_uri: str, database_name: str) -> None:
    counts = " ".join(f'a{number}: callsStats(projectId: "{PROJECT}") {{ count }}' for number in range(20))
    with slowed(mongodb_uri, database_name, query_timeout_seconds=3000, request_timeout_seconds=3000) as slow:
        async with httpx.AsyncClient(base_url=f"http://{slow.server.host}", timeout=TIMEOUT) as client:
            counting = asyncio.create_task(client.post("/graphql", json={"query": f"{{ {counts} }}"}))
            await until(lambda: len(slow.reads()) == MAX_CONCURRENT_ROOT_FIELDS)
            for _ in range(5):
                assert len(slow.reads()) == MAX_CONCURRENT_ROOT_FIELDS
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
        await until(lambda: not slow.reads())
