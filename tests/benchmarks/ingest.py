"""Benchmarks of writes: batches over HTTP, compared with the driver writing the same documents as durably."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from pymongo import UpdateOne

from stores import times
from stores.calls import CallEnd, CallStart
from stores.calls.documents import KEY_FIELDS, shared_columns, stored_part, whole_call
from stores.database import Document
from tests.benchmarks.bench import MANY, Bench, row_of
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.sides import Floor, Server, Side, measure, request
from tests.benchmarks.stock import batches

CREATE_BATCH: Final = """mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { res {
  ... on CallStartRes { id traceId } ... on CallEndRes { id } } } }"""
_ENOUGH: Final = 10_000_000

Pair = tuple[CallStart, CallEnd]
Written = tuple[list[Document], list[UpdateOne]]


@dataclass(frozen=True, slots=True)
class Case:
    """A case of writes: the batch size, starts and ends together or apart, and the number of concurrent clients."""

    name: str
    size: int
    apart: bool = False
    clients: int = 1
    must: Must | None = None


CASES: Final = (
    Case("ingest 1 whole call", 1),
    Case("ingest 100 whole calls", 100),
    Case("ingest 1,000 whole calls", 1000, must=Must("ratio", 2.5)),  # this is 0.4 of the floor's calls a second
    Case("ingest 1, start and end apart", 1, apart=True),
    Case("ingest 100, starts and ends apart", 100, apart=True),
    Case("ingest 1,000, starts and ends apart", 1000, apart=True),
    Case(f"ingest 100 whole calls, {MANY} clients", 100, clients=MANY),
)


def measure_ingest(bench: Bench) -> Section:
    """Measure every case of writes.

    A time is that of a batch, or of the batch of starts plus the batch of ends.
    """
    supplies = [pairs_of_stock() for _ in range(3)]  # each side writes the same calls
    return {case.name: _measure(bench, case, supplies) for case in CASES if bench.wants(case.name)}


def _measure(bench: Bench, case: Case, supplies: list[Iterator[Pair]]) -> Row:
    async def write(written: Written) -> None:
        documents, updates = written
        await bench.nested.insert_many(documents, ordered=False)
        if updates:
            await bench.nested.bulk_write(updates, ordered=False)

    with ExitStack() as stack:
        items = (documents_of(pairs, apart=case.apart) for pairs in cut(supplies[0], case.size))
        sides: list[Side] = [Floor(bench.runner, write, items, case.clients)]
        for server, supply in zip((bench.compiled, bench.stock), supplies[1:], strict=True):
            connections = [stack.enter_context(connection) for connection in server.connections(case.clients)]
            bodies = (bodies_of(pairs, apart=case.apart) for pairs in cut(supply, case.size))
            sides.append(Server(connections, bodies, server.clock))
        floor, loomql, stock = measure(sides, bench.rounds, case.clients)
    row = row_of(floor, loomql, stock, case.size)
    return row.held_to(case.must, row.ratio)


def pairs_of_stock() -> Iterator[Pair]:
    """Yield the start and the end of endless calls, equal in each run."""
    parts: Iterator[Any] = chain.from_iterable(batches(_ENOUGH))
    return zip(parts, parts, strict=True)


def cut(pairs: Iterator[Pair], size: int) -> Iterator[list[Pair]]:
    """Yield batches of calls."""
    while True:
        yield list(islice(pairs, size))


def bodies_of(pairs: list[Pair], *, apart: bool) -> list[bytes]:
    """Return the requests that write some calls: one with starts and ends alternating, or one of each."""
    starts, ends = [item_of(start) for start, _ in pairs], [item_of(end) for _, end in pairs]
    if apart:
        return [request(CREATE_BATCH, batch=starts), request(CREATE_BATCH, batch=ends)]
    return [request(CREATE_BATCH, batch=list(chain.from_iterable(zip(starts, ends, strict=True))))]


def documents_of(pairs: list[Pair], *, apart: bool) -> Written:
    """Return the floor's writes of the same calls: documents in LoomQL's form, and updates that end them if apart."""
    fields = [(stored_part(start.checked()).fields, stored_part(end).fields) for start, end in pairs]
    whole = [whole_call(start, None if apart else end) for start, end in fields]
    ends = [UpdateOne({"_id": end["_id"]}, {"$set": _ended(start, end)}) for start, end in fields] if apart else []
    return whole, ends


def _ended(start: Document, end: Document) -> Document:
    latency = (end["ended_at"] - start["started_at"]) // 1000
    size = start["start_size_bytes"] + end["end_size_bytes"]
    own = {
        name: value
        for name, value in end.items()
        if name not in (*KEY_FIELDS, "json") and (value is not None or name in end["json"])
    }
    texts = {f"json.{name}": text for name, text in end["json"].items()}
    return own | texts | shared_columns(start | end) | {"latency_ms": latency, "storage_size_bytes": size}


def item_of(part: CallStart | CallEnd) -> dict[str, Any]:
    """Return a start or an end as an item of a GraphQL batch."""
    return {"start": _start(part)} if isinstance(part, CallStart) else {"end": _end(part)}


def _start(start: CallStart) -> dict[str, Any]:
    return {
        "projectId": start.project_id,
        "id": start.id,
        "traceId": start.trace_id,
        "parentId": start.parent_id,
        "threadId": start.thread_id,
        "opName": start.op_name,
        "startedAt": times.to_text(start.started_at),
        "attributes": start.attributes,
        "inputs": start.inputs,
    }


def _end(end: CallEnd) -> dict[str, Any]:
    return {
        "projectId": end.project_id,
        "id": end.id,
        "endedAt": times.to_text(end.ended_at),
        "summary": end.summary,
        "exception": end.exception,
        "output": end.output,
    }
