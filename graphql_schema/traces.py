"""Traces of calls, with their trees and totals, and threads, which are conversations over traces."""

from types import SimpleNamespace
from typing import Annotated

import strawberry

from graphql_schema.aggregates import UsageTotals
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info, Stores
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import Node, ProjectId, argument, computed_field, node_ref, resolved_field, selected_fields
from graphql_schema.fields.connections import Call, Relation, TraceOf, key_of, list_field, to_many, to_one
from graphql_schema.limits.cost_weights import COUNT
from stores.paging import Row
from stores.refs import thread_ref, trace_ref
from stores.threads import ThreadsFilter

MaxDepth = Annotated[
    int | None, argument("Maximum depth of the returned calls, with roots at depth 0; all calls if omitted.")
]

_KEY = key_of("project_id", "trace_id")


def _tree(stores: Stores) -> Relation:
    """Return the relation from traces to their calls in tree order; its last argument is the maximum depth."""
    return SimpleNamespace(pages=stores.traces.trees, count=stores.traces.count)


@strawberry.type
class TraceTreeNode:
    """Call at its position in the tree of its trace."""

    # The source is a row of `TracesStore.trees`, which is also a row of a call.

    depth: int
    """Number of ancestors in the tree; 0 for a root."""
    parent_id: strawberry.ID | None = computed_field(lambda row: row.get("tree_parent_id"))
    """Id of the parent in the tree; null for a root. A call is a root if its parent is missing, or if it is the oldest
    of calls whose parent ids form a cycle.
    """
    num_children: int
    """Number of direct children."""
    num_descendants: int
    """Number of descendants, including those that maxDepth leaves out."""

    call = computed_field(lambda row: row, CallSchema)
    """Call of this node."""


@strawberry.type
class TraceTotals:
    """Totals over all calls of a trace; only selected fields are computed."""

    # The source is a row of `TracesStore.totals`.

    num_calls: int
    """Number of calls."""
    num_errors: int
    """Number of calls that ended with an exception."""
    num_running: int
    """Number of calls that have not ended."""
    started_at: DateTime | None
    """Start time of the first call."""
    ended_at: DateTime | None
    """Latest end time of the calls; null while none has ended."""
    duration_ms: BigInt | None
    """Time from startedAt to endedAt in whole milliseconds; null while no call has ended."""
    usage: UsageTotals
    """Usage of all calls, with each call's own usage counted once; the sum of totalUsage over the roots of usageTree.
    """


@strawberry.type
class Trace(Node):
    """Trace: the calls that share a trace id, as a tree.

    It exists as long as one of its calls does.
    """

    # The source is a row of `stores.traces`.

    ref: strawberry.ID = node_ref(trace_ref)
    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    trace_id: strawberry.ID
    """Id of the trace, shared by its calls."""

    root = to_one(CallSchema | None, lambda stores: stores.traces.roots, _KEY)
    """Root call: the oldest call without a parent. Null if it is missing or deleted; roots then contains the top of the
    tree.
    """
    calls = to_many(CallSchema, lambda stores: stores.traces.calls, _KEY)
    """Calls of the trace, the oldest first."""

    roots = to_many(CallSchema, _tree, _KEY, to_key=lambda: (0,), work=COUNT)
    """Calls at the top of the tree, the oldest first. These have no parent or a missing one, or are the oldest of calls
    whose parent ids form a cycle.
    """
    tree = to_many(
        TraceTreeNode,
        _tree,
        _KEY,
        arguments={"max_depth": MaxDepth},
        to_key=lambda max_depth=None: (max_depth,),
        nodes=("nodes.call", "edges.node.call"),
        work=COUNT,
    )
    """Calls as a tree in depth-first order: a call follows its parent, its earlier siblings and their descendants. A
    page of 10,000 contains most traces completely.
    """
    totals = to_one(
        TraceTotals,
        lambda stores: stores.traces.totals,
        _KEY,
        lambda info: (frozenset(selected_fields(info) | selected_fields(info, "usage", "usage.models")),),
        work=COUNT,
    )
    """Totals over all calls of the trace."""


@strawberry.type
class TraceQueries:
    """Query field that reads traces."""

    @resolved_field(returns=Trace | None)
    async def trace(self, info: Info, project_id: ProjectId, trace_id: strawberry.ID) -> Row | None:
        """Trace; null if it has no calls, or all of them are deleted.

        Args:
            trace_id: Id of the trace, shared by its calls.
        """
        return await info.context.stores.traces.one(project_id, trace_id)


_THREAD_KEY = key_of("project_id", "period", "thread_id")


def _thread_ref(row: Row) -> str:
    period = row["period"]
    return thread_ref(row["project_id"], row["thread_id"], period.after, period.before)


@strawberry.type
class ThreadSchema(Node):
    """Thread: a conversation, made of turns.

    A turn is a call whose turnId is its own id; deleted turns do not count.
    """

    # The source is a row of `stores.threads`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    thread_id: str
    """Id of the thread, shared by its calls."""
    turn_count: int
    """Number of turns, including running ones."""
    start_time: DateTime
    """Start time of the first turn."""
    last_updated: DateTime
    """End time of the turn that ended last."""
    first_turn_id: strawberry.ID | None
    """Id of the turn that started first; the first by id if several did."""
    last_turn_id: strawberry.ID | None
    """Id of the turn that ended last; the last by id if several did."""
    p50_turn_duration_ms: float | None
    """Median duration of the ended turns, in milliseconds with microsecond precision; interpolated for an even number
    of turns.
    """
    p99_turn_duration_ms: float | None
    """99th percentile of the duration of the ended turns, in milliseconds, interpolated between two turns."""

    ref: strawberry.ID = node_ref(_thread_ref)
    """Ref of the thread, which node resolves; if a filter bounds its turns, the ref contains these bounds."""
    turns = to_many(Call, lambda stores: stores.threads.turns, _THREAD_KEY)
    """Turns that turnCount counts, the oldest first."""
    calls = to_many(Call, lambda stores: stores.threads.calls, _THREAD_KEY)
    """All calls of the thread, turns and their steps, regardless of the filter's times; the oldest first."""
    traces = to_many(TraceOf, lambda stores: stores.threads.traces, _THREAD_KEY)
    """Traces of the calls, sorted by the start of their first call."""


@strawberry.input
class ThreadsQueryFilter:
    """Filter of threads and of the turns that count.

    All numbers and times of a thread refer to the turns that started between the two times. A thread without an ended
    turn among these is left out.
    """

    after_datetime: DateTime | None = None
    """Exclusive lower bound of the start of turns."""
    before_datetime: DateTime | None = None
    """Exclusive upper bound of the start of turns."""
    thread_ids: list[str] | None = None
    """Ids of threads, at most 1,000; an empty or omitted list sets no condition."""

    def to_store(self) -> ThreadsFilter:
        """Convert to the filter of `stores.threads`."""
        return ThreadsFilter(**vars(self))


@strawberry.type
class ThreadQueries:
    """Query field that reads threads."""

    threads = list_field(
        ThreadSchema,
        lambda stores: stores.threads,
        filter=ThreadsQueryFilter,
        scans=True,
    )
    """Page of the project's threads, without those of which no turn has ended yet.

    Args:
        filter: Filter of threads and of their turns; all if omitted.
        sort_by: Sort order: by thread_id, turn_count, start_time, last_updated, p50_turn_duration_ms or
            p99_turn_duration_ms; the last updated first if omitted or empty.
    """
