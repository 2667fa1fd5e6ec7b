"""The floor: the same reads and writes by the driver and orjson, with nothing between them.

It uses a collection of the same calls as an engineer would store them: nested documents without the JSON text, with the
same indexes. It runs on Motor in this process, on the event loop that the server uses.
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
# LoomQL adds these fields to every summary that it returns.
_WEAVE: Final = {"status": "$status", "latency_ms": "$latency_ms", "trace_name": "$trace_name"}
_DURABLE: Final = WriteConcern(w="majority", j=True)


def make_nested(uri: str, database: str) -> None:
    """Copy the calls of a database into the floor's collection and build its indexes."""
    with MongoClient[Document](uri) as client:
        pipeline: list[Document] = [{"$set": {"summary.weave": _WEAVE}}, {"$unset": _NOT_KEPT}, {"$out": NESTED}]
        client[database]["calls"].aggregate(pipeline)
    index_nested(uri, database)


def index_nested(uri: str, database: str) -> None:
    """Build LoomQL's indexes of calls on the floor's collection."""
    with MongoClient[Document](uri) as client:
        client[database][NESTED].create_indexes(indexes.models()["calls"])


@contextmanager
def opened(uri: str, database: str) -> Iterator[tuple[asyncio.Runner, Collection]]:
    """Open an event loop for the floor and its collection, whose writes are as durable as LoomQL's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        client = runner.run(_client(uri))
        yield runner, client.get_database(database, write_concern=_DURABLE)[NESTED]
        client.close()


async def _client(uri: str) -> "AsyncIOMotorClient[Document]":
    """Create a client on the running loop, because Motor uses the current one."""
    return AsyncIOMotorClient(uri)


async def find(
    nested: Collection, match: Document, shown: Document, order: list[tuple[str, int]], limit: int, skip: int = 0
) -> bytes:
    """Find documents and return them as JSON."""
    cursor = nested.find(match, shown, sort=order, limit=limit, skip=skip, batch_size=limit + 1)
    return orjson.dumps(await cursor.to_list(limit))


async def find_one(nested: Collection, match: Document, shown: Document) -> bytes:
    """Find one document and return it as JSON."""
    return orjson.dumps(await nested.find_one(match, shown))


async def count(nested: Collection, match: Document) -> bytes:
    """Count documents and return the number as JSON."""
    return orjson.dumps(await nested.count_documents(match))


def projection(names: Any) -> Document:
    """Return a projection on the named fields."""
    return {"_id": 0} | dict.fromkeys(names, 1)
