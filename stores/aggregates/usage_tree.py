"""Usage rolled up the calls of a trace: what each used itself, and what it used with all that descends from it.

A call's own usage is what it reports, if it reports for itself alone; nothing, if it sums up; and where that is unclear
(see `stores.usage.scopes`), what it reports of each model beyond what is reported below it: all of it where it
reports less than they do, since no sum is below its parts. Classes of tokens are subtracted as `own_usage` does it.
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
from stores.usage.scopes import OWN, SUM

Row = dict[str, Any]

MAX_ENTRIES: Final = 1_000_000
"""Models of all calls together, each with all that is below it; real traces have a few of each."""

USAGES: Final = ("own_usage", "total_usage")

ALWAYS_READ: Final = ("id", "parent_id", "status", "started_at")
USAGE_READ: Final = ("usage", "usage_scope")
"""What rows are to have, the latter where one of `USAGES` is wanted."""

_TOKENS: Final = [COUNTS.index(name) for name in TOKENS]
_SIDES: Final = {Side.INPUT: COUNTS.index("prompt_tokens"), Side.OUTPUT: COUNTS.index("completion_tokens")}

Classes = Mapping[str, int]

_Counts = dict[str, tuple[list[int], Classes]]
"""Of each model the counts in the order of `COUNTS`, and those of classes."""

_NO_CLASSES: Final[Classes] = {}


@dataclass(slots=True)
class _Below:
    """What is known of the calls below one, gathered one by one: it may have very many children."""

    reported: _Counts = field(default_factory=dict)
    total: Tallies = field(default_factory=dict)
    calls: int = 0
    errors: int = 0

    def add(self, child: "_Rolled") -> None:
        """Add a child, which has all that is below it in it."""
        for model, numbers in child.reported.items():
            there = self.reported.get(model)
            self.reported[model] = _plus(there, numbers) if there else numbers
        add_to(self.total, child.total)
        self.calls += child.calls
        self.errors += child.errors


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
    ordered, rolled = await _rolled_up(rows, prices)
    shown = (node for node in ordered if max_depth is None or node.depth <= max_depth)
    return [row async for row in cooperative(_row(node, rolled[id(node)], wanted) for node in shown)]


async def usage_of_trace(rows: Sequence[Row], prices: Prices | None) -> Row:
    """What all calls of a trace used together: the sum of their own usage, as `usage_tree` tells it.

    Raises:
        BadInputError: the calls name too many different models.
    """
    ordered, rolled = await _rolled_up(rows, prices)
    return usage_row(merged(rolled[id(node)].total for node in ordered if not node.parent))


async def _rolled_up(rows: Sequence[Row], prices: Prices | None) -> tuple[list[Node], dict[int, _Rolled]]:
    """The calls in the order of their tree, and by the identity of each what is known of it and all below it."""
    ordered = await in_tree_order(rows)
    rolled: dict[int, _Rolled] = {}
    below: dict[int, _Below] = {}
    entries = 0
    async for node in cooperative(reversed(ordered)):
        found = rolled[id(node)] = _roll(node.row, below.pop(id(node), _Below()), prices)
        if node.parent:
            below.setdefault(id(node.parent), _Below()).add(found)
        entries += len(found.total)
        if entries > MAX_ENTRIES:
            raise BadInputError(
                f"its calls name so many models that their sums take more than {MAX_ENTRIES:,} entries, the limit; "
                "ask callsAggregate by MODEL",
                "trace_id",
            )
    return ordered, rolled


def _roll(row: Row, below: _Below, prices: Prices | None) -> _Rolled:
    mine = {
        entry["model"]: ([entry[count] for count in COUNTS], entry.get("classes", _NO_CLASSES))
        for entry in row.get("usage", ())
    }
    counts, reported = _settled(row.get("usage_scope"), mine, below.reported)
    own = {model: _tally(model, of_model, row["started_at"], prices) for model, of_model in counts.items()}
    return _Rolled(
        reported,
        own,
        merged([own, below.total]),
        1 + below.calls,
        (row["status"] == "error") + below.errors,
    )


def _settled(scope: str | None, mine: _Counts, theirs: _Counts) -> tuple[_Counts, _Counts]:
    """What a call used itself, and what it and all below it report together, which stands for them further up."""
    if scope == SUM:
        return {}, theirs | mine
    own: _Counts = {}
    reported = dict(theirs)
    for model, numbers in mine.items():
        there = theirs.get(model)
        if there is None:
            own[model] = reported[model] = numbers
        elif scope == OWN or _is_no_sum(numbers[0], there[0]):
            own[model], reported[model] = numbers, _plus(there, numbers)
        else:
            reported[model] = numbers
            beyond = [a - b for a, b in zip(numbers[0], there[0], strict=True)]
            classes = _classes_beyond(beyond, numbers[1], there[1])
            if any(beyond[place] for place in _TOKENS) or any(name in classes for name in REQUESTS):
                own[model] = [max(0, number) for number in beyond], classes
    return own, reported


def _is_no_sum(mine: list[int], theirs: list[int]) -> bool:
    """Whether a call that reports so much cannot have summed up those who report so much: no sum is below its parts."""
    return any(mine[place] < theirs[place] for place in _TOKENS)


def _classes_beyond(beyond: list[int], mine: Classes, theirs: Classes) -> Classes:
    """The counts above 0 of classes of a call, less those of the calls below it."""
    if not mine:
        return mine
    found = {name: mine.get(name, 0) - theirs.get(name, 0) for name in {**mine, **theirs}}
    requests = {name: found.pop(name) for name in REQUESTS if name in found}
    rests = [beyond[place] - sum(found.get(name, 0) for name in PARTS[side]) for side, place in _SIDES.items()]
    if min(*rests, *found.values()) < 0:
        found = {}
    return {name: count for name, count in (found | requests).items() if count > 0}


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
