"""The fuzzed server, a `loomql serve` with the demo and a stand-in for a model provider; and a quiet server."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.embedded_mongod import embedded_mongod
from tests.app.command import Server, loomql, serving
from tests.folders import short_folder
from tests.fuzz import callers
from tests.fuzz.pool import Pool
from tests.fuzz.second_caller import SECOND_PROJECT
from tests.fuzz.seeding import write_calls
from tests.fuzz.wire import Wire
from tests.stand_in_provider import KEY, stand_in_provider

_DATABASE = "quiet"


class Quiet(NamedTuple):
    """A server that gets no fuzz: its GraphQL URL and its keys."""

    url: str
    keys: callers.Keys


@contextmanager
def fuzzed_server(folder: Path, uri: str, database: str) -> Iterator[Server]:
    """Run a server on a database until the block ends; its log goes into the folder."""
    with stand_in_provider() as provider:
        settings = {
            "LOOMQL_MONGODB_URI": uri,
            "LOOMQL_MONGODB_DATABASE": database,
            "LOOMQL_ADMIN": "true",
            "LOOMQL_QUERY_TIMEOUT_SECONDS": "15",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": provider.base_url,
        }
        # The fuzz compares answers, so the server adds no calls to the demo.
        loaded = loomql("demo", **settings)
        assert loaded.returncode == 0, loaded.stderr
        with serving(folder / "server.log", **settings) as server:
            yield server


@contextmanager
def quiet_server() -> Iterator[Quiet]:
    """Run a server with its own mongod and the second caller's project until the block ends.

    The second caller's p99 at this server, during the fuzz of the other one, is the floor that the machine sets.
    """
    with (
        short_folder() as folder,
        embedded_mongod(folder, cache_gb=0.5) as uri,
        fuzzed_server(folder, uri, _DATABASE) as server,
    ):
        quiet = Quiet(server.url, asyncio.run(callers.make_keys(uri, _DATABASE)))
        asyncio.run(_seed(quiet))
        yield quiet


async def _seed(quiet: Quiet) -> None:
    wire = Wire(quiet.url)
    await write_calls(wire, Pool(), callers.operator(quiet.keys), SECOND_PROJECT)
    await wire.close()
