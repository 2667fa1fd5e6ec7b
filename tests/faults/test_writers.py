"""The writers tell in a sentence of all that was acknowledged and is not there, or not once, or was never sent."""

from collections.abc import AsyncIterator

import pytest

from app.server import create_app
from app.settings import Settings
from stores.database import Collection, Database, Document
from tests.faults.client import FaultsClient
from tests.faults.surplus import surplus
from tests.faults.writers import WRITERS, Writer
from tests.faults.writers.calls import DeletingWriter, Reader
from tests.live_server import live_server


@pytest.fixture
async def client(mongodb_uri: str, database_name: str) -> AsyncIterator[FaultsClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        client = FaultsClient(f"http://{host}/graphql", "acme/written")
        yield client
        await client.close()


async def written(client: FaultsClient) -> list[Writer]:
    """All that write, each two steps on."""
    writers = [make(client) for make in WRITERS]
    for writer in writers:
        await writer.step()
        await writer.step()
    return writers


async def lost(writer: Writer) -> list[str]:
    return [sentence async for sentence in writer.lost()]


async def test_what_is_lost_is_told_by_who_sent_it(client: FaultsClient, database: Database) -> None:
    writers = await written(client)
    assert [await lost(writer) for writer in writers] == [[]] * len(writers)

    for collection in ("calls", "feedback", "objects", "tables", "files.files"):
        await database.calls.database[collection].delete_many({})

    told = {type(writer): await lost(writer) for writer in writers}
    assert [writer for writer, sentences in told.items() if not sentences] == [DeletingWriter, Reader]
    assert client.wrong == {}


async def test_what_is_there_twice_or_was_never_sent_is_told(
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
    assert kinds == {"call", "object", "table", "file"}


async def another(collection: Collection) -> Document:
    """A document of a collection, under another key."""
    found = await collection.find_one({})
    assert found
    return {**found, "_id": f"{found['_id']}-again"}
