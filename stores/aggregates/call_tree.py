"""The tree of a trace's calls, whatever their parents say, without recursion.

A call whose parent is not there (not stored, deleted, or itself) is a root, and so is the oldest of calls that are
each other's parents in a circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores.concurrency.time_slices import TimeSlice, cooperative

Row = dict[str, Any]

_UNSEEN: Final = -1


@dataclass(slots=True, eq=False)
class Node:
    """A call in its tree: roots are at depth 0."""

    row: Row
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)
    depth: int = _UNSEEN


async def in_tree_order(rows: Sequence[Row]) -> list[Node]:
    """The calls, each before its descendants and after those of its elder siblings; rows come oldest first."""
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
        await _walk(await _cut_circles(list(nodes.values())))
        ordered = await _walk([node for node in nodes.values() if node.parent is None])
    return ordered


async def _walk(roots: Sequence[Node]) -> list[Node]:
    ordered: list[Node] = []
    waiting = list(reversed(roots))
    for root in roots:
        root.depth = 0
    turn = TimeSlice()
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        for child in node.children:
            child.depth = node.depth + 1
        waiting.extend(reversed(node.children))
        if turn.is_used_up():
            await turn.yield_to_loop()
    return ordered


async def _cut_circles(nodes: Sequence[Node]) -> list[Node]:
    """Make a root of the oldest call of each circle; the roots that were made."""
    made = []
    climbed: set[int] = set()
    places = {id(node): place for place, node in enumerate(nodes)}
    async for start in cooperative(nodes):
        path: list[Node] = []
        on_path: set[int] = set()
        node: Node | None = start
        while node is not None and node.depth == _UNSEEN and id(node) not in climbed:
            climbed.add(id(node))
            on_path.add(id(node))
            path.append(node)
            node = node.parent
        if node is not None and id(node) in on_path:
            circle = path[path.index(node) :]
            root = min(circle, key=lambda member: places[id(member)])
            if root.parent:
                root.parent.children.remove(root)
            root.parent = None
            made.append(root)
    return made
