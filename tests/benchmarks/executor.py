"""Benchmarks of the executor in this process: both executors turn the same rows into a page of GraphQL."""

import asyncio
import gc
import time
from copy import copy
from dataclasses import replace
from typing import Any, Final

import orjson

from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.calls import CallsStore
from stores.database import Database
from stores.paging import Page
from tests.benchmarks.reads import FULL, SLIM, newest
from tests.benchmarks.report import Must, Row, Section
from tests.benchmarks.sides import Measured

_SIZE: Final = 1000
_TIMES: Final = 3


class OnePage(CallsStore):
    """A store that returns the same page for every query."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.kept: Page | None = None

    async def page(self, *arguments: Any, **options: Any) -> Page:
        """Return the first page that was found, with copies of its rows, because resolvers may cache values in them."""
        if self.kept is None:
            self.kept = await super().page(*arguments, **options)
        return replace(self.kept, rows=[copy(row) for row in self.kept.rows])


def measure_executor(uri: str, database: str, rounds: int, only: str) -> Section:
    """Measure the CPU time of a page of 1,000 calls without database and HTTP."""
    section: Section = {}
    for name, names, must in (
        ("executor alone, list 1,000, slim", SLIM, None),
        ("executor alone, list 1,000, 22 fields", FULL, Must("stock/LoomQL CPU", 10, at_least=True)),
    ):
        if only in name:
            body = orjson.loads(newest(name, _SIZE, names).body)
            ours, stock = asyncio.run(_measure(uri, database, body, rounds))
            ratio = stock.cpu_milliseconds / ours.cpu_milliseconds
            section[name] = Row(
                loomql_ms=ours.milliseconds,
                loomql_cpu_ms=ours.cpu_milliseconds,
                stock_ms=stock.milliseconds,
                stock_cpu_ms=stock.cpu_milliseconds,
                stock_cpu_ratio=ratio,
            ).held_to(must, ratio)
    return section


async def _measure(uri: str, name: str, body: dict[str, Any], rounds: int) -> list[Measured]:
    database = Database.open(uri, name)
    context = Context(Stores(database, calls=OnePage(database)))
    schemas = [build_schema(Limits(), compiled=compiled) for compiled in (True, False)]
    measured = [Measured(), Measured()]
    answers = []
    for schema in schemas:
        result = await schema.execute(body["query"], variable_values=body["variables"], context_value=context)
        answers.append(orjson.dumps(result.data))
    if answers[0] != answers[1] or len(orjson.loads(answers[0])["calls"]["nodes"]) != _SIZE:
        raise AssertionError("the two executors differ, or there are too few calls")
    for _ in range(rounds):
        for schema, found in zip(schemas, measured, strict=True):
            gc.collect()  # no side pays for the garbage of the other
            for _ in range(_TIMES):
                wall, cpu = time.perf_counter(), time.process_time()
                await schema.execute(body["query"], variable_values=body["variables"], context_value=context)
                found.walls.append(time.perf_counter() - wall)
                found.cpu_seconds += time.process_time() - cpu
                found.times += 1
    database.close()
    return measured
