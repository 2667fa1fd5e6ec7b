"""A server loses its embedded mongod or its disk, and recovers without a restart."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from time import monotonic
from urllib.parse import urlsplit

import httpx
import pytest

from stores.database import Database
from stores.files import FilesStore
from stores.files.uploads import CHUNK_BYTES
from stores.tables import TablesStore
from tests.app.calls_client import ServerGoneError
from tests.faults import faults
from tests.faults.client import FaultsClient
from tests.faults.faults import Alone, Fault
from tests.faults.invariant import SIZES, broken
from tests.faults.trial import Trial
from tests.faults.writers.tables import CREATE
from tests.stores.files.streams import stored_counts
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT, until_found

PART = bytes(range(256)) * (CHUNK_BYTES // 256)


@pytest.mark.parametrize("fault", [fault for fault in faults.OF_A_SINGLE_MONGOD if fault.is_short], ids=str)
async def test_fault_loses_no_data(single: tuple[Alone, Trial], fault: Fault) -> None:
    alone, trial = single
    pid = alone.server.pid

    try:
        row = await trial.short(fault, alone)
    finally:
        sys.stdout.write(alone.server.output.read_text())  # pytest shows it if the test fails

    row.check()
    assert fault.server_may_go or alone.server.pid == pid


@pytest.fixture
async def database(single: tuple[Alone, Trial]) -> AsyncIterator[Database]:
    """Open the server's database directly."""
    database = Database.open(single[1].uri, "loomql", timeout_seconds=DATABASE_TIMEOUT)
    yield database
    database.close()


async def start_upload(url: str) -> asyncio.StreamWriter:
    """Send the first twenty of a thousand parts of a file."""
    address = urlsplit(url)
    _reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"PUT /files/acme/torn HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PART) * 1000}\r\n\r\n"
    writer.write(head.encode())
    for _ in range(20):
        writer.write(PART)
        await writer.drain()
    return writer


async def test_sweep_deletes_torn_files_of_a_killed_server(single: tuple[Alone, Trial], database: Database) -> None:
    # given a file, and an upload in progress
    server, files = single[0].server, FilesStore(database)
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        to = f"{server.url.removesuffix('/graphql')}/files/acme/torn"
        whole = (await client.put(to, content=PART * 3)).json()["digest"]
    before = await stored_counts(database)
    assert before[2] == 0
    writer = await start_upload(server.url)

    async def has_parts() -> bool:
        return (await stored_counts(database))[1] > before[1]

    await until_found(has_parts)
    # when
    await asyncio.to_thread(server.end, signal.SIGKILL)
    writer.close()
    server.start()
    await asyncio.to_thread(server.wait_until_up)
    # then
    found, chunks, uploads = await stored_counts(database)
    assert (found, uploads) == (before[0], 1)
    assert chunks > before[1]
    assert await files.sweep(silent_seconds=0) == 1
    assert await stored_counts(database) == before
    assert await files.read(await files.one("acme/torn", whole)) == PART * 3


async def test_sweep_deletes_rows_of_a_table_cut_off_by_a_kill(single: tuple[Alone, Trial], database: Database) -> None:
    # given a table, and the creation in progress of a much larger table that shares rows with it
    server, project = single[0].server, {"project_id": "acme/torn-table"}
    rows = [{"row": row, "text": "weft " * 50} for row in range(30_000)]
    client = FaultsClient(server.url, project["project_id"])
    await client.ask(CREATE, rows=rows[:100])
    client.server_may_go = True
    writing = asyncio.create_task(client.ask(CREATE, rows=rows))

    async def has_more() -> bool:
        return await database.table_rows.count_documents(project) > 100

    await until_found(has_more)
    # when
    await asyncio.to_thread(server.end, signal.SIGKILL)
    with pytest.raises(ServerGoneError):
        await writing
    server.start()
    await asyncio.to_thread(server.wait_until_up)
    client.retry_until = monotonic() + TIMEOUT
    # then
    assert await broken(single[1].uri, client) == []
    assert await TablesStore(database).sweep(silent_seconds=0) == 1
    assert await database.table_rows.count_documents(project) == 100
    assert await broken(single[1].uri, client) == []
    sizes = (await client.ask(SIZES))["projectStats"]
    assert int(sizes["tablesStorageSizeBytes"]) == sum(len(json.dumps(row)) for row in rows[:100])
    await client.close()
