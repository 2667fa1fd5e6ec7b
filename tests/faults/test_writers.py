"""Writers report a sentence for each acknowledged document that is missing, duplicated, or was never sent."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.server.application import create_app
from app.settings import Settings
from stores.database import Collection, Database, Document
from tests.app.calls_client import ServerGoneError
from tests.faults.client import FaultsClient
from tests.faults.surplus import surplus
from tests.faults.writers import MORE_WRITERS, WRITERS, Writer
from tests.faults.writers.calls import BatchWriter, DeletingWriter, Reader
from tests.faults.writers.feedback import FeedbackWriter
from tests.faults.writers.files import FilesWriter
from tests.faults.writers.logs import LogsWriter
from tests.faults.writers.names import NamesWriter
from tests.faults.writers.objects import ObjectsWriter
from tests.faults.writers.spans import SpansWriter
from tests.faults.writers.tables import TablesWriter
from tests.faults.writers.weave import WeaveWriter
from tests.live_server import live_server
from tests.waiting import until


@pytest.fixture
async def client(mongodb_uri: str, database_name: str) -> AsyncIterator[FaultsClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        client = FaultsClient(f"http://{host}/graphql", "acme/written")
        yield client
        await client.close()


async def written(client: FaultsClient) -> list[Writer]:
    """Run two steps of every kind of writer and return the writers."""
    writers = [make(client) for make in (*WRITERS, *MORE_WRITERS)]
    for writer in writers:
        await writer.step()
        await writer.step()
    return writers


async def lost(writer: Writer) -> list[str]:
    return [sentence async for sentence in writer.lost()]


async def test_writer_reports_lost_calls(client: FaultsClient, database: Database) -> None:
    writers = await written(client)
    assert [await lost(writer) for writer in writers] == [[]] * len(writers)

    for collection in ("calls", "feedback", "objects", "tables", "files.files", "costs"):
        await database.calls.database[collection].delete_many({})

    lost_by_writer = {type(writer): await lost(writer) for writer in writers}
    assert [writer for writer, sentences in lost_by_writer.items() if not sentences] == [DeletingWriter, Reader]
    assert client.wrong == {}


async def test_duplicate_and_unknown_calls_are_reported(
    client: FaultsClient, database: Database, mongodb_uri: str, database_name: str
) -> None:
    writers = await written(client)
    assert surplus(mongodb_uri, client.project_id, writers, database_name) == []

    await database.feedback.insert_one(await another(database.feedback))
    for writer in writers:
        writer.sent_things = {thing for thing in writer.sent_things if thing[0] == "feedback"}

    found = surplus(mongodb_uri, client.project_id, writers, database_name)
    assert [sentence for sentence in found if sentence.endswith("is there 2 times")]
    kinds = {sentence.split()[0] for sentence in found if sentence.endswith("and nobody sent it")}
    assert kinds == {"call", "object", "table", "file", "cost"}


async def another(collection: Collection) -> Document:
    """Return a copy of a collection's document with another key."""
    found = await collection.find_one({})
    assert found
    return {**found, "_id": f"{found['_id']}-again"}


class LossyClient(FaultsClient):
    """A client that loses every third answer and records a hash of each request."""

    def __init__(self, url: str, project_id: str) -> None:
        super().__init__(url, project_id)
        self.sent: list[str] = []
        self.is_lossy = True

    async def _send(self, method: str, url: str, **how: Any) -> httpx.Response:
        response = await super()._send(method, url, **how)
        self.sent.append(hashlib.sha256(repr(how).encode()).hexdigest())
        if self.is_lossy and len(self.sent) % 3 == 1:
            raise ServerGoneError
        return response


SENDS_AGAIN = (
    BatchWriter,
    WeaveWriter,
    FeedbackWriter,
    TablesWriter,
    ObjectsWriter,
    FilesWriter,
    SpansWriter,
    LogsWriter,
    NamesWriter,
)


async def test_retried_call_is_stored_once(client: FaultsClient, mongodb_uri: str, database_name: str) -> None:
    lossy = {make: LossyClient(client.url, f"acme/{make.__name__}") for make in SENDS_AGAIN}
    writers, stopped = [make(its) for make, its in lossy.items()], asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(writer.write(stopped))
        await until(lambda: all(writer.steps > 2 for writer in writers))
        stopped.set()

    for its, writer in zip(lossy.values(), writers, strict=True):
        its.is_lossy = False
        assert max(Counter(its.sent).values()) == 2, writer
        assert await lost(writer) == []
        assert surplus(mongodb_uri, its.project_id, [writer], database_name) == []
        await its.close()
