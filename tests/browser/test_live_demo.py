"""Test of GraphiQL on a server whose demo goes on."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from app import demo
from app.demo.live import LiveDemo
from app.server.application import create_app
from app.settings import Settings
from app.websocket.protocol import WebSocketProtocol
from graphql_schema.context import Stores
from stores import times
from stores.database import Database
from tests.browser.graphiql_page import GraphiqlPage, until
from tests.live_server import live_server

if TYPE_CHECKING:
    from playwright.async_api import Browser


async def test_live_calls_tab_shows_the_demos_calls(
    chromium: "Browser", mongodb_uri: str, database: Database, database_name: str
) -> None:
    stores = Stores(database)
    # The call by which the demo counts as loaded; all of them would take seconds.
    await stores.calls.write([demo.last_part(demo.PROJECT_ID, times.now())])
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on", ws=WebSocketProtocol) as host:
        context = await chromium.new_context(viewport={"width": 1440, "height": 900})
        page = GraphiqlPage(await context.new_page())
        await page.open(f"http://{host}")
        await page.choose("LiveCalls")
        await page.run()
        # The pauses are shorter than those of a server, so that the first event comes soon.
        live = LiveDemo(stores, sleep=lambda _seconds: asyncio.sleep(0.1))
        talk = asyncio.create_task(live.talk(demo.PROJECT_ID))

        async def look() -> set[str]:
            event = (await page.answer()).get("data", {}).get("callEvents")
            seen.update([event["type"]] if event else [])
            return seen

        seen = set[str]()
        await until(look, lambda seen: {"STARTED", "ENDED"} <= seen)
        talk.cancel()
        with suppress(asyncio.CancelledError):
            await talk
        await context.close()

    assert page.complaints == []
