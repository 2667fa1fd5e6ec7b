"""Usage summed up the call tree of a trace: each call's own usage, and that of its subtree.

A call's own usage is the reported usage if it reports only for itself, and nothing if it sums up. If the scope is
unclear (`stores.usage.entries`), it is the excess over the usage reported below it per model. It is all of it if the
call reports less than that, because a sum cannot be less than its parts. Classes are subtracted as in `own_usage`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores.aggregates.call_tree import Node, in_tree_order
from stores.aggregates.own_usage import COUNTS, TOKENS
from stores.aggregates.usage_totals import Tallies, Tally, add_to, merged, usage_row
from stores.concurrency.time_slices import cooperative
from stores.costs import Prices
from stores.errors import BadInputError
from stores.usage.classes import Side
from stores.usage.counts import PARTS, REQUESTS, added
from stores.usage.entries import OWN, SUM

Row = dict[str, Any]

MAX_ENTRIES: Final = 1_000_000
"""Limit on the models of all subtrees together; real traces have a few per call."""

USAGES: Final = ("own_usage", "total_usage")

ALWAYS_READ: Final = ("id", "parent_id", "status", "started_at")
USAGE_READ: Final = ("usage", "usage_scope")
"""Fields that rows need; those of USAGE_READ if one of `USAGES` is selected."""

_TOKENS: Final = [COUNTS.index(name) for name in TOKENS]
_SIDES: Final = {Side.INPUT: COUNTS.index("prompt_tokens"), Side.OUTPUT: COUNTS.index("completion_tokens")}

Classes = Mapping[str, int]

_Counts = dict[str, tuple[list[int], Classes]]
"""Counts by model, in the order of `COUNTS`, with the counts of classes."""

_NO_CLASSES: Final[Classes] = {}


@dataclass(slots=True)
class _ChildSums:
    """Sums over the children of a call, added one by one because there may be very many."""

    reported: _Counts = field(default_factory=dict)
    total: Tallies = field(default_factory=dict)
    calls: int = 0
    errors: int = 0

    def add(self, child: "_SubtreeSums") -> None:
        """Add the sums of a child, which include its subtree."""
        for model, numbers in child.reported.items():
            there = self.reported.get(model)
            self.reported[model] = _plus(there, numbers) if there else numbers
        add_to(self.total, child.total)
        self.calls += child.calls
        self.errors += child.errors


@dataclass(slots=True)
class _SubtreeSums:
    """Sums over a call and its subtree."""

    reported: _Counts
    own: Tallies
    total: Tallies
    calls: int
    errors: int


async def usage_tree(
    rows: Sequence[Row], wanted: Collection[str], prices: Prices | None, max_depth: int | None
) -> list[Row]:
    """Return the rows in tree order, down to a depth, with the selected `USAGES`.

    `rows` must be oldest first. Without prices there are no costs.

    Raises:
        BadInputError: the calls have too many different models.
    """
    ordered, rolled = await _sum_subtrees(rows, prices)
    shown = (node for node in ordered if max_depth is None or node.depth <= max_depth)
    return [row async for row in cooperative(_row(node, rolled[id(node)], wanted) for node in shown)]


async def usage_of_trace(rows: Sequence[Row], prices: Prices | None) -> Row:
    """Return the usage of a whole trace: the sum of the calls' own usage, as in `usage_tree`.

    Raises:
        BadInputError: the calls have too many different models.
    """
    ordered, rolled = await _sum_subtrees(rows, prices)
    return usage_row(merged(rolled[id(node)].total for node in ordered if not node.parent))


async def _sum_subtrees(rows: Sequence[Row], prices: Prices | None) -> tuple[list[Node], dict[int, _SubtreeSums]]:
    """Return the calls in tree order, and the sums of each subtree by `id()` of its node."""
    ordered = await in_tree_order(rows)
    rolled: dict[int, _SubtreeSums] = {}
    below: dict[int, _ChildSums] = {}
    entries = 0
    async for node in cooperative(reversed(ordered)):
        sums = rolled[id(node)] = _sum_subtree(node.row, below.pop(id(node), _ChildSums()), prices)
        if node.parent:
            below.setdefault(id(node.parent), _ChildSums()).add(sums)
        entries += len(sums.total)
        if entries > MAX_ENTRIES:
            raise BadInputError(
                f"the calls use so many models that their sums have more than {MAX_ENTRIES:,} entries, the limit; "
                "use callsAggregate grouped by MODEL",
                "trace_id",
            )
    return ordered, rolled


def _sum_subtree(row: Row, below: _ChildSums, prices: Prices | None) -> _SubtreeSums:
    mine = {
        entry["model"]: ([entry[count] for count in COUNTS], entry.get("classes", _NO_CLASSES))
        for entry in row.get("usage", ())
    }
    counts, reported = _own_and_reported(row.get("usage_scope"), mine, below.reported)
    own = {model: _tally(model, of_model, row["started_at"], prices) for model, of_model in counts.items()}
    return _SubtreeSums(
        reported,
        own,
        merged([own, below.total]),
        1 + below.calls,
        (row["status"] == "error") + below.errors,
    )


def _own_and_reported(scope: str | None, mine: _Counts, theirs: _Counts) -> tuple[_Counts, _Counts]:
    """Return the own usage of a call, and the usage that its subtree reports to the calls above."""
    if scope == SUM:
        return {}, theirs | mine
    own: _Counts = {}
    reported = dict(theirs)
    for model, numbers in mine.items():
        child_counts = theirs.get(model)
        if child_counts is None:
            own[model] = reported[model] = numbers
        elif scope == OWN or _cannot_be_sum(numbers[0], child_counts[0]):
            own[model], reported[model] = numbers, _plus(child_counts, numbers)
        else:
            reported[model] = numbers
            beyond = [a - b for a, b in zip(numbers[0], child_counts[0], strict=True)]
            classes = _classes_excess(beyond, numbers[1], child_counts[1])
            if any(beyond[position] for position in _TOKENS) or any(name in classes for name in REQUESTS):
                own[model] = [max(0, number) for number in beyond], classes
    return own, reported


def _cannot_be_sum(mine: list[int], theirs: list[int]) -> bool:
    """Return True if a call reports less than its children, so it cannot be their sum."""
    return any(mine[position] < theirs[position] for position in _TOKENS)


def _classes_excess(beyond: list[int], mine: Classes, theirs: Classes) -> Classes:
    """Return the positive counts of classes of a call minus those of its children."""
    if not mine:
        return mine
    counts = {name: mine.get(name, 0) - theirs.get(name, 0) for name in {**mine, **theirs}}
    requests = {name: counts.pop(name) for name in REQUESTS if name in counts}
    rests = [beyond[index] - sum(counts.get(name, 0) for name in PARTS[side]) for side, index in _SIDES.items()]
    if min(*rests, *counts.values()) < 0:
        counts = {}
    return {name: count for name, count in (counts | requests).items() if count > 0}


def _plus(some: tuple[list[int], Classes], more: tuple[list[int], Classes]) -> tuple[list[int], Classes]:
    return [a + b for a, b in zip(some[0], more[0], strict=True)], added(some[1], more[1])


def _tally(model: str, counted: tuple[list[int], Classes], started_at: int, prices: Prices | None) -> Tally:
    (prompt, completion, requests, total), classes = counted
    cost = None
    if prices:
        entry = {
            "model": model,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "requests": requests,
            "classes": classes,
        }
        cost = prices.exact_cost(entry, started_at)
    return Tally(prompt, completion, requests, total, total if cost is None else 0, cost, classes)


def _row(node: Node, rolled: _SubtreeSums, wanted: Collection[str]) -> Row:
    row = {name: value for name, value in node.row.items() if name not in USAGE_READ}
    row |= {
        "parent_id": node.parent.row["id"] if node.parent else None,
        "depth": node.depth,
        "num_calls": rolled.calls,
        "num_errors": rolled.errors,
    }
    if "own_usage" in wanted:
        row["own_usage"] = usage_row(rolled.own)
    if "total_usage" in wanted:
        is_same = rolled.total is rolled.own and "own_usage" in wanted
        row["total_usage"] = row["own_usage"] if is_same else usage_row(rolled.total)
    return row


def models_of(rows: Sequence[Row]) -> set[str]:
    """Return the models in the usage of rows."""
    return {entry["model"] for row in rows for entry in row.get("usage", ())}
