"""Usage summed up the call tree of a trace: each call's own usage, and that of its subtree.

The tree is built without recursion and robust against inconsistent parents. A call is a root if its parent is missing,
deleted, or itself. In a cycle of parents the oldest call is the root.

A call's own usage is the reported usage if it reports only for itself, and nothing if it sums up. If the scope is
unclear (`stores.usage.entries`), it is the excess over the usage reported below it per model. It is all of it if the
call reports less than that, because a sum cannot be less than its parts. Classes are subtracted as `stores.usage.own`
does.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from stores.concurrency.time_slices import cooperative, cooperative_batches
from stores.costs import Prices
from stores.costs.pricing import plus
from stores.errors import BadInputError
from stores.json.bson_copy import INT64
from stores.usage.classes import PARTS, REQUESTS, Side, added, class_fields
from stores.usage.entries import OWN, SUM
from stores.usage.own import COUNTS, TOKENS

MAX_ENTRIES: Final = 1_000_000
"""Limit on the models of all subtrees together; real traces have a few per call."""

USAGES: Final = ("own_usage", "total_usage")

ALWAYS_READ: Final = ("id", "parent_id", "status", "started_at")
USAGE_READ: Final = ("usage", "usage_scope")
"""Fields that rows need; those of USAGE_READ if one of `USAGES` is selected."""

_SIDES: Final = {"prompt_tokens": PARTS[Side.INPUT], "completion_tokens": PARTS[Side.OUTPUT]}
_NOT_VISITED: Final = -1

Row = dict[str, Any]

Counts = Mapping[str, int]
"""Counts of a usage entry by name: those in `COUNTS`, and one per token class that the entry states."""


@dataclass(slots=True)
class Tally:
    """Counts, their cost in US dollars (None if nothing has a price), and the tokens without a price."""

    counts: Counts = field(default_factory=dict)
    unpriced_tokens: int = 0
    cost: Decimal | None = None

    def add(self, other: "Tally") -> None:
        """Add another tally in place."""
        self.counts = added(self.counts, other.counts)
        self.unpriced_tokens += other.unpriced_tokens
        if other.cost is not None:
            self.cost = other.cost if self.cost is None else plus(self.cost, other.cost)

    def row(self) -> Row:
        """Return the tally as a row, with counts clamped to 64 bits."""
        classes = dict(self.counts)
        counts = {name: classes.pop(name, 0) for name in COUNTS}
        counts |= {"unpriced_tokens": self.unpriced_tokens, **class_fields(counts["prompt_tokens"], classes)}
        cost = None if self.cost is None else float(self.cost)
        return {name: min(count, INT64 - 1) for name, count in counts.items()} | {"cost": cost}


Tallies = dict[str, Tally]
"""Tally by model."""

OwnUsage = list[tuple[int, dict[str, Any]]]
"""Usage entries of calls, each with the start of its call."""


def counts_of(entry: Mapping[str, Any]) -> Counts:
    """Return the counts of a usage entry."""
    classes: Counts = entry.get("classes", {})
    return {name: entry[name] for name in COUNTS} | {**classes}


def tally_of(model: str, counts: Counts, prices: Prices | None, started_at: int) -> Tally:
    """Return the tally of a call's usage of one model, priced at the call's start."""
    cost = prices.exact_cost(_entry(model, counts), started_at) if prices else None
    return Tally(counts, counts["total_tokens"] if cost is None else 0, cost)


def _entry(model: str, counts: Counts) -> dict[str, Any]:
    classes = {name: count for name, count in counts.items() if name not in COUNTS}
    return {"model": model, **{name: counts[name] for name in COUNTS}, "classes": classes}


def usage_row(tallies: Tallies) -> Row:
    """Return the usage of all models together, and of each under `models`, sorted by name."""
    models = [{"model": model} | tallies[model].row() for model in sorted(tallies)]
    if len(models) == 1:
        return {**models[0], "models": models}
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total.row() | {"models": models}


@dataclass(slots=True, eq=False)
class Node:
    """A call in its tree, with the sums over its subtree; roots have depth 0.

    `age` is its position among the calls, oldest first. `reported` has the counts by model that the subtree reports to
    the calls above.
    """

    row: Row
    age: int
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)
    depth: int = _NOT_VISITED
    own: Tallies = field(default_factory=dict)
    total: Tallies = field(default_factory=dict)
    reported: dict[str, Counts] = field(default_factory=dict)
    num_calls: int = 1
    num_errors: int = 0


async def in_tree_order(rows: Sequence[Row]) -> list[Node]:
    """Return the calls in depth-first order, siblings by age; `rows` must be oldest first."""
    nodes = {row["id"]: Node(row, age) async for age, row in cooperative(enumerate(rows))}
    async for node in cooperative(nodes.values()):
        parent = nodes.get(node.row.get("parent_id"))
        if parent and parent is not node:
            node.parent = parent
            parent.children.append(node)
    ordered = await _walk(nodes.values())
    if len(ordered) == len(nodes):
        return ordered
    async for node in cooperative(nodes.values()):
        if node.depth == _NOT_VISITED:
            _break_cycle(node)
    return await _walk(nodes.values())


async def _walk(nodes: Collection[Node]) -> list[Node]:
    roots = [node for node in nodes if node.parent is None]
    return [node async for node in cooperative(_depth_first(roots))]


def _depth_first(roots: Sequence[Node]) -> Iterator[Node]:
    stack = [*reversed(roots)]
    while stack:
        node = stack.pop()
        node.depth = node.parent.depth + 1 if node.parent else 0
        stack += reversed(node.children)
        yield node


def _break_cycle(node: Node) -> None:
    """Make the oldest call of the cycle above a node a root, and visit the calls below it."""
    path: dict[Node, int] = {}
    while node.parent and node not in path:
        path[node] = len(path)
        node = node.parent
    root = min(list(path)[path[node] :], key=lambda member: member.age)
    if root.parent:
        root.parent.children.remove(root)
    root.parent = None
    for _ in _depth_first([root]):
        continue


async def usage_tree(
    rows: Sequence[Row], wanted: Collection[str], prices: Prices | None, max_depth: int | None
) -> list[Row]:
    """Return the rows in tree order, down to a depth, with the selected `USAGES`.

    `rows` must be oldest first. Without prices there are no costs.

    Raises:
        BadInputError: the calls have too many different models.
    """
    ordered = await _with_sums(rows, prices)
    shown = (node for node in ordered if max_depth is None or node.depth <= max_depth)
    return [row async for row in cooperative(_row(node, wanted) for node in shown)]


async def usage_of_trace(rows: Sequence[Row], prices: Prices | None) -> Row:
    """Return the usage of a whole trace: the sum of the calls' own usage, as in `usage_tree`.

    Raises:
        BadInputError: the calls have too many different models.
    """
    totals: Tallies = {}
    async for row, own in cooperative(await _own_usage(rows)):
        _add(totals, {model: tally_of(model, counts, prices, row["started_at"]) for model, counts in own.items()})
    return usage_row(totals)


async def own_usage_of_trace(rows: Sequence[Row]) -> OwnUsage:
    """Return each call's own usage, of which the usage of the trace is the sum.

    Raises:
        BadInputError: the calls have too many different models.
    """
    found = cooperative(await _own_usage(rows))
    return [(row["started_at"], _entry(model, counts)) async for row, own in found for model, counts in own.items()]


async def _own_usage(rows: Sequence[Row]) -> list[tuple[Row, Mapping[str, Counts]]]:
    """Return the calls with own usage, each with its counts by model."""
    reporting = {row["id"]: row for row in rows if row.get("usage")}
    if await _is_one_above_another(rows, reporting):
        nodes = await _with_sums(rows, None)
        return [(node.row, {model: own.counts for model, own in node.own.items()}) for node in nodes]
    # No call is above another one that reports usage, so no tree is needed, which takes ten times as long.
    entries, found = 0, list[tuple[Row, Mapping[str, Counts]]]()
    async for row in cooperative(reporting.values()):
        own = _take_own(row.get("usage_scope"), _stated(row), {})
        entries += len(own)
        _check_entries(entries)
        found.append((row, own))
    return found


async def _is_one_above_another(rows: Sequence[Row], reporting: Collection[str]) -> bool:
    """Return True if a call that reports usage may be above another one, also in a cycle."""
    parents: dict[str, str | None] = {}
    async for some in cooperative_batches(rows):
        parents |= {row["id"]: row.get("parent_id") for row in some}
    async for is_above in cooperative(_steps_up(parents, reporting)):
        if is_above:
            return True
    return False


def _steps_up(parents: dict[str, str | None], reporting: Collection[str]) -> Iterator[bool]:
    """Visit each call above a reporting one once; yield True at a reporting one, and where a path ends in a cycle."""
    below: dict[str | None, str] = {}
    for call_id in reporting:
        above = parents[call_id]
        while above in parents and above not in below:
            yield above in reporting
            below[above] = call_id
            above = parents[above]
        yield below.get(above) == call_id


async def _with_sums(rows: Sequence[Row], prices: Prices | None) -> list[Node]:
    """Return the calls in tree order, with the sums of each subtree."""
    ordered = await in_tree_order(rows)
    entries = 0
    async for node in cooperative(reversed(ordered)):
        _add_own(node, prices)
        if node.parent:
            _add_child(node.parent, node)
        entries += len(node.total)
        _check_entries(entries)
    return ordered


def _check_entries(number: int) -> None:
    if number > MAX_ENTRIES:
        raise BadInputError(
            f"the calls use so many models that their sums have more than {MAX_ENTRIES:,} entries, the limit; "
            "use callsAggregate grouped by MODEL",
            "trace_id",
        )


def _add_own(node: Node, prices: Prices | None) -> None:
    """Add a call's own usage to the sums of its subtree, which already have those of its children."""
    row = node.row
    own = _take_own(row.get("usage_scope"), _stated(row), node.reported)
    node.own = {model: tally_of(model, counts, prices, row["started_at"]) for model, counts in own.items()}
    if node.total:
        _add(node.total, node.own)
    else:
        node.total = node.own
    node.num_errors += row["status"] == "error"


def _stated(row: Row) -> dict[str, Counts]:
    """Return the counts that a call reports, by model."""
    return {entry["model"]: counts_of(entry) for entry in row.get("usage", ())}


def _add_child(parent: Node, child: Node) -> None:
    for model, counts in child.reported.items():
        parent.reported[model] = added(parent.reported.get(model, {}), counts)
    _add(parent.total, child.total)
    parent.num_calls += child.num_calls
    parent.num_errors += child.num_errors


def _add(sums: Tallies, more: Tallies) -> None:
    for model, tally in more.items():
        sums.setdefault(model, Tally()).add(tally)


def _take_own(scope: str | None, stated: dict[str, Counts], reported: dict[str, Counts]) -> dict[str, Counts]:
    """Return a call's own usage, and make `reported`, so far of the calls below, include the call."""
    own: dict[str, Counts] = {}
    for model, counts in stated.items():
        below = reported.get(model, {})
        is_excess = bool(below) and scope != OWN and all(counts[name] >= below[name] for name in TOKENS)
        is_whole = scope == SUM or is_excess
        reported[model] = counts if is_whole else added(below, counts)
        if scope != SUM and (mine := _excess(counts, below) if is_excess else counts):
            own[model] = mine
    return own


def _excess(counts: Counts, below: Counts) -> Counts:
    """Return a call's counts beyond those below it; empty if it has neither tokens nor web searches of its own."""
    beyond = {name: counts.get(name, 0) - below.get(name, 0) for name in {**counts, **below}}
    classes: dict[str, int] = {}
    if len(counts) > len(COUNTS):  # the call states classes
        classes = {name: count for name, count in beyond.items() if name not in COUNTS}
        rests = [beyond[total] - sum(classes.get(name, 0) for name in parts) for total, parts in _SIDES.items()]
        if min(*rests, *(count for name, count in classes.items() if name not in REQUESTS)) < 0:
            classes = {name: classes[name] for name in REQUESTS if name in classes}
        classes = {name: count for name, count in classes.items() if count > 0}
    if not any(beyond[name] for name in TOKENS) and classes.keys().isdisjoint(REQUESTS):
        return {}
    return {name: max(0, beyond[name]) for name in COUNTS} | classes


def _row(node: Node, wanted: Collection[str]) -> Row:
    row = {name: value for name, value in node.row.items() if name not in USAGE_READ}
    row |= {
        "parent_id": node.parent.row["id"] if node.parent else None,
        "depth": node.depth,
        "num_calls": node.num_calls,
        "num_errors": node.num_errors,
    }
    if "own_usage" in wanted:
        row["own_usage"] = usage_row(node.own)
    if "total_usage" in wanted:
        is_same = node.total is node.own and "own_usage" in wanted
        row["total_usage"] = row["own_usage"] if is_same else usage_row(node.total)
    return row


def check_depth(max_depth: int | None) -> None:
    """Check the depth to which a tree is returned.

    Raises:
        BadInputError: it is negative.
    """
    if max_depth is not None and max_depth < 0:
        raise BadInputError(f"{max_depth} is negative; roots are at depth 0", "max_depth")


def models_of(rows: Sequence[Row]) -> set[str]:
    """Return the models in the usage of rows."""
    return {entry["model"] for row in rows for entry in row.get("usage", ())}
