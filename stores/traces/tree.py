"""The calls of a trace in tree order, page by page.

The order depends on all calls of the trace; calls outside the page are read with the `TREE_FIELDS` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.aggregates.usage_tree import Node, in_tree_order
from stores.concurrency.time_slices import cooperative
from stores.paging import Order, Page, PageRequest, Row, SortKey, build_page, decode_cursor, scope_of

TREE_FIELDS: Final = ("id", "parent_id", "trace_id", "started_at")
"""Fields from which the tree is built."""

_ORDER: Final = Order({}, (SortKey("position"), SortKey("id")))


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a trace down to a depth; its rows are the calls in tree order.

    Each row has its `position` from 0, `depth`, `tree_parent_id` (the id of its parent in the tree), `num_children` and
    `num_descendants`.
    """

    rows: list[Row]
    scope: bytes

    @classmethod
    async def from_calls(cls, project_id: str, trace_id: str, calls: Sequence[Row], max_depth: int | None) -> "Tree":
        """Build the tree of calls that are sorted by start."""
        nodes = await in_tree_order(calls)
        counts = await _count_descendants(nodes)
        visible_nodes = (node for node in nodes if max_depth is None or node.depth <= max_depth)
        rows = [
            row
            async for row in cooperative(
                _tree_row(position, node, counts) for position, node in enumerate(visible_nodes)
            )
        ]
        return cls(rows, scope_of("tree", project_id, trace_id, max_depth))

    def page(self, request: PageRequest) -> Page:
        """Return a page of the calls in tree order.

        A cursor names a call and is found at its current position; if the call was deleted, at its former position.

        Raises:
            BadInputError: if the cursor belongs to another tree.
        """
        position = decode_cursor(request, self.scope, len(_ORDER.keys))
        rows = self.rows
        if position is not None:
            index, exists = self._find_position(*position)
            rows = rows[:index] if request.backward else rows[index + exists :]
        rows = rows[::-1] if request.backward else rows[request.offset :]
        return build_page(rows[: request.size + 1], request, _ORDER, self.scope)

    def _find_position(self, former_position: object, call_id: object) -> tuple[int, bool]:
        for row in self.rows:
            if row["id"] == call_id:
                return row["position"], True
        return (min(max(former_position, 0), len(self.rows)) if isinstance(former_position, int) else 0), False


def _tree_row(position: int, node: Node, counts: dict[int, int]) -> Row:
    tree_fields: dict[str, Any] = {
        "position": position,
        "depth": node.depth,
        "num_children": len(node.children),
        "num_descendants": counts[id(node)],
    }
    tree_parent = {"tree_parent_id": node.parent.row["id"]} if node.parent else {}
    return node.row | tree_fields | tree_parent


async def _count_descendants(nodes: Sequence[Node]) -> dict[int, int]:
    """Count the calls below each node; the keys are the `id()` of the nodes."""
    counts = dict.fromkeys(map(id, nodes), 0)
    async for node in cooperative(reversed(nodes)):
        if node.parent:
            counts[id(node.parent)] += counts[id(node)] + 1
    return counts
