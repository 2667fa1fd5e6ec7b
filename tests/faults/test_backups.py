"""Tests that take backups while clients write and restore them into another MongoDB: the restored data is complete."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

import pytest
from pymongo import MongoClient

from tests.app.command import loomql
from tests.faults import mongodb_tools
from tests.faults.client import FaultsClient
from tests.faults.mongods import one_mongod
from tests.faults.serving import Serving, serving
from tests.faults.trial import Trial, all_step
from tests.faults.writers import WRITERS, Writer
from tests.waiting import TIMEOUT

COLLECTIONS: Final = ("calls", "objects", "tables", "feedback", "files.files")


@dataclass(frozen=True)
class Way:
    """A way to write the data of a MongoDB to a file and to restore it into an empty MongoDB."""

    name: str
    take: Callable[[str, Path], None]
    restore: Callable[[str, Path], None]
    is_here: bool = True

    def __str__(self) -> str:
        return self.name


def _by_loomql(command: str) -> Callable[[str, Path], None]:
    def run(uri: str, file: Path) -> None:
        done = loomql(command, str(file), LOOMQL_MONGODB_URI=uri)
        assert done.returncode == 0, done.stderr

    return run


WAYS: Final = (
    Way("loomql backup", _by_loomql("backup"), _by_loomql("restore")),
    Way("the steps of mongodump", mongodb_tools.dump_by_steps, mongodb_tools.restore_by_steps),
    Way("mongodump", mongodb_tools.dump, mongodb_tools.restore, mongodb_tools.ARE_HERE),
)


@dataclass(frozen=True)
class Taken:
    """Backups that were taken while one client wrote, after another client had written."""

    before: list[Writer]
    meanwhile: list[Writer]
    documents: dict[str, int]
    """Number of documents in each collection by the writers of `meanwhile`, counted after their last write."""
    file_by_way: dict[str, Path]

    @property
    def clients(self) -> list[FaultsClient]:
        """The clients of both groups of writers, one for each project."""
        return [writers[0].client for writers in (self.before, self.meanwhile)]


@contextmanager
def _serving_on(uri: str) -> Iterator[Serving]:
    with TemporaryDirectory(prefix="loomql-") as folder, serving(Path(folder), LOOMQL_MONGODB_URI=uri) as server:
        server.wait_until_up()
        yield server


@asynccontextmanager
async def _writing(writers: Sequence[Writer]) -> AsyncIterator[None]:
    """Let all writers write until the block ends; each completes a step before the block and after it."""
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(writer.write(stopped))
        try:
            await all_step(writers)
            yield
            await all_step(writers)
        finally:
            stopped.set()


def _counted(uri: str, client: FaultsClient) -> dict[str, int]:
    with MongoClient[dict[str, object]](uri) as mongo:
        of_theirs = {"project_id": client.project_id}
        return {name: mongo["loomql"][name].count_documents(of_theirs) for name in COLLECTIONS}


@pytest.fixture(scope="module")
async def taken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Taken]:
    """Take a backup by each way that is available on this machine, one after the other."""
    files = {way.name: tmp_path_factory.mktemp("backup") / "backup" for way in WAYS if way.is_here}
    with one_mongod() as uri:
        with _serving_on(uri) as server:
            clients = [FaultsClient(server.url, f"acme/{when}") for when in ("before", "meanwhile")]
            before, meanwhile = ([make(client) for make in WRITERS] for client in clients)
            async with _writing(before):
                pass
            async with _writing(meanwhile):
                for way in WAYS:
                    if way.is_here:
                        await asyncio.to_thread(way.take, uri, files[way.name])
        yield Taken(before, meanwhile, _counted(uri, clients[1]), files)
    for client in clients:
        await client.close()


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_restored_backup_is_complete(taken: Taken, mongod: str, way: Way) -> None:
    if not way.is_here:
        pytest.skip("MongoDB's Database Tools are not on the PATH; no package of PyPI, npm or Debian brings them")
    with MongoClient[dict[str, object]](mongod) as mongo:
        mongo.drop_database("loomql")

    await asyncio.to_thread(way.restore, mongod, taken.file_by_way[way.name])

    with _serving_on(mongod) as server:
        restored = Trial(server, mongod)
        for client in taken.clients:
            client.url, client.retry_until = server.url, monotonic() + TIMEOUT
            assert await restored.broken(client) == []
        assert [sentence for writer in taken.before async for sentence in writer.lost()] == []
        assert [client.wrong for client in taken.clients] == [{}, {}]
    counted = _counted(mongod, taken.clients[1])
    assert all(0 < counted[name] < taken.documents[name] for name in COLLECTIONS), (counted, taken.documents)
