"""Exports under way when their server stops, or the database is away, end with a line that says so."""

import json
import signal
from pathlib import Path

import httpx
import pytest

from graphql_schema.context import Stores
from stores.database import Database
from tests.app.command import serving
from tests.stores.calls.builders import PROJECT, end, start

COUNT = 300
LARGE = {"text": "x" * 100_000}


@pytest.fixture
async def filled(database: Database) -> None:
    """Calls of more than what fits into all buffers on the way."""
    for first in range(0, COUNT, 100):
        numbers = range(first, first + 100)
        await Stores.over(database).calls.write(
            [part for number in numbers for part in (start(number, inputs=LARGE), end(number))]
        )


@pytest.mark.usefixtures("filled")
def test_a_server_that_stops_ends_its_exports_where_they_can_go_on(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    with serving(tmp_path / "out", **environment) as server:
        url = server.url.removesuffix("/graphql") + "/export/calls"
        with httpx.stream("GET", url, params={"projectId": PROJECT, "cursors": "true"}, timeout=60) as answer:
            lines = answer.iter_lines()
            rows = [json.loads(next(lines))]
            server.process.send_signal(signal.SIGTERM)
            *more, last = map(json.loads, lines)
        code = server.process.wait(30)

    ended = last["loomql_export"]
    rows += more
    assert code == 0
    assert (ended["complete"], ended["error"]["code"]) == (False, "UNAVAILABLE")
    assert "the server stops" in ended["error"]["message"]
    assert ended["count"] == len(rows) < COUNT
    assert ended["cursor"] == rows[-1]["_cursor"]
