"""What a trace looks like."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.aggregates.types import UsageTotals
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import computed_field, connections, plain_field, resolved_field
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import key_of, to_many, to_one
from graphql_schema.fields.selection import selected_fields
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import PageRequest, Row
from stores.refs import trace_ref

MaxDepth = Annotated[
    int | None, strawberry.argument(description="Leave out calls that are deeper; roots are at depth 0.")
]

_KEY = key_of("project_id", "trace_id")


@strawberry.type(description="A call at its place in the tree of its trace.")
class TraceTreeNode:
    """A place in a tree; its source is a row of `TracesStore.trees`, which is one of the call's, too."""

    depth: int = plain_field("How many calls are above it in the tree; 0 for a root.")
    parent_id: strawberry.ID | None = computed_field(
        "The call above it in the tree; null for a root: a call whose parent is not there is one, and so is the oldest "
        "of calls that are each other's parents in a circle.",
        lambda row: row.get("tree_parent_id"),
    )
    num_children: int = plain_field("How many calls are right below it.")
    num_descendants: int = plain_field("How many calls are below it in all, those that maxDepth leaves out, too.")

    @resolved_field("The call.", returns=CallSchema)
    def call(self, parent: strawberry.Parent[Row]) -> Row:
        """The call."""
        return parent


@strawberry.type(description="What the calls of a trace come to together; what is not selected is not computed.")
class TraceTotals:
    """Totals; the source is a row of `TracesStore.totals`."""

    num_calls: int = plain_field("How many calls it has.")
    num_errors: int = plain_field("How many of them ended with an exception.")
    num_running: int = plain_field("How many of them have not ended.")
    started_at: DateTime | None = plain_field("When the first of them started.")
    ended_at: DateTime | None = plain_field("When the last of them to end did so; null while none has.")
    duration_ms: BigInt | None = plain_field("From startedAt to endedAt, in whole milliseconds.")
    usage: UsageTotals = plain_field(
        "What they used of models, each call's own usage counted once, as totalUsage of usageTree tells it of roots."
    )


@strawberry.type(description="A trace: the calls that share a trace id, as a tree. It is there as long as any is.")
class Trace(Node):
    """A trace; its source is a row of `stores.traces`."""

    ref: strawberry.ID = node_ref(trace_ref)
    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    trace_id: strawberry.ID = plain_field("The id that its calls share.")

    root = to_one(
        "The call that it began with: the oldest of those that have no parent. Null where that never came or was "
        "deleted; roots has what is at the top of the tree then.",
        CallSchema | None,
        lambda stores: stores.traces.roots,
        _KEY,
    )
    calls = to_many("Its calls, the oldest first.", CallSchema, lambda stores: stores.traces.calls, _KEY)

    @connection_field(
        "The calls at the top of its tree, the oldest first: those without a parent, those whose parent is not there, "
        "and the oldest of calls that are each other's parents in a circle.",
        of=CallSchema,
        work=COUNT,
    )
    async def roots(self, info: Info, parent: strawberry.Parent[Row], *, request: PageRequest) -> Listing:
        """A page of its roots."""
        return await _tree(info, parent, request, connections.frozen_of_nodes(info), 0)

    @connection_field(
        "Its calls as a tree, in the order in which it is drawn: each comes after the one above it and its elder "
        "siblings with all below them. One page of 10,000 is the whole of most traces.",
        of=TraceTreeNode,
        work=COUNT,
    )
    async def tree(
        self, info: Info, parent: strawberry.Parent[Row], max_depth: MaxDepth = None, *, request: PageRequest
    ) -> Listing:
        """A page of its tree."""
        wanted = frozenset(selected_fields(info, "nodes.call", "edges.node.call"))
        return await _tree(info, parent, request, wanted, max_depth)

    @resolved_field("What its calls come to together.", returns=TraceTotals, work=COUNT)
    async def totals(self, info: Info, parent: strawberry.Parent[Row]) -> Row:
        """Its totals."""
        wanted = frozenset(selected_fields(info) | selected_fields(info, "usage", "usage.models"))
        return await info.context.loaders.load(info.context.stores.traces.totals, _KEY(parent), wanted)


async def _tree(
    info: Info, parent: Row, request: PageRequest, wanted: frozenset[str], max_depth: int | None
) -> Listing:
    load, traces, key = info.context.loaders.load, info.context.stores.traces, _KEY(parent)
    page = await load(traces.trees, key, wanted, request, max_depth)
    return Listing(page, partial(load, traces.count, key, max_depth))
