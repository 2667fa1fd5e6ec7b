"""The servers and databases that the cases use, and the row that compares the three sides of a case."""

import asyncio
from dataclasses import dataclass
from typing import Final

from stores.database import Collection
from tests.benchmarks.report import Row
from tests.benchmarks.servers import LoomQL
from tests.benchmarks.sides import Measured

MANY: Final = 16
"""Number of clients in the cases with more than one."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers, the floor's collection and the options that the cases use."""

    compiled: LoomQL
    stock: LoomQL
    runner: asyncio.Runner
    nested: Collection
    rounds: int
    only: str = ""

    def wants(self, name: str) -> bool:
        """Return whether the options select the case."""
        return self.only in name


def row_of(floor: Measured, loomql: Measured, stock: Measured, units: int = 1) -> Row:
    """Compare the three sides in a row; `units` is the number of items that each run handles."""
    return Row(
        loomql_ms=loomql.milliseconds,
        floor_ms=floor.milliseconds,
        ratio=loomql.milliseconds / floor.milliseconds,
        loomql_cpu_ms=loomql.cpu_milliseconds,
        floor_cpu_ms=floor.cpu_milliseconds,
        stock_ms=stock.milliseconds,
        stock_cpu_ms=stock.cpu_milliseconds,
        stock_cpu_ratio=stock.cpu_milliseconds / loomql.cpu_milliseconds,
        a_second=1000 * units / loomql.milliseconds,
    )
