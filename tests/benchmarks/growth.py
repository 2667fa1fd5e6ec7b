"""Benchmarks of growth: the same list on more and more calls, and memory during a read of all calls."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Final

from tests.benchmarks.loading import load_copies
from tests.benchmarks.reads import FULL, newest, stream_request
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.servers import LoomQL, server
from tests.benchmarks.sides import Connection, Server, Side, measure

COUNTS: Final = (10_000, 100_000, 1_000_000)
QUICK_COUNTS: Final = (10_000, 20_000)

_LARGEST_RATIO: Final = Must("time / that on 10,000", 1.3)
_MEMORY: Final = Must("MiB", 300)


def measure_growth(folder: Path, uri: str, counts: tuple[int, ...], rounds: int) -> Section:
    """Measure the list of the newest 50 on databases of each size, and the memory of a read of the largest."""
    for count in counts:
        load_copies(uri, _name(count), count)
    section: Section = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(server(folder, uri, _name(count))) for count in counts]
        case = newest("", 50, FULL)
        sides: list[Side] = []
        for started in servers:
            connection = stack.enter_context(Connection(started.url))
            sides.append(Server([connection], repeat([case.body]), started.clock))
        measured = measure(sides, 2 * rounds)
        for count, found in zip(counts, measured, strict=True):
            ratio = found.milliseconds / measured[0].milliseconds
            section[f"list 50 newest, 22 fields, on {count:,} calls"] = Row(
                loomql_ms=found.milliseconds, loomql_cpu_ms=found.cpu_milliseconds
            ).held_to(_LARGEST_RATIO if count == counts[-1] else None, ratio)
        section[f"{counts[-1]:,} calls by cursor in pages of 1,000"] = stream_all(servers[-1], counts[-1])
    return section


def stream_all(started: LoomQL, count: int) -> Row:
    """Read every call page by page; the row's time is that of a page."""
    began, pages = started.clock(), 0
    with Connection(started.url) as connection:
        ids = 0
        for nodes in _pages(connection):
            ids, pages = ids + nodes, pages + 1
    if ids != count:
        raise AssertionError(f"{ids:,} of {count:,} calls came")
    row = Row(loomql_cpu_ms=1000 * (started.clock() - began) / pages)
    return row.held_to(_MEMORY, started.most_memory_mib())


def _pages(connection: Connection) -> Iterator[int]:
    after, is_more = None, True
    while is_more:
        listed = connection.ask(stream_request(after))["calls"]
        after, is_more = listed["pageInfo"]["endCursor"], listed["pageInfo"]["hasNextPage"]
        yield len(listed["nodes"])


def _name(count: int) -> str:
    return f"growth_{count}"
