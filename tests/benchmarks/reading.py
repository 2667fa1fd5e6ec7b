"""Benchmarks of reads: LoomQL's server, the floor, and the same server with stock Strawberry, in turns."""

from contextlib import ExitStack
from itertools import repeat

from tests.benchmarks.bench import MANY, Bench, row_of
from tests.benchmarks.reads import Read, cursor_request, decoded, deep_page, first_page, reads, rows_of
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.sides import Connection, Floor, Server, Side, measure


def measure_reads(bench: Bench, count: int, depth: int) -> Section:
    """Measure every case of reads on a stock of `count` calls."""
    with Connection(bench.compiled.url) as connection:
        cursor = _cursor(connection, depth)
        cases = [case for case in reads(count, cursor, depth) if bench.wants(case.name)]
        for case in cases:
            check(bench, connection, case)
    section = {case.name: measure_read(bench, case) for case in cases}
    [many] = [case for case in reads(count, cursor, depth) if case.name == "list 50, 22 fields"]
    name = f"list 50, 22 fields, {MANY} clients"
    if bench.wants(name):
        section[name] = measure_read(bench, many, MANY)
    name = f"page at {depth:,} by cursor / first page"
    if bench.wants(name):
        section[name] = _against(bench, deep_page(cursor, depth), first_page(), Must("ratio", 1.3))
    return section


def _cursor(connection: Connection, depth: int) -> str:
    cursor: str = connection.ask(cursor_request(depth))["calls"]["pageInfo"]["endCursor"]
    return cursor


def check(bench: Bench, connection: Connection, case: Read) -> None:
    """Assert that the server and the floor return equal values."""
    found = rows_of(connection.ask(case.body))

    async def find() -> bytes:
        return await case.floor(bench.nested)

    if found != decoded(bench.runner.run(find())) or not found:
        raise AssertionError(f"{case.name}: the server and the floor differ, or nothing was found")


def measure_read(bench: Bench, case: Read, clients: int = 1) -> Row:
    """Measure one case; with several clients, the time is the total divided by the number of requests."""

    async def work(_: object) -> object:
        return await case.floor(bench.nested)

    with ExitStack() as stack:
        sides: list[Side] = [Floor(bench.runner, work, clients=clients)]
        for server in (bench.compiled, bench.stock):
            connections = [stack.enter_context(connection) for connection in server.connections(clients)]
            sides.append(Server(connections, repeat([case.body]), server.clock))
        floor, loomql, stock = measure(sides, bench.rounds, clients)
    row = row_of(floor, loomql, stock)
    if case.beyond:
        return row.held_to(case.beyond, loomql.cpu_milliseconds - floor.cpu_milliseconds)
    return row.held_to(case.must if clients == 1 else None, row.ratio)


def _against(bench: Bench, case: Read, other: Read, must: Must) -> Row:
    """Compare LoomQL's times for two reads."""
    with ExitStack() as stack:
        sides: list[Side] = []
        for read in (other, case):
            connection = stack.enter_context(Connection(bench.compiled.url))
            sides.append(Server([connection], repeat([read.body]), bench.compiled.clock))
        first, deep = measure(sides, bench.rounds)
    ratio = deep.milliseconds / first.milliseconds
    return Row(loomql_ms=deep.milliseconds, loomql_cpu_ms=deep.cpu_milliseconds, ratio=ratio).held_to(must, ratio)
