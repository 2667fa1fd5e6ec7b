"""A writer that uploads files of several parts."""

import hashlib
from collections.abc import AsyncIterator

from stores.files.uploads import CHUNK_BYTES
from tests.faults.client import FaultsClient
from tests.faults.writers.writer import Writer


class FilesWriter(Writer):
    """Uploads a new file in each step. It retries every other rejected upload unchanged."""

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self.digests: dict[str, str] = {}

    async def step(self) -> None:
        number = f"{self.next_number():016d}"
        self.sent_things.add(("file", number))
        content = number.encode() * (CHUNK_BYTES // 16 * 5 // 2)
        self.digests[await self.client.put(content)] = hashlib.sha256(content).hexdigest()

    async def lost(self) -> AsyncIterator[str]:
        for digest, expected in self.digests.items():
            content = await self.client.get(digest)
            if content is None:
                yield f"file {digest} was acknowledged and is not there"
            elif hashlib.sha256(content).hexdigest() != expected:
                yield f"file {digest} has another content"
