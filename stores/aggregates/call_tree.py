"""The call tree of a trace, built without recursion and robust against inconsistent parents.

A call is a root if its parent is missing, deleted, or itself. In a cycle of parents the oldest call is the root.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores.concurrency.time_slices import TimeSlice, cooperative

Row = dict[str, Any]

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
