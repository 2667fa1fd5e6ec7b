"""Tests of GraphiQL on a server that requires keys."""

from collections.abc import AsyncIterator
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from app.server.application import create_app
from app.settings import Settings
from app.websocket.protocol import WebSocketProtocol
from stores.calls import CallsStore
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.browser.graphiql_page import GraphiqlPage, until
from tests.live_server import live_server
from tests.stores.calls.builders import start

if TYPE_CHECKING:
    from playwright.async_api import Browser

PROJECT = "acme/locked"
KEEP = "key => sessionStorage.setItem('loomql:session', JSON.stringify({ key }))"


class Locked(NamedTuple):
    """A server that requires keys, and a valid key."""

    url: str
    key: str


@pytest.fixture
async def locked(mongodb_uri: str, database: Database, database_name: str) -> AsyncIterator[Locked]:
    made = await KeysStore(database, settle_seconds=0).create([Grant(PROJECT, Role.READER)])
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys="required")
    with live_server(create_app(settings), lifespan="on", ws=WebSocketProtocol) as host:
        yield Locked(f"http://{host}", made.text)


async def test_key_in_the_headers_tab_authenticates_queries_and_subscriptions(
    chromium: "Browser", locked: Locked, calls: CallsStore
) -> None:
    context = await chromium.new_context(viewport={"width": 1400, "height": 850})
    page = GraphiqlPage(await context.new_page())
    await page.open(locked.url)

    await page.paste(f'{{ callsStats(projectId: "{PROJECT}") {{ count }} }}')
    await page.run()
    refused = await until(page.answer, lambda shown: "errors" in shown)
    hint = page.page.get_by_role("status", name="Hints")
    [advice] = await until(hint.all_inner_texts, bool)

    await page.paste(f'subscription {{ callEvents(projectId: "{PROJECT}") {{ type }} }}')
    await page.run()
    closed = await until(page.answer, lambda shown: "socket" in str(shown))
    [advice_of_socket] = await until(hint.all_inner_texts, bool)
    await page.paste(f'{{ callsStats(projectId: "{PROJECT}") {{ count }} }}')

    # The key that somebody gave the Explorer in this tab.
    await page.page.evaluate(KEEP, locked.key)
    await page.run()
    by_explorer = await until(page.answer, lambda shown: "data" in shown)
    await page.page.evaluate(KEEP, "loomql_0000000000000000_wrong")
    await page.run()
    await until(page.answer, lambda shown: "errors" in shown)

    # The header counts more.
    await page.send_along({"Authorization": f"Bearer {locked.key}"})
    await page.run()
    found = await until(page.answer, lambda shown: "data" in shown)

    await page.paste(f'subscription {{ callEvents(projectId: "{PROJECT}") {{ type call {{ opName }} }} }}')
    await page.run()
    numbers = count(1)

    async def log_a_call_and_look() -> dict[str, Any]:
        # The subscription starts after its socket is open, so the test writes calls until one appears.
        await calls.write([start(next(numbers), project_id=PROJECT, op_name="seen")])
        return await page.answer()

    event = await until(log_a_call_and_look, lambda shown: "callEvents" in (shown.get("data") or {}))
    await context.close()

    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert closed["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert 'Headers tab below the query: {"Authorization": "Bearer KEY"}' in advice == advice_of_socket
    assert by_explorer["data"] == found["data"] == {"callsStats": {"count": 0}}
    assert "open the Explorer in this tab" in advice
    assert event["data"]["callEvents"] == {"type": "STARTED", "call": {"opName": "seen"}}
