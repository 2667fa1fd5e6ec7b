"""What rows of calls have beside what is stored with the calls: the size of a trace, the prices of what was used."""

from asyncio import Future
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from stores.calls.fields import TOTAL_COST, TOTAL_STORAGE_SIZE
from stores.calls.trace_sizes import add_total_sizes
from stores.costs.store import costs_beside, prices_of_models
from stores.database import Database, Document
from stores.paging import Row

Costs = Future[list[Document]]
"""Of a project, under way."""

PRICES: Final = "prices"
"""Under this name a row that has usage has the `Prices` of its models."""

_PRICED: Final = {"costs", TOTAL_COST.name}


def needs_computed_fields(wanted: Collection[str]) -> bool:
    """Whether any of the wanted fields needs more than what is stored with a call."""
    return not {TOTAL_STORAGE_SIZE, *_PRICED}.isdisjoint(wanted)


@contextmanager
def prefetch_costs(database: Database, project_id: str, wanted: Collection[str]) -> Iterator[Costs | None]:
    """The project's costs, for `add_rest`, if wanted fields need them: read while the rows are found in the block."""
    if _PRICED.isdisjoint(wanted):
        yield None
        return
    costs = costs_beside(database, project_id)
    try:
        yield costs
    finally:
        costs.cancel()


async def add_computed_fields(
    database: Database, project_id: str, rows: Sequence[Row], wanted: Collection[str], costs: Costs | None = None
) -> None:
    """Add to the rows of a project what wanted fields need beside what is stored; a command for each kind."""
    if TOTAL_STORAGE_SIZE in wanted:
        await add_total_sizes(database.calls, project_id, rows)
    if not _PRICED.isdisjoint(wanted):
        await _add_prices(database, project_id, [row for row in rows if row.get("usage")], costs)


async def _add_prices(database: Database, project_id: str, rows: Sequence[Row], costs: Costs | None) -> None:
    models = {entry["model"] for row in rows for entry in row["usage"]}
    if models:
        prices = await prices_of_models(database, project_id, models, await costs if costs else None)
        for row in rows:
            row[PRICES] = prices
