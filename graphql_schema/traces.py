"""Traces of calls, with their trees and totals."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.aggregates import UsageTotals
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import (
    Node,
    ProjectId,
    argument,
    computed_field,
    connections,
    node_ref,
    plain_field,
    resolved_field,
)
from graphql_schema.fields.connections import Listing, connection_field, key_of, to_many, to_one
from graphql_schema.fields.selection import selected_fields
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import PageRequest, Row
from stores.refs import trace_ref

MaxDepth = Annotated[
    int | None, argument("Maximum depth of the returned calls, with roots at depth 0; all calls if omitted.")
]

_KEY = key_of("project_id", "trace_id")


@strawberry.type
class TraceTreeNode:
    """Call at its position in the tree of its trace."""

    # The source is a row of `TracesStore.trees`, which is also a row of a call.

    depth: int = plain_field("Number of ancestors in the tree; 0 for a root.")
    parent_id: strawberry.ID | None = computed_field(
        "Id of the parent in the tree; null for a root. A call is a root if its parent is missing, or if it is the "
        "oldest of calls whose parent ids form a cycle.",
        lambda row: row.get("tree_parent_id"),
    )
    num_children: int = plain_field("Number of direct children.")
    num_descendants: int = plain_field("Number of descendants, including those that maxDepth leaves out.")

    @resolved_field(returns=CallSchema)
    def call(self, parent: strawberry.Parent[Row]) -> Row:
        """Call of this node."""
        return parent


@strawberry.type
class TraceTotals:
    """Totals over all calls of a trace; only selected fields are computed."""

    # The source is a row of `TracesStore.totals`.

    num_calls: int = plain_field("Number of calls.")
    num_errors: int = plain_field("Number of calls that ended with an exception.")
    num_running: int = plain_field("Number of calls that have not ended.")
    started_at: DateTime | None = plain_field("Start time of the first call.")
    ended_at: DateTime | None = plain_field("Latest end time of the calls; null while none has ended.")
    duration_ms: BigInt | None = plain_field(
        "Time from startedAt to endedAt in whole milliseconds; null while no call has ended."
    )
    usage: UsageTotals = plain_field(
        "Usage of all calls, with each call's own usage counted once; the sum of totalUsage over the roots of "
        "usageTree."
    )


@strawberry.type
class Trace(Node):
    """Trace: the calls that share a trace id, as a tree.

    It exists as long as one of its calls does.
    """

    # The source is a row of `stores.traces`.

    ref: strawberry.ID = node_ref(trace_ref)
    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    trace_id: strawberry.ID = plain_field("Id of the trace, shared by its calls.")

    root = to_one(
        "Root call: the oldest call without a parent. Null if it is missing or deleted; roots then contains the top "
        "of the tree.",
        CallSchema | None,
        lambda stores: stores.traces.roots,
        _KEY,
    )
    calls = to_many("Calls of the trace, the oldest first.", CallSchema, lambda stores: stores.traces.calls, _KEY)

    @connection_field(of=CallSchema, work=COUNT)
    async def roots(self, info: Info, parent: strawberry.Parent[Row], *, request: PageRequest) -> Listing:
        """Calls at the top of the tree, the oldest first.

        These have no parent or a missing one, or are the oldest of calls whose parent ids form a cycle.
        """
        return await _tree(info, parent, request, connections.frozen_node_fields(info), 0)

    @connection_field(of=TraceTreeNode, work=COUNT)
    async def tree(
        self, info: Info, parent: strawberry.Parent[Row], max_depth: MaxDepth = None, *, request: PageRequest
    ) -> Listing:
        """Calls as a tree in depth-first order: a call follows its parent, its earlier siblings and their descendants.

        A page of 10,000 contains most traces completely.
        """
        wanted = frozenset(selected_fields(info, "nodes.call", "edges.node.call"))
        return await _tree(info, parent, request, wanted, max_depth)

    @resolved_field(returns=TraceTotals, work=COUNT)
    async def totals(self, info: Info, parent: strawberry.Parent[Row]) -> Row:
        """Totals over all calls of the trace."""
        wanted = frozenset(selected_fields(info) | selected_fields(info, "usage", "usage.models"))
        return await info.context.loaders.load(info.context.stores.traces.totals, _KEY(parent), wanted)


async def _tree(
    info: Info, parent: Row, request: PageRequest, wanted: frozenset[str], max_depth: int | None
) -> Listing:
    load, traces, key = info.context.loaders.load, info.context.stores.traces, _KEY(parent)
    page = await load(traces.trees, key, wanted, request, max_depth)
    return Listing(page, partial(load, traces.count, key, max_depth))


@strawberry.type
class TraceQueries:
    """Query field that reads traces."""

    @resolved_field(returns=Trace | None)
    async def trace(
        self,
        info: Info,
        project_id: ProjectId,
        trace_id: Annotated[strawberry.ID, argument("Id of the trace, shared by its calls.")],
    ) -> Row | None:
        """Trace; null if it has no calls, or all of them are deleted."""
        return await info.context.stores.traces.one(project_id, trace_id)
