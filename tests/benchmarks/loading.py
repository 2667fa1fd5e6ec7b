"""Functions that fill the benchmarks' databases with the stores' own code."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database, Document
from tests.benchmarks.stock import BEGIN, PROJECT, SECOND, batches, id_of

TRACE_PROJECT: Final = "acme/trace"
TRACE_CALLS: Final = 200
TRACE: Final = id_of(0)

_BATCH: Final = 1000
TEMPLATES: Final = 10_000
_UNACKNOWLEDGED_BY_DISK: Final = WriteConcern(w=1, j=False)


def load_stock(uri: str, name: str, count: int) -> None:
    """Load a stock of `count` calls, and a trace of 200 calls into a project of its own."""
    asyncio.run(_load_stock(uri, name, count))


async def _load_stock(uri: str, name: str, count: int) -> None:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    store = CallsStore(database)
    for batch in batches(count):
        await store.write(batch)
    for batch in batches(TRACE_CALLS):
        await store.write([_of_one_trace(part) for part in batch])
    database.close()


def _of_one_trace(part: CallStart | CallEnd) -> CallStart | CallEnd:
    if isinstance(part, CallStart):
        return replace(part, project_id=TRACE_PROJECT, trace_id=TRACE)
    return replace(part, project_id=TRACE_PROJECT)


def load_copies(uri: str, name: str, count: int) -> None:
    """Load `count` calls, one a second: the store writes the first ten thousand, the others are later copies of them.

    The indexes are built afterwards, which takes a fraction of the time.
    """
    asyncio.run(_write(uri, name, min(count, TEMPLATES)))
    with MongoClient[Document](uri) as client:
        calls = client[name].get_collection("calls", write_concern=_UNACKNOWLEDGED_BY_DISK)
        templates = list(calls.find(sort={"_id": 1}))
        for first in range(TEMPLATES, count, _BATCH):
            calls.insert_many(_copies(templates, range(first, min(first + _BATCH, count))), ordered=False)
    asyncio.run(_index(uri, name))


def _copies(templates: list[Document], numbers: range) -> Iterator[Document]:
    for number in numbers:
        copied = templates[number % TEMPLATES]
        later = BEGIN + number * SECOND - copied["started_at"]
        new = id_of(number)
        yield (
            copied
            | {
                "_id": f"{PROJECT}:{new}",
                "id": new,
                "trace_id": id_of(number // 10 * 10),
                "thread_id": f"thread {number // 50}",
                "started_at": copied["started_at"] + later,
                "ended_at": copied["ended_at"] + later,
            }
            | ({"parent_id": id_of(number // 10 * 10)} if "parent_id" in copied else {})
        )


async def _write(uri: str, name: str, count: int) -> None:
    database = Database.open(uri, name)
    for batch in batches(count):
        await CallsStore(database).write(batch)
    database.close()


async def _index(uri: str, name: str) -> None:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    database.close()
