"""Tests of interrupted actions: the client disconnects, or the server is killed."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from tests.app.command import serving
from tests.live_server import live_server
from tests.stand_in_provider import KEY, StandIn
from tests.stores.actions.specs import action, judging
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT, until, until_found

COUNT = 60
EXECUTE = """
    mutation ($ref: String!, $calls: [ID!]!) {
        actionsExecuteBatch(projectId: "acme/chat", actionRef: $ref, callIds: $calls) { numSucceeded numFailed }
    }
"""


@pytest.fixture
async def body(calls: CallsStore, objects: ObjectsStore, stand_in: StandIn) -> dict[str, Any]:
    """Return a request that has a slow judge judge sixty calls."""
    numbers = range(1, COUNT + 1)
    await calls.write([part for number in numbers for part in (start(number), end(number, output=number))])

    def reply(_body: dict[str, Any]) -> str:
        time.sleep(0.03)
        return '{"score": 7}'

    stand_in.reply = reply
    ids = [call_id(number) for number in numbers]
    return {"query": EXECUTE, "variables": {"ref": await action(objects, judging()), "calls": ids}}


@pytest.fixture
def feedback(calls: CallsStore) -> FeedbackStore:
    return FeedbackStore(calls.database)


async def test_disconnected_client_still_gets_all_results_stored(
    body: dict[str, Any],
    feedback: FeedbackStore,
    stand_in: StandIn,
    mongodb_uri: str,
    database_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    with live_server(create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name))) as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            asked = asyncio.create_task(client.post("/graphql", json=body))
            await until(lambda: bool(stand_in.requests))
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

        async def all_is_there() -> bool:
            return await feedback.count(PROJECT) == COUNT

        await until_found(all_is_there)


async def test_results_before_a_kill_remain_and_a_rerun_judges_all(
    body: dict[str, Any],
    feedback: FeedbackStore,
    stand_in: StandIn,
    mongodb_uri: str,
    database_name: str,
    tmp_path: Path,
) -> None:
    environment = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in.base_url,
    }

    async def some_is_there() -> bool:
        return await feedback.count(PROJECT) >= 5

    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        with serving(tmp_path / "first", **environment) as server:
            request = asyncio.create_task(client.post(server.url, json=body))
            await until_found(some_is_there)
            server.stop(signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                await request
        stood = await feedback.count(PROJECT)
        with serving(tmp_path / "second", **environment) as server:
            again = await client.post(server.url, json=body)

    assert again.json()["data"] == {"actionsExecuteBatch": {"numSucceeded": COUNT, "numFailed": 0}}
    assert 5 <= stood < COUNT
    assert await feedback.count(PROJECT) == stood + COUNT
