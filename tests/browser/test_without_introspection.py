"""Tests of GraphiQL on a server that does not answer introspection."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from app.server.application import create_app
from app.settings import Settings
from tests.browser.graphiql_page import GraphiqlPage, until
from tests.live_server import live_server

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture
def secret_url(mongodb_uri: str, database_name: str) -> Iterator[str]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, introspection=False)
    with live_server(create_app(settings), lifespan="on") as host:
        yield f"http://{host}"


async def test_queries_still_run(chromium: "Browser", secret_url: str) -> None:
    context = await chromium.new_context(viewport={"width": 1400, "height": 850})
    page = GraphiqlPage(await context.new_page())
    await page.open(secret_url)

    await page.paste("{ __typename }")
    await page.run()
    answer = await until(page.answer, lambda shown: "data" in shown)
    assert answer["data"] == {"__typename": "Query"}

    await context.close()
    # The page's own policy must refuse nothing that the page does.
    assert [line for line in page.complaints if "Content Security Policy" in line] == []
