"""Usage summed up the call tree of a trace: each call's own usage, and that of its subtree.

The tree is built without recursion and robust against inconsistent parents. A call is a root if its parent is missing,
deleted, or itself. In a cycle of parents the oldest call is the root.

A call's own usage is the reported usage if it reports only for itself, and nothing if it sums up. If the scope is
unclear (`stores.usage.entries`), it is the excess over the usage reported below it per model. It is all of it if the
call reports less than that, because a sum cannot be less than its parts. Classes are subtracted as in `own_usage`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from stores.aggregates.own_usage import COUNTS, TOKENS
from stores.concurrency.time_slices import TimeSlice, cooperative
from stores.costs import Prices
from stores.costs.pricing import plus
from stores.errors import BadInputError
from stores.json.bson_copy import INT64
from stores.usage.classes import Side
from stores.usage.counts import PARTS, REQUESTS, added, class_fields
from stores.usage.entries import OWN, SUM

Row = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """Counts, their cost in US dollars (None if nothing has a price), and the tokens without a price.

    `classes` are the non-zero counts of token classes, stored as in a usage entry.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    total_tokens: int = 0
    unpriced_tokens: int = 0
    cost: Decimal | None = None
    classes: Mapping[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Add another tally in place."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.requests += other.requests
        self.total_tokens += other.total_tokens
        self.unpriced_tokens += other.unpriced_tokens
        self.classes = added(self.classes, other.classes)
        if other.cost is not None:
            self.cost = other.cost if self.cost is None else plus(self.cost, other.cost)

    def row(self) -> Row:
        """Return the tally as a row, with counts clamped to 64 bits."""
        counts = {name: getattr(self, name) for name in (*COUNTS, "unpriced_tokens")}
        counts |= class_fields(self.prompt_tokens, self.classes)
        cost = None if self.cost is None else float(self.cost)
        return {name: min(count, INT64 - 1) for name, count in counts.items()} | {"cost": cost}


Tallies = dict[str, Tally]
"""Tally by model."""


def add_to(sums: Tallies, more: Tallies) -> None:
    """Add tallies to `sums` in place; `sums` must not be shared."""
    for model, tally in more.items():
        sums.setdefault(model, Tally()).add(tally)


def merged(several: Iterable[Tallies]) -> Tallies:
    """Merge tallies. A single one is returned without a copy, so do not modify the result."""
    non_empty = [tallies for tallies in several if tallies]
    if len(non_empty) <= 1:
        return non_empty[0] if non_empty else {}
    totals: Tallies = {}
    for tallies in non_empty:
        add_to(totals, tallies)
    return totals


def usage_row(tallies: Tallies) -> Row:
    """Return the usage of all models together, and of each under `models`, sorted by name."""
    models = [{"model": model} | tallies[model].row() for model in sorted(tallies)]
    if len(models) == 1:
        return {**models[0], "models": models}
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total.row() | {"models": models}


_NOT_VISITED: Final = -1


@dataclass(slots=True, eq=False)
class Node:
    """A call in its tree; roots have depth 0."""

    row: Row
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)
    depth: int = _NOT_VISITED


async def in_tree_order(rows: Sequence[Row]) -> list[Node]:
    """Return the calls in depth-first order, siblings by age; `rows` must be oldest first."""
    nodes = {row["id"]: Node(row) async for row in cooperative(rows)}
    roots = []
    async for node in cooperative(nodes.values()):
        parent = nodes.get(node.row.get("parent_id"))
        if parent is None or parent is node:
            roots.append(node)
        else:
            node.parent = parent
            parent.children.append(node)
    ordered = await _walk(roots)
    if len(ordered) < len(nodes):
        await _walk(await _break_cycles(list(nodes.values())))
        ordered = await _walk([node for node in nodes.values() if node.parent is None])
    return ordered


async def _walk(roots: Sequence[Node]) -> list[Node]:
    ordered: list[Node] = []
    stack = list(reversed(roots))
    for root in roots:
        root.depth = 0
    time_slice = TimeSlice()
    while stack:
        node = stack.pop()
        ordered.append(node)
        for child in node.children:
            child.depth = node.depth + 1
        stack.extend(reversed(node.children))
        if time_slice.is_used_up():
            await time_slice.yield_to_loop()
    return ordered


async def _break_cycles(nodes: Sequence[Node]) -> list[Node]:
    """Make the oldest call of each cycle a root; return these roots."""
    roots = []
    visited: set[int] = set()
    positions = {id(node): position for position, node in enumerate(nodes)}
    async for start in cooperative(nodes):
        path: list[Node] = []
        on_path: set[int] = set()
        node: Node | None = start
        while node is not None and node.depth == _NOT_VISITED and id(node) not in visited:
            visited.add(id(node))
            on_path.add(id(node))
            path.append(node)
            node = node.parent
        if node is not None and id(node) in on_path:
            cycle = path[path.index(node) :]
            root = min(cycle, key=lambda member: positions[id(member)])
            if root.parent:
                root.parent.children.remove(root)
            root.parent = None
            roots.append(root)
    return roots


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
class _Sums:
    """Sums over calls and their subtrees; `own` is the own usage of a single call."""

    reported: _Counts = field(default_factory=dict)
    own: Tallies = field(default_factory=dict)
    total: Tallies = field(default_factory=dict)
    calls: int = 0
    errors: int = 0

    def add(self, child: "_Sums") -> None:
        """Add the sums of a child in place; there may be very many."""
        for model, numbers in child.reported.items():
            there = self.reported.get(model)
            self.reported[model] = _plus(there, numbers) if there else numbers
        add_to(self.total, child.total)
        self.calls += child.calls
        self.errors += child.errors


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


async def _sum_subtrees(rows: Sequence[Row], prices: Prices | None) -> tuple[list[Node], dict[int, _Sums]]:
    """Return the calls in tree order, and the sums of each subtree by `id()` of its node."""
    ordered = await in_tree_order(rows)
    rolled: dict[int, _Sums] = {}
    below: dict[int, _Sums] = {}
    entries = 0
    async for node in cooperative(reversed(ordered)):
        sums = rolled[id(node)] = _sum_subtree(node.row, below.pop(id(node), _Sums()), prices)
        if node.parent:
            below.setdefault(id(node.parent), _Sums()).add(sums)
        entries += len(sums.total)
        if entries > MAX_ENTRIES:
            raise BadInputError(
                f"the calls use so many models that their sums have more than {MAX_ENTRIES:,} entries, the limit; "
                "use callsAggregate grouped by MODEL",
                "trace_id",
            )
    return ordered, rolled


def _sum_subtree(row: Row, below: _Sums, prices: Prices | None) -> _Sums:
    mine = {
        entry["model"]: ([entry[count] for count in COUNTS], entry.get("classes", _NO_CLASSES))
        for entry in row.get("usage", ())
    }
    counts, reported = _own_and_reported(row.get("usage_scope"), mine, below.reported)
    own = {model: _tally(model, of_model, row["started_at"], prices) for model, of_model in counts.items()}
    errors = (row["status"] == "error") + below.errors
    return _Sums(reported, own, merged([own, below.total]), 1 + below.calls, errors)


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
    numbers, classes = counted
    counts = dict(zip(COUNTS, numbers, strict=True))
    cost = prices.exact_cost({"model": model, **counts, "classes": classes}, started_at) if prices else None
    return Tally(**counts, unpriced_tokens=counts["total_tokens"] if cost is None else 0, cost=cost, classes=classes)


def _row(node: Node, rolled: _Sums, wanted: Collection[str]) -> Row:
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
