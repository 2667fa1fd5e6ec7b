"""The floor: what the driver and orjson need for the same, with nothing between them.

It reads a collection that holds the same calls as a good engineer would keep them, as nested documents without the
JSON text, with the same indexes; by Motor, in this process, on the event loop that the server runs on.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
import uvloop
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from stores.database import Collection, Document, indexes

NESTED: Final = "nested"
_NOT_KEPT: Final = ["json", "op_trace_name", "start_size_bytes", "end_size_bytes"]
# What LoomQL puts into every summary that it returns.
_WEAVE: Final = {"status": "$status", "latency_ms": "$latency_ms", "trace_name": "$trace_name"}
_DURABLE: Final = WriteConcern(w="majority", j=True)


def make_nested(uri: str, database: str) -> None:
    """Copy the calls of a database into the floor's collection, indexes and all."""
    with MongoClient[Document](uri) as client:
        pipeline: list[Document] = [{"$set": {"summary.weave": _WEAVE}}, {"$unset": _NOT_KEPT}, {"$out": NESTED}]
        client[database]["calls"].aggregate(pipeline)
    index_nested(uri, database)


def index_nested(uri: str, database: str) -> None:
    """Build the indexes that LoomQL has on its calls."""
    with MongoClient[Document](uri) as client:
        client[database][NESTED].create_indexes(indexes.models()["calls"])


@contextmanager
def opened(uri: str, database: str) -> Iterator[tuple[asyncio.Runner, Collection]]:
    """The event loop that the floor runs on, and its collection, writes as durable as LoomQL's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        client = runner.run(_client(uri))
        yield runner, client.get_database(database, write_concern=_DURABLE)[NESTED]
        client.close()


async def _client(uri: str) -> "AsyncIOMotorClient[Document]":
    """Motor takes the loop that is running."""
    return AsyncIOMotorClient(uri)


async def find(
    nested: Collection, match: Document, shown: Document, order: list[tuple[str, int]], limit: int, skip: int = 0
) -> bytes:
    """Some documents as JSON."""
    cursor = nested.find(match, shown, sort=order, limit=limit, skip=skip, batch_size=limit + 1)
    return orjson.dumps(await cursor.to_list(limit))


async def find_one(nested: Collection, match: Document, shown: Document) -> bytes:
    """One document as JSON."""
    return orjson.dumps(await nested.find_one(match, shown))


async def count(nested: Collection, match: Document) -> bytes:
    """How many there are, as JSON."""
    return orjson.dumps(await nested.count_documents(match))


def projection(names: Any) -> Document:  # noqa: ANN401 -- an iterable of paths
    """What to show."""
    return {"_id": 0} | dict.fromkeys(names, 1)
