"""A separate client with a few connections and threads, for commands that must not wait for busy readers.

It reads API keys, which every request needs, and kills cancelled operations, which frees connections of the pool.
"""

import time
from typing import Any, Final, Self

from pymongo import MongoClient

from stores import times
from stores.database.collections import Document
from stores.database.thread_pool import ThreadPool

CONNECTIONS: Final = 4


class ControlClient:
    """A separate synchronous client, which connects at its first command, and its threads."""

    def __init__(self, client: "MongoClient[Document]", name: str) -> None:
        self._client = client
        self._name = name
        self._threads = ThreadPool(CONNECTIONS)

    @classmethod
    def open(cls, uri: str, name: str, **options: Any) -> Self:  # noqa: ANN401 -- the driver's own
        """Create a client with options of the driver; nothing is sent yet."""
        client: MongoClient[Document] = MongoClient(uri, connect=False, maxPoolSize=CONNECTIONS, **options)
        return cls(client, name)

    async def find_all(self, collection: str, match: Document, max_rows: int) -> list[Document]:
        """Return the matching documents of a collection, at most `limit`."""
        return await self._threads.run(self._find, collection, match, max_rows)

    def _find(self, collection: str, match: Document, limit: int) -> list[Document]:
        # One more than `limit`, so that MongoDB closes the cursor with the first batch.
        return self._client[self._name][collection].find(match, batch_size=limit + 1).to_list()

    async def kill_operations(self, connections: list[int], since: float) -> None:
        """Kill the operations on `connections` that started before `since` (monotonic); newer ones keep running."""
        await self._threads.run(self._kill, connections, since)

    def _kill(self, connections: list[int], since: float) -> None:
        match = {"connectionId": {"$in": connections}, "active": True}
        # On a mongos `localOps` lists its own operations; killing one also ends its parts on the shards.
        running: list[Document] = [{"$currentOp": {"allUsers": False, "localOps": True}}, {"$match": match}]
        for operation in self._client.admin.aggregate(running):
            elapsed = (time.monotonic() - since) * times.SECOND
            if operation.get("microsecs_running", 0) >= elapsed:
                self._client.admin.command("killOp", op=operation["opid"])

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
