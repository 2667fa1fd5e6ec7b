"""Benchmarks of daily questions about more calls than MongoDB's cache can hold, beside ClickHouse.

A server over HTTP and ClickHouse in this process answer each question about the same calls. The answers must be equal
before both are measured, in turns, on two numbers of calls.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any, Final

import bson
from pymongo import MongoClient

from app.http.connections import PROTOBUF
from stores.database import Document
from stores.hours import state_key
from stores.migrations import schema_version
from tests.app.command import eventually
from tests.benchmarks import clickhouse, floor
from tests.benchmarks.clickhouse import ClickHouse, Table
from tests.benchmarks.questions import Question, Rows, parameters, questions
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.servers import LoomQL, server
from tests.benchmarks.sides import Connection, Floor, Server, Side, measure, request
from tests.benchmarks.spans import PRICES, PROJECT, SPANS, Copies, Traces, converted, load, request_of

SIZES: Final = (100_000, 1_000_000)
QUICK_SIZES: Final = (8_000, 40_000)
CACHE_GB: Final = 0.25
"""The smallest cache that MongoDB accepts, in GiB."""
INGEST: Final = "ingest 1,000 spans"

_INGEST: Final = "scale_ingest"
_OTLP: Final = {"Content-Type": PROTOBUF, "project_id": PROJECT}
PATIENT: Final = {"LOOMQL_QUERY_TIMEOUT_SECONDS": "300"}
"""Settings of the servers: a slow answer is measured, too."""
_PREPARED_SECONDS: Final = 3_600
_TRACES_AT_ONCE: Final = 125
_INDEX_BYTES: Final = Must("bytes", 600)
_NOTHING: Final[tuple[Rows, ...]] = ([], [(0,)])
_FIRST_DAY: Final = "1970-01-01T00:00:00Z"
_NEW_PRICES: Final = """mutation ($project: ID!, $costs: [CostCreateInput!]!) {
  costCreate(projectId: $project, costs: $costs) { ids { id } } }"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A number of calls in a database and in ClickHouse, which is None if it is not installed."""

    traces: Traces
    copies: Copies
    database: str
    table: Table | None


def measure_scale(folder: Path, uri: str, sizes: tuple[int, int], rounds: int, only: str = "") -> Section:
    """Load both numbers of calls, compare the answers, and measure them on the larger number, with their growth.

    Raises:
        AssertionError: the answers differ, or nothing was found.
    """
    section: Section = {}
    with ExitStack() as stack:
        peer = stack.enter_context(ClickHouse(folder)) if clickhouse.IS_INSTALLED else None
        both = [loaded(uri, number, peer) for number in sizes]
        started = [stack.enter_context(server(folder, uri, size.database, PATIENT)) for size in both]
        servers = [prepared(loomql, uri, size) for loomql, size in zip(started, both, strict=True)]
        runner = stack.enter_context(asyncio.Runner())
        for pair in zip(*(questions(size.traces) for size in both), strict=True):
            if only in pair[0].name:
                asked = [Asked(*each) for each in zip(pair, servers, both, strict=True)]
                section[pair[0].name] = _measure(asked, runner, rounds)
        if not only:
            section |= _sizes(uri, both[-1])
            section |= _measure_ingest(folder, uri, servers[-1], both[-1], rounds)
    return section


def loaded(uri: str, number: int, peer: ClickHouse | None) -> Loaded:
    """Load a number of calls into a database of their own, and into ClickHouse."""
    traces, database = Traces(number // SPANS), f"scale_{number}"
    documents = asyncio.run(converted(uri, f"{database}_spans", traces, traces.templates))
    copies = Copies(traces, documents, clickhouse.row_of)
    table = Table(peer, database) if peer else None
    asyncio.run(load(uri, database, traces, copies, table.add if table else lambda _: None))
    if table:
        table.settle()
    return Loaded(traces, copies, database, table)


def prepared(loomql: LoomQL, uri: str, size: Loaded) -> LoomQL:
    """Return the server once it has prepared the calls that it found, and stored their costs at new prices."""
    costs = [
        {"llmId": model, "promptTokenCost": prompt, "completionTokenCost": completion, "effectiveDate": _FIRST_DAY}
        for model, (prompt, completion) in PRICES.items()
    ]
    with MongoClient[Document](uri) as client, Connection(loomql.url) as connection:
        database = client[size.database]
        _wait_for(lambda: _is_migrated(database) and _is_settled(database))
        before = database["hour_marks"].find_one(state_key(PROJECT)) or {}
        connection.ask(request(_NEW_PRICES, project=PROJECT, costs=costs))
        _wait_for(lambda: _is_settled(database) and _is_priced(database, before))
    return loomql


def _wait_for(is_prepared: Callable[[], bool]) -> None:
    if not eventually(is_prepared, _PREPARED_SECONDS):
        raise AssertionError("the server did not prepare the calls in time")


def _is_priced(database: Any, before: Document) -> bool:
    """Return whether the costs of all totals are those of new prices, given the state before these."""
    state = database["hour_marks"].find_one(state_key(PROJECT)) or {}
    pricing = state.get("pricing")
    return bool(pricing != before.get("pricing") and pricing == state.get("prices"))


def _is_migrated(database: Any) -> bool:
    latest = {"_id": schema_version.VERSION, "number": schema_version.LATEST}
    return database["upgrades"].find_one(latest) is not None


def _is_settled(database: Any) -> bool:
    """Return whether no hour is marked as changed, and no total of a thread is due."""
    marks = [*database["hour_marks"].find({"project_id": PROJECT})]
    return [mark.get("ready") for mark in marks] == [True] and "live_until" not in marks[0]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about one number of calls."""

    question: Question
    loomql: LoomQL
    size: Loaded

    def by_sql(self, table: Table) -> list[list[Any]]:
        """Return ClickHouse's rows."""
        return [row for sql in self.question.sql for row in table.ask(sql, **parameters(self.size.traces))]

    def check(self, connection: Connection) -> None:
        """Assert that LoomQL found something, and the rows of ClickHouse."""
        found = self.question.rows(connection.ask(self.question.body))
        if found in _NOTHING:
            raise AssertionError(f"{self.question.name}: LoomQL found nothing")
        expected = self.by_sql(self.size.table) if self.size.table else found
        if not _equal(found, expected, self.question.error):
            pairs = zip(found, expected, strict=False)
            differing = next((pair for pair in pairs if not _equal(*pair, self.question.error)), "none")
            numbers = f"{len(found):,} and {len(expected):,} rows"
            raise AssertionError(f"{self.question.name}: LoomQL and ClickHouse differ, {numbers}: {differing}")


def _equal(found: Any, expected: Any, error: float) -> bool:
    """Return whether two values are equal, except for a relative error of numbers."""
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(_equal(*pair, error) for pair in zip(found, expected, strict=True))
    if isinstance(expected, int | float) and found is not None:
        return math.isclose(found, expected, rel_tol=error)
    return bool(found == expected)


def _measure(asked: Sequence[Asked], runner: asyncio.Runner, rounds: int) -> Row:
    question = asked[-1].question
    with ExitStack() as stack:
        sides: list[Side] = []
        for each in asked:
            connection = stack.enter_context(Connection(each.loomql.url))
            each.check(connection)
            sides.append(Server([connection], repeat([each.question.body]), each.loomql.clock))
        sides += [Floor(runner, _asking(each, each.size.table)) for each in asked if each.size.table]
        small, large, *peers = measure(sides, rounds)
    row = Row(loomql_ms=large.milliseconds, loomql_cpu_ms=large.cpu_milliseconds)
    row.growth = large.milliseconds / small.milliseconds
    if peers:
        row.floor_ms, row.floor_cpu_ms = peers[-1].milliseconds, peers[-1].cpu_milliseconds
        row.ratio = large.milliseconds / peers[-1].milliseconds
    return row.held_to(question.must, row.ratio).held_to(question.growth, row.growth)


def _asking(asked: Asked, table: Table) -> Any:
    async def work(_: object) -> object:
        return asked.by_sql(table)

    return work


def _sizes(uri: str, size: Loaded) -> Section:
    """Measure the bytes on disk for each call, of everything in the database of the calls."""
    with MongoClient[Document](uri) as client:
        client.admin.command("fsync")
        found = client[size.database].command("dbStats")
    calls = size.traces.count * SPANS
    section = {
        "bytes of indexes, per call": Row().held_to(_INDEX_BYTES, found["indexSize"] / calls),
        "bytes of compressed documents, per call": Row(seen=found["storageSize"] / calls),
        "bytes of documents, per call": Row(seen=found["dataSize"] / calls),
    }
    if size.table:
        section["bytes of ClickHouse, per call"] = Row(seen=size.table.size_bytes() / calls)
    return section


def _measure_ingest(folder: Path, uri: str, loomql: LoomQL, size: Loaded, rounds: int) -> Section:
    """Measure OTLP requests of 1,000 spans, to an empty database beside the driver, and to the one with many calls."""
    floor.index_nested(uri, _INGEST)
    copies, new = size.copies, size.traces.count

    def documents(first: int) -> list[Document]:
        return [bson.decode(call) for number in range(first, first + _TRACES_AT_ONCE) for call, _ in copies.of(number)]

    def requests() -> Iterator[list[bytes]]:
        return ([request_of(size.traces, range(at, at + _TRACES_AT_ONCE))] for at in count(new, _TRACES_AT_ONCE))

    with ExitStack() as stack:
        empty = stack.enter_context(server(folder, uri, _INGEST))
        runner, nested = stack.enter_context(floor.opened(uri, _INGEST))
        sides: list[Side] = [Floor(runner, nested.insert_many, map(documents, count(new, _TRACES_AT_ONCE)))]
        for each in (empty, loomql):
            connection = stack.enter_context(Connection(each.spans_url, _OTLP))
            sides.append(Server([connection], requests(), each.clock))
        driver, to_none, to_many = measure(sides, rounds)
    spans = _TRACES_AT_ONCE * SPANS
    with MongoClient[Document](uri) as client:
        if client[_INGEST]["calls"].count_documents({}) != client[_INGEST]["nested"].count_documents({}):
            raise AssertionError("the server rejected spans")
    return {
        f"{INGEST}, to an empty database; the floor is the driver": Row(
            loomql_ms=to_none.milliseconds,
            loomql_cpu_ms=to_none.cpu_milliseconds,
            floor_ms=driver.milliseconds,
            floor_cpu_ms=driver.cpu_milliseconds,
            ratio=to_none.milliseconds / driver.milliseconds,
            a_second=1000 * spans / to_none.milliseconds,
        ),
        f"{INGEST}, beside {size.traces.count * SPANS:,} calls": Row(
            loomql_ms=to_many.milliseconds,
            loomql_cpu_ms=to_many.cpu_milliseconds,
            growth=to_many.milliseconds / to_none.milliseconds,
            a_second=1000 * spans / to_many.milliseconds,
        ),
    }
