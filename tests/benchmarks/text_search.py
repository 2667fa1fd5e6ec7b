"""Benchmarks of text indexes: writes, disk space and searches, compared with MongoDB's own text index."""

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from pymongo import ASCENDING, TEXT, MongoClient

from stores.calls import CallsStore
from stores.database import Database
from stores.paging import PageRequest
from stores.projects import ProjectsStore
from stores.text_search import TextSearchStore
from tests.benchmarks.stock import PROJECT, RARE_WORD, batches
from tests.benchmarks.timing import Clock

NONE: Final = "no index, a scan"
SEGMENTS: Final = "an index of LoomQL's"
MONGODB: Final = "MongoDB's text index"

_ROUNDS: Final = 5
_MIB: Final = 1024 * 1024
_PATHS: Final = ("json.inputs", "json.output", "exception", "op_trace_name", "display_name")

Row = dict[str, float]


async def measure_search(uri: str, count: int, clock: Clock) -> dict[str, Row]:
    """Measure each kind of index: calls written a second, CPU for each call, later indexing, sizes, and searches.

    The same batches are written in turns with each kind. The driver alone queries MongoDB's index.
    """
    databases = {name: Database.open(uri, f"bench_{number}") for number, name in enumerate((NONE, SEGMENTS, MONGODB))}
    for database in databases.values():
        await database.ensure_indexes()
    await _switch_on(databases[SEGMENTS])
    text: Any = [("project_id", ASCENDING), *((path, TEXT) for path in _PATHS)]
    await databases[MONGODB].calls.create_index(text, name=MONGODB, default_language="none")
    spent = await _write(databases, count, clock)
    wall, cpu, own = time.perf_counter(), clock(), time.process_time()
    await TextSearchStore(databases[SEGMENTS]).work(PROJECT, pause=0)
    later = {"wall": time.perf_counter() - wall, "mongod": clock() - cpu, "python": time.process_time() - own}
    sizes = await _sizes(databases)
    texts = await _texts(databases[NONE])
    found = {}
    for number, name in enumerate(databases):
        is_later = name == SEGMENTS
        found[name] = {
            "calls a second": count / spent[name][0],
            "MongoDB's CPU ms a call": 1000 * spent[name][1] / count,
            "later, ms a call": 1000 * later["wall"] / count if is_later else 0,
            "later, MongoDB's CPU ms": 1000 * later["mongod"] / count if is_later else 0,
            "later, LoomQL's CPU ms": 1000 * later["python"] / count if is_later else 0,
            "index MiB": sizes[name] / _MIB,
        }
        for what, sought in texts.items():
            if name == MONGODB:
                with MongoClient[dict[str, Any]](uri) as client:
                    found[name][f"{what} ms"] = _median_ms(client[f"bench_{number}"]["calls"], sought)
            else:
                found[name][f"{what} ms"] = await _searched(databases[name], sought)
    for database in databases.values():
        database.close()
    return found


async def _switch_on(database: Database) -> None:
    entity, _, project = PROJECT.partition("/")
    await ProjectsStore(database).ensure(entity, project)
    store = TextSearchStore(database)
    await store.set_index(PROJECT, is_on=True)
    await store.work(PROJECT)


async def _write(databases: dict[str, Database], count: int, clock: Clock) -> dict[str, tuple[float, float]]:
    """Write batches with each kind of index in turns, and return the seconds by wall clock and by the given clock."""
    spent = dict.fromkeys(databases, (0.0, 0.0))
    for batch in batches(count):
        for name, database in databases.items():
            wall, cpu = time.perf_counter(), clock()
            await CallsStore(database).write(batch)
            spent[name] = spent[name][0] + time.perf_counter() - wall, spent[name][1] + clock() - cpu
    return spent


async def _sizes(databases: dict[str, Database]) -> dict[str, float]:
    """Flush all data to disk and return the size of each index."""
    await databases[SEGMENTS].calls.database.client.admin.command("fsync")
    words = await databases[SEGMENTS].search_words.database.command("collStats", "search_words")
    text = await databases[MONGODB].calls.database.command("collStats", "calls")
    return {
        NONE: 0,
        SEGMENTS: words["storageSize"] + words["totalIndexSize"],
        MONGODB: text["indexSizes"][MONGODB],
    }


async def _texts(database: Database) -> dict[str, str]:
    """Return the searched texts: a rare word, a common word, two common words, and a phrase."""
    call = await database.calls.find_one({"project_id": PROJECT}, {"output": 1})
    assert call
    words = call["output"]["answer"].split()
    return {
        "a rare word": RARE_WORD,
        "a common word": words[0],
        "two common words": f"{words[0]} {words[1]}",
        "a phrase": f'"{words[0]} {words[1]} {words[2]}"',
    }


async def _searched(database: Database, text: str) -> float:
    store = TextSearchStore(database)
    samples = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        page = await store.page(PROJECT, text, PageRequest(), ["id"])
        samples.append(time.perf_counter() - began)
        if not page.rows:
            raise AssertionError(f"nothing was found of {text}")
        await asyncio.sleep(0)
    return 1000 * statistics.median(samples)


def _median_ms(calls: Any, text: str) -> float:
    words = text if text.startswith('"') else " ".join(f'"{word}"' for word in text.split())
    score = {"$meta": "textScore"}
    match = {"project_id": PROJECT, "visible": True, "$text": {"$search": words}}

    def ask() -> list[dict[str, Any]]:
        return list(calls.find(match, {"_id": 0, "id": 1, "score": score}).sort([("score", score)]).limit(101))

    return 1000 * statistics.median(_timed(ask) for _ in range(_ROUNDS))


def _timed(work: Callable[[], list[dict[str, Any]]]) -> float:
    began = time.perf_counter()
    if not work():
        raise AssertionError("nothing was found")
    return time.perf_counter() - began
