"""The server that is fuzzed: `loomql serve` with the demo in it, and a provider of models that is not one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.app.command import Server, serving
from tests.stand_in_provider import KEY, stand_in_provider


@contextmanager
def fuzzed_server(folder: Path, uri: str, database: str) -> Iterator[Server]:
    """A server over a database until the block ends; what it logs goes into the folder."""
    with stand_in_provider() as provider:
        settings = {
            "LOOMQL_MONGODB_URI": uri,
            "LOOMQL_MONGODB_DATABASE": database,
            "LOOMQL_ADMIN": "true",
            "LOOMQL_QUERY_TIMEOUT_SECONDS": "15",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": provider.base_url,
        }
        with serving(folder / "server.log", "--demo", **settings) as server:
            yield server
