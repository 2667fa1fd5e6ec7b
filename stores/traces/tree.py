"""The calls of a trace as its tree has them, in the order in which they are drawn, page by page.

A page needs all calls of the trace for their order, but of those that it has not got only what makes the tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.aggregates.call_tree import Node, in_tree_order
from stores.concurrency.time_slices import cooperative
from stores.paging import Key, Order, Page, PageRequest, Row, build_page, decode_cursor, scope_of

LIGHT: Final = ("id", "parent_id", "trace_id", "started_at")
"""What makes the tree."""

_ORDER: Final = Order({}, (Key("place"), Key("id")))


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a trace, down to a depth; its rows are those that were given, with their place in it.

    They have their `place` from 0, `depth`, `above` (the id of the call above in the tree) and `num_descendants`.
    """

    rows: list[Row]
    scope: bytes

    @classmethod
    async def of(cls, project_id: str, trace_id: str, calls: Sequence[Row], max_depth: int | None) -> "Tree":
        """The tree of some calls, the oldest first."""
        nodes = await in_tree_order(calls)
        counts = await _descendants(nodes)
        shown = (node for node in nodes if max_depth is None or node.depth <= max_depth)
        rows = [row async for row in cooperative(_placed(place, node, counts) for place, node in enumerate(shown))]
        return cls(rows, scope_of("tree", project_id, trace_id, max_depth))

    def page(self, request: PageRequest) -> Page:
        """A page of the calls in the tree's order.

        A cursor is a call, wherever that is by now; of one that is gone it is the place where it was.

        Raises:
            BadInputError: the cursor is none of this tree's.
        """
        position = decode_cursor(request, self.scope, len(_ORDER.keys))
        found = self.rows
        if position is not None:
            place, is_there = self._place(*position)
            found = found[:place] if request.backward else found[place + is_there :]
        found = found[::-1] if request.backward else found[request.offset :]
        return build_page(found[: request.size + 1], request, _ORDER, self.scope)

    def _place(self, was: object, call_id: object) -> tuple[int, bool]:
        for row in self.rows:
            if row["id"] == call_id:
                return row["place"], True
        return (min(max(was, 0), len(self.rows)) if isinstance(was, int) else 0), False


def _placed(place: int, node: Node, counts: dict[int, int]) -> Row:
    placed: dict[str, Any] = {
        "place": place,
        "depth": node.depth,
        "num_children": len(node.children),
        "num_descendants": counts[id(node)],
    }
    above = {"above": node.parent.row["id"]} if node.parent else {}
    return node.row | placed | above


async def _descendants(nodes: Sequence[Node]) -> dict[int, int]:
    """How many calls are below each, by the identity of its node."""
    counts = dict.fromkeys(map(id, nodes), 0)
    async for node in cooperative(reversed(nodes)):
        if node.parent:
            counts[id(node.parent)] += counts[id(node)] + 1
    return counts
