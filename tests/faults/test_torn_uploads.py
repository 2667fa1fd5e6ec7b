"""An upload that dies with its server, by `kill -9`, leaves nothing that a sweep does not take back."""

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from app.embedded_mongod import DataFolder, embedded_mongod
from stores.database import Database
from stores.files import FilesStore
from stores.files.uploads import CHUNK_BYTES
from tests.app.command import serving
from tests.stores.files.streams import left

PART = bytes(range(256)) * (CHUNK_BYTES // 256)
SMALL = {"LOOMQL_MONGOD_CACHE_GB": "0.25"}


async def start_upload(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the first twenty of a thousand parts."""
    reader, writer = await asyncio.open_connection(host, port)
    head = f"PUT /files/acme/torn HTTP/1.1\r\nHost: loomql\r\nContent-Length: {len(PART) * 1000}\r\n\r\n"
    writer.write(head.encode())
    for _ in range(20):
        writer.write(PART)
        await writer.drain()
    return reader, writer


async def test_a_killed_server_leaves_whole_files_and_torn_ones_go(data_dir: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--data-dir", str(data_dir), **SMALL) as server:
        address = urlsplit(server.url)
        async with httpx.AsyncClient(base_url=f"http://{address.netloc}", timeout=30) as client:
            whole = (await client.put("/files/acme/torn", content=PART * 3)).json()["digest"]
        database = Database.open(DataFolder(data_dir).uri, "loomql")
        _, writer = await start_upload(str(address.hostname), int(address.port or 0))
        for _ in range(500):
            if (await left(database))[1] > 3:
                break
            await asyncio.sleep(0.02)
        os.kill(server.process.pid, signal.SIGKILL)
        writer.close()
        database.close()
    with embedded_mongod(data_dir, cache_gb=0.25) as uri:
        database = Database.open(uri, "loomql")
        files = FilesStore(database)
        found, chunks, uploads = await left(database)
        swept = await files.sweep(silent_seconds=0)
        after = await left(database)
        content = await files.read(await files.one("acme/torn", whole))
        database.close()

    assert (found, uploads, swept) == (1, 1, 1)
    assert chunks > 3
    assert after == (1, 3, 0)
    assert content == PART * 3
