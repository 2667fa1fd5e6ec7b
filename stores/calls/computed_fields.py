"""Fields of call rows that are computed at read time: trace sizes, and the prices of used models."""

from asyncio import Future
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from stores.calls.fields import PRICES, TOTAL_COST, TOTAL_STORAGE_SIZE
from stores.calls.trace_sizes import add_total_sizes
from stores.costs.store import prices_of_models, start_reading_costs
from stores.database import Database, Document
from stores.paging import Row

Costs = Future[list[Document]]
"""A project's costs, being read."""

_PRICED_FIELDS: Final = {"costs", TOTAL_COST.name}


def needs_computed_fields(wanted: Collection[str]) -> bool:
    """Return True if a selected field needs more than the stored document."""
    return not {TOTAL_STORAGE_SIZE, *_PRICED_FIELDS}.isdisjoint(wanted)


@contextmanager
def prefetch_costs(database: Database, project_id: str, wanted: Collection[str]) -> Iterator[Costs | None]:
    """Start to read the project's costs for `add_computed_fields` if a selected field needs them; cancel on exit."""
    if _PRICED_FIELDS.isdisjoint(wanted):
        yield None
        return
    costs = start_reading_costs(database, project_id)
    try:
        yield costs
    finally:
        costs.cancel()


async def add_computed_fields(
    database: Database, project_id: str, rows: Sequence[Row], wanted: Collection[str], costs: Costs | None = None
) -> None:
    """Add the computed fields that the selected fields need to rows of one project; one command per kind."""
    if TOTAL_STORAGE_SIZE in wanted:
        await add_total_sizes(database.calls, project_id, rows)
    if not _PRICED_FIELDS.isdisjoint(wanted):
        await _add_prices(database, project_id, [row for row in rows if row.get("usage")], costs)


async def _add_prices(database: Database, project_id: str, rows: Sequence[Row], costs: Costs | None) -> None:
    models = {entry["model"] for row in rows for entry in row["usage"]}
    if models:
        prices = await prices_of_models(database, project_id, models, await costs if costs else None)
        for row in rows:
            row[PRICES] = prices
