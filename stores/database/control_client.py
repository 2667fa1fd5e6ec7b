"""A few connections and threads beside the pool, for what must not wait for those who read.

That is the keys, without which nobody is answered, and the ending of what was given up, which makes room in the pool.
"""

import time
from typing import Any, Final, Self

from pymongo import MongoClient

from stores import times
from stores.database.collections import Document
from stores.database.thread_pool import ThreadPool

CONNECTIONS: Final = 4


class ControlClient:
    """A client of its own, which is opened by the first command, and its threads."""

    def __init__(self, client: "MongoClient[Document]", name: str) -> None:
        self._client = client
        self._name = name
        self._threads = ThreadPool(CONNECTIONS)

    @classmethod
    def open(cls, uri: str, name: str, **options: Any) -> Self:  # noqa: ANN401 -- the driver's own
        """A client with the driver's own options; nothing is sent yet."""
        client: MongoClient[Document] = MongoClient(uri, connect=False, maxPoolSize=CONNECTIONS, **options)
        return cls(client, name)

    async def find_all(self, collection: str, match: Document, most: int) -> list[Document]:
        """The documents of a collection that match, of which there are at most so many."""
        return await self._threads.run(self._find, collection, match, most)

    def _find(self, collection: str, match: Document, most: int) -> list[Document]:
        # One more than there can be, so that MongoDB knows with the first batch that it is the last.
        return self._client[self._name][collection].find(match, batch_size=most + 1).to_list()

    async def kill_operations(self, connections: list[int], since: float) -> None:
        """End what runs on connections, if it was under way already at a time; others may have these by now."""
        await self._threads.run(self._end, connections, since)

    def _end(self, connections: list[int], since: float) -> None:
        match = {"connectionId": {"$in": connections}, "active": True}
        # Of a mongos what it does itself, by whose end that on the shards ends, too; elsewhere it changes nothing.
        running: list[Document] = [{"$currentOp": {"allUsers": False, "localOps": True}}, {"$match": match}]
        for operation in self._client.admin.aggregate(running):
            passed = (time.monotonic() - since) * times.SECOND
            if operation.get("microsecs_running", 0) >= passed:
                self._client.admin.command("killOp", op=operation["opid"])

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
