"""Model usage of runs, including all calls below them."""

from collections.abc import Mapping
from decimal import Decimal

from stores.aggregates import AggregatesStore, GroupBy, Grouping
from stores.aggregates.usage_tree import Tallies, Tally, usage_row
from stores.calls import CallsFilter
from stores.costs import CostsStore
from stores.costs.pricing import exact
from stores.database import Database, Document
from stores.paging import Row
from stores.usage.counts import FIELDS, STORED
from stores.usage.entries import SUM

_COUNTS = frozenset(
    {"prompt_tokens", "completion_tokens", "requests", "total_tokens", "cost", "unpriced_tokens", *FIELDS.values()}
)

USAGE = ("trace_id", "parent_id", "started_at", "usage", "usage_scope")
"""Paths of a run's call that `usage_of_run` needs."""


async def usage_of_run(database: Database, project_id: str, run: Document) -> Row:
    """Return the usage of a run over all models, and under `models` of each model.

    The run's own summary is used if its scope is SUM. A run that is a root call without such a summary gets the sum of
    its trace, even while it runs. That sum also replaces a summary that hides price tiers of single requests.
    """
    is_trace = run.get("parent_id") is None
    if is_trace and run.get("usage_scope") != SUM:
        return usage_row(await _usage_of_trace(database, project_id, run["trace_id"]))
    usage, started_at = run.get("usage", ()), run["started_at"]
    models = project_id, tuple(sorted(entry["model"] for entry in usage))
    prices = (await CostsStore(database).prices([models]))[models]
    if is_trace and prices.hides_tiers(usage, started_at):
        return usage_row(await _usage_of_trace(database, project_id, run["trace_id"]))
    tallies = {}
    for entry in usage:
        cost = prices.exact_cost(entry, started_at)
        unpriced = entry["total_tokens"] if cost is None else 0
        tallies[entry["model"]] = _tally(entry, unpriced, cost, entry.get("classes", {}))
    return usage_row(tallies)


async def _usage_of_trace(database: Database, project_id: str, trace_id: str) -> Tallies:
    in_trace = CallsFilter(trace_ids=[trace_id])
    groups = await AggregatesStore(database).calls(project_id, Grouping((GroupBy.MODEL,)), _COUNTS, in_trace)
    tallies = {}
    for row in groups.rows:
        if row["model"] is not None:
            cost = None if row["cost"] is None else exact(row["cost"])
            classes = {name: count for name in STORED if (count := row[FIELDS[name]])}
            tallies[row["model"]] = _tally(row, row["unpriced_tokens"], cost, classes)
    return tallies


def _tally(counts: Row, unpriced: int, cost: Decimal | None, classes: Mapping[str, int]) -> Tally:
    prompt, completion, total = counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]
    return Tally(prompt, completion, counts["requests"], total, unpriced, cost, classes)
