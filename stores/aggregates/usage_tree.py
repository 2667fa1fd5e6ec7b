"""Usage rolled up the calls of a trace: what each used itself, and what it used with all that descends from it.

A call's own usage is what it reports, if it reports for itself alone; nothing, if it sums up; and where that is unclear
(see `stores.calls.usage_scopes`), what it reports of each model beyond what is reported below it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.aggregates.own_usage import COUNTS
from stores.aggregates.tallies import Tallies, Tally, merged, usage_row
from stores.aggregates.trees import Node, in_tree_order
from stores.calls.usage_scopes import OWN, SUM
from stores.costs import Prices
from stores.errors import BadInputError
from stores.turns import in_turns

Row = dict[str, Any]

MAX_ENTRIES: Final = 1_000_000
"""Models of all calls together, each with all that is below it; real traces have a few of each."""

USAGES: Final = ("own_usage", "total_usage")

ALWAYS_READ: Final = ("id", "parent_id", "status", "started_at")
USAGE_READ: Final = ("usage", "usage_scope")
"""What rows are to have, the latter where one of `USAGES` is wanted."""

_Counts = dict[str, list[int]]
"""Of each model the counts in the order of `COUNTS`."""


@dataclass(slots=True)
class _Rolled:
    """What is known of a call and all below it."""

    reported: _Counts
    own: Tallies
    total: Tallies
    calls: int
    errors: int


async def usage_tree(
    rows: Sequence[Row], wanted: Collection[str], prices: Prices | None, max_depth: int | None
) -> list[Row]:
    """The rows in the order of their tree, down to a depth, with the wanted ones of `USAGES`.

    Rows come oldest first. Without prices there are no costs.

    Raises:
        BadInputError: the calls name too many different models.
    """
    ordered = await in_tree_order(rows)
    rolled: dict[int, _Rolled] = {}
    entries = 0
    async for node in in_turns(reversed(ordered)):
        found = rolled[id(node)] = _roll(node, [rolled[id(child)] for child in node.children], prices)
        entries += len(found.total)
        if entries > MAX_ENTRIES:
            raise BadInputError(
                f"its calls name so many models that their sums take more than {MAX_ENTRIES:,} entries, the limit; "
                "ask callsAggregate by MODEL",
                "trace_id",
            )
    shown = (node for node in ordered if max_depth is None or node.depth <= max_depth)
    return [row async for row in in_turns(_row(node, rolled[id(node)], wanted) for node in shown)]


def _roll(node: Node, below: list[_Rolled], prices: Prices | None) -> _Rolled:
    row = node.row
    theirs = _summed([child.reported for child in below])
    mine = {entry["model"]: [entry[count] for count in COUNTS] for entry in row.get("usage", ())}
    scope = row.get("usage_scope")
    reported = theirs | mine if scope != OWN else _summed([theirs, mine])
    counts = {} if scope == SUM else mine if scope == OWN else _beyond(mine, theirs)
    own = {model: _tally(model, of_model, row["started_at"], prices) for model, of_model in counts.items()}
    return _Rolled(
        reported,
        own,
        merged([own, *(child.total for child in below)]),
        1 + sum(child.calls for child in below),
        (row["status"] == "error") + sum(child.errors for child in below),
    )


def _summed(several: list[_Counts]) -> _Counts:
    some = [counts for counts in several if counts]
    if len(some) < 2:  # noqa: PLR2004 -- one is itself
        return some[0] if some else {}
    found: _Counts = {}
    for counts in some:
        for model, numbers in counts.items():
            there = found.get(model)
            found[model] = [a + b for a, b in zip(there, numbers, strict=True)] if there else numbers
    return found


def _beyond(mine: _Counts, theirs: _Counts) -> _Counts:
    """What is reported beyond what others do; nothing of a model that is all theirs."""
    found = {
        model: [max(0, a - b) for a, b in zip(numbers, theirs[model], strict=True)] if model in theirs else numbers
        for model, numbers in mine.items()
    }
    return {model: numbers for model, numbers in found.items() if any(numbers)}


def _tally(model: str, counts: list[int], started_at: int, prices: Prices | None) -> Tally:
    prompt, completion, requests, total = counts
    cost = None
    if prices:
        cost = prices.cost({"model": model, "prompt_tokens": prompt, "completion_tokens": completion}, started_at)
    return Tally(prompt, completion, requests, total, total if cost is None else 0, cost)


def _row(node: Node, rolled: _Rolled, wanted: Collection[str]) -> Row:
    found = {name: value for name, value in node.row.items() if name not in USAGE_READ}
    found |= {
        "parent_id": node.parent.row["id"] if node.parent else None,
        "depth": node.depth,
        "num_calls": rolled.calls,
        "num_errors": rolled.errors,
    }
    if "own_usage" in wanted:
        found["own_usage"] = usage_row(rolled.own)
    if "total_usage" in wanted:
        is_same = rolled.total is rolled.own and "own_usage" in wanted
        found["total_usage"] = found["own_usage"] if is_same else usage_row(rolled.total)
    return found


def models_of(rows: Sequence[Row]) -> set[str]:
    """The models that rows name."""
    return {entry["model"] for row in rows for entry in row.get("usage", ())}
