"""Tests that running exports end with an error line if the server stops or the database is unreachable."""

import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.exports.worker import Export, ExportProcessPool, Job
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.exports import RowSelection
from tests.app.command import serving
from tests.app.exports.relay import Relay, relay
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, end, start
from tests.waiting import TIMEOUT

COUNT = 300
SIZE = 100_000
TIMEOUTS = {"timeout_seconds": 10.0, "query_timeout_seconds": 10.0}


@pytest.fixture
async def filled(database: Database) -> None:
    """Write more calls than all buffers between server and client can hold, also if Parquet compresses them."""
    texts = [Random(number).randbytes(SIZE // 2).hex() for number in range(COUNT)]
    for first in range(0, COUNT, 100):
        numbers = range(first, first + 100)
        await Stores(database).calls.write(
            [part for number in numbers for part in (start(number, inputs={"text": texts[number]}), end(number))]
        )


@pytest.mark.usefixtures("filled")
def test_stopping_server_ends_exports_at_a_resumable_point(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    with serving(tmp_path / "out", **environment) as server:
        url = server.url.removesuffix("/graphql") + "/export/calls"
        with httpx.stream("GET", url, params={"projectId": PROJECT, "cursors": "true"}, timeout=TIMEOUT) as answer:
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


@pytest.mark.usefixtures("filled")
async def test_export_started_during_shutdown_ends_at_a_resumable_point(mongodb_uri: str, database_name: str) -> None:
    processes = ExportProcessPool(2)
    given = Export("calls", RowSelection(PROJECT))
    job = Job(given, "ndjson", with_cursors=False, uri=mongodb_uri, database=database_name, **TIMEOUTS)
    before = processes.start(job)  # it has not read its job yet when the server stops

    processes.stop()

    for process in (before, processes.start(job)):
        written = b"".join([part async for part in process.output()])
        process.end()
        *rows, last = map(json.loads, written.splitlines())
        ended = last["loomql_export"]
        assert (ended["complete"], ended["error"]["code"]) == (False, "UNAVAILABLE")
        assert 0 < ended["count"] == len(rows) < COUNT


@contextmanager
def streamed(way: Relay, database_name: str, **parameters: str) -> Iterator[httpx.Response]:
    """Yield the streamed response of a server that reaches its database through a relay."""
    settings = Settings(mongodb_uri=way.uri, mongodb_database=database_name, database_timeout_seconds=1)
    with (
        live_server(create_app(settings), lifespan="on") as host,
        httpx.stream(
            "GET", f"http://{host}/export/calls", params={"projectId": PROJECT} | parameters, timeout=TIMEOUT
        ) as answer,
    ):
        yield answer


@pytest.mark.usefixtures("filled")
def test_export_reports_its_resume_point_if_the_database_goes_away(mongodb_uri: str, database_name: str) -> None:
    with relay(mongodb_uri) as way, streamed(way, database_name, cursors="true") as answer:
        lines = answer.iter_lines()
        rows = [json.loads(next(lines))]
        way.cut()
        *more, last = map(json.loads, lines)

    ended = last["loomql_export"]
    rows += more
    assert (ended["complete"], ended["error"]["code"]) == (False, "UNAVAILABLE")
    assert ended["count"] == len(rows) < COUNT
    assert ended["cursor"] == rows[-1]["_cursor"]


@pytest.mark.usefixtures("filled")
def test_parquet_is_incomplete_if_the_database_goes_away(mongodb_uri: str, database_name: str) -> None:
    came = b""
    with relay(mongodb_uri) as way, streamed(way, database_name, format="parquet") as answer:
        parts = answer.iter_raw()
        came += next(parts)
        way.cut()
        with pytest.raises(httpx.RemoteProtocolError):
            came += b"".join(parts)

    assert came.startswith(b"PAR1")
    with pytest.raises(pa.ArrowInvalid):
        pq.ParquetFile(io.BytesIO(came))
