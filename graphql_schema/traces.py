"""Traces of calls, with their trees and totals, and threads, which are conversations over traces."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Annotated

import strawberry

from graphql_schema.aggregates import UsageTotals
from graphql_schema.calls.messages import conversation_field
from graphql_schema.calls.queries import CallsFilter, ExplainRes
from graphql_schema.calls.types import CallKind, CallSchema, TraceStatus, Types
from graphql_schema.context import Info, Stores
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.feedback import Feedback
from graphql_schema.fields import (
    FieldDefinition,
    Node,
    ProjectId,
    argument,
    computed_field,
    node_ref,
    optional_input,
    resolved_field,
    selected_fields,
    to_store,
)
from graphql_schema.fields.connections import (
    Call,
    Find,
    Listing,
    Relation,
    SortBy,
    TraceOf,
    connection_field,
    key_of,
    selected_node_fields,
    sort_keys,
    to_many,
    to_one,
)
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.limits.cost_weights import COUNT
from stores.paging import PageRequest, Row
from stores.query.explain import Plan
from stores.refs import thread_ref, trace_ref
from stores.threads import ThreadsFilter, ThreadsStore, checked_users
from stores.trace_lists import INDEXED_TRACE_FIELDS, AnyCall, TotalsQuery
from stores.traces import TOKENS_AND_COST

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


def _summary(kind: object, name: str) -> FieldDefinition:
    """Field with one value of `TracesStore.summaries`."""
    return to_one(
        kind, lambda stores: stores.traces.summaries, _KEY, lambda _: (), lambda found: found.get(name), work=COUNT
    )


def _total(kind: object, name: str) -> FieldDefinition:
    """Field with one number of a trace's usage."""
    return to_one(
        kind,
        lambda stores: stores.traces.totals,
        _KEY,
        lambda _: (TOKENS_AND_COST,),
        lambda found: found["usage"][name],
        work=COUNT,
    )


@strawberry.type
class Trace(Node):
    """Trace: the calls that share a trace id, as a tree.

    It exists as long as one of its calls does. Its head represents it in lists: the root, or if the root is missing or
    deleted, the oldest call. Once all calls are deleted, counts are 0 and other values are null.
    """

    # The source is a row of `stores.traces`.

    ref: strawberry.ID = node_ref(trace_ref)
    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    trace_id: strawberry.ID
    """Id of the trace, shared by its calls."""

    name = _summary(str | None, "name")
    """Name of the trace: the traceName of its head."""
    kind = _summary(CallKind | None, "kind")
    """Kind of the head; null if unknown."""
    status = _summary(TraceStatus | None, "status")
    """Status of the head. Errors of other calls are in numErrors."""
    started_at = _summary(DateTime | None, "started_at")
    """Start time of the head."""
    ended_at = _summary(DateTime | None, "ended_at")
    """End time of the head; null while it runs."""
    latency_ms = _summary(BigInt | None, "latency_ms")
    """Duration of the head in whole milliseconds; null while it runs. totals has the duration of all calls."""
    num_calls = _summary(BigInt, "num_calls")
    """Number of calls."""
    num_errors = _summary(BigInt, "num_errors")
    """Number of calls that ended with an exception."""
    total_tokens = _total(BigInt, "total_tokens")
    """Number of tokens of all calls, with each call's own usage counted once."""
    total_cost = _total(float | None, "cost")
    """Cost of all calls in US dollars, with each call's own usage counted once; null if no model has a price in US
    dollars.
    """
    user_id = _summary(str | None, "user_id")
    """Id of the end user of the head; if it has none, of the oldest call that has one, and null if none has."""
    thread_id = _summary(str | None, "thread_id")
    """Id of the thread of the head; if it is in none, of the oldest call that is in one, and null if none is."""

    tags = _summary(list[str] | None, "tags")
    """Tags of the head; if it has none, of the oldest call that has some, and null if none has."""
    environment = _summary(str | None, "environment")
    """Environment of the head; if it has none, of the oldest call that has one, and null if none has."""
    release = _summary(str | None, "release")
    """Release of the head; if it has none, of the oldest call that has one, and null if none has."""

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
    conversation = conversation_field(lambda stores: stores.conversations.of_traces, _KEY)
    """Messages of the trace's model calls in the order of their starts, without the history that later calls repeat;
    of its roots if it has no model call. Null, with an error, if there are more than 1,000 model calls, or more than
    10,000 messages and first is omitted.
    """
    totals = to_one(
        TraceTotals,
        lambda stores: stores.traces.totals,
        _KEY,
        lambda info: (frozenset(selected_fields(info) | selected_fields(info, "usage", "usage.models")),),
        work=COUNT,
    )
    """Totals over all calls of the trace."""
    feedback = to_many(
        Feedback,
        lambda stores: stores.traces.feedback,
        _KEY,
        arguments={"types": Types},
        to_key=lambda types=None: (frozenset(types or ()),),
        work=COUNT,
    )
    """Feedback on the calls of the trace, the oldest first; `last: 10` returns the newest."""


@strawberry.input
class AnyCallInput:
    """Condition on any call of a trace: one of its calls matches both the filter and the query."""

    filter: CallsFilter | None = optional_input("Filter of the call; any call if omitted.")
    query: QueryInput | None = optional_input("Further condition on fields of the call; none if omitted.")

    def to_store(self) -> AnyCall | None:
        """Convert to the condition of `stores.trace_lists`; None if it sets none."""
        condition = AnyCall(to_store(self.filter), to_store(self.query))
        return condition if condition.calls_filter or condition.query else None


def _of_totals(totals: QueryInput | None) -> TotalsQuery | None:
    query = to_store(totals)
    return TotalsQuery(query.tree, query.typed) if query else None


@strawberry.type
class TraceQueries:
    """Query fields that read traces."""

    @connection_field(of=Trace, indexed=INDEXED_TRACE_FIELDS)
    async def traces(
        self,
        info: Info,
        project_id: ProjectId,
        filter: CallsFilter | None = None,
        query: QueryInput | None = None,
        any_call: AnyCallInput | None = None,
        sort_by: list[SortBy] | None = None,
        totals: QueryInput | None = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """Page of the project's traces, one row per trace, the newest first.

        The head of a trace represents it: the root, or if the root is missing or deleted, the oldest call.

        Args:
            filter: Filter of the heads; all traces if omitted.
            query: Further condition on fields of the heads; none if omitted.
            any_call: Condition on any call of a trace, such as a failed step; none if omitted.
            sort_by: Sort order: by name, kind, status, started_at, ended_at, latency_ms, num_calls, num_errors,
                total_tokens or total_cost; the newest first if omitted or empty.
            totals: Condition on the fields of sort_by, such as total_cost; none if omitted.
        """
        condition = to_store(filter), to_store(query), to_store(any_call), _of_totals(totals)
        store = info.context.stores.trace_lists
        page = await store.page(project_id, request, condition[0], sort_keys(sort_by), *condition[1:])
        return Listing(page, partial(store.count, project_id, *condition))

    @resolved_field(returns=ExplainRes, work=COUNT, indexed=INDEXED_TRACE_FIELDS)
    async def explain_traces(
        self,
        info: Info,
        project_id: ProjectId,
        filter: CallsFilter | None = None,
        query: QueryInput | None = None,
        any_call: AnyCallInput | None = None,
        sort_by: list[SortBy] | None = None,
        totals: QueryInput | None = None,
    ) -> Plan:
        """Execution plan of the first page of a list of traces, for operators of the server.

        With conditions that only calls have, it is the plan of the search for the calls that choose the traces.

        Args:
            filter: Filter of the heads; all traces if omitted.
            query: Further condition on fields of the heads; none if omitted.
            any_call: Condition on any call of a trace; none if omitted.
            sort_by: Sort order; the newest first if omitted or empty.
            totals: Condition on the fields of sort_by; none if omitted.
        """
        condition = to_store(filter), to_store(query), to_store(any_call), _of_totals(totals)
        store = info.context.stores.trace_lists
        return await store.explain(project_id, condition[0], sort_keys(sort_by), *condition[1:])

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


def _of_thread(kind: object, find: Callable[[ThreadsStore], Find], name: str) -> FieldDefinition:
    """Field with one of the sums over the traces of a thread's turns."""
    return to_one(
        kind, lambda stores: find(stores.threads), _THREAD_KEY, lambda _: (), lambda found: found[name], work=COUNT
    )


@strawberry.type
class ThreadSchema(Node):
    """Thread: a conversation, made of turns.

    A turn is a call whose turnId is its own id; deleted turns do not count. Numbers of calls, errors, tokens, costs and
    users are those of the traces of the turns that count; a trace with several of these turns counts once.
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

    num_calls = _of_thread(BigInt, lambda threads: threads.counts, "num_calls")
    """Number of calls."""
    num_errors = _of_thread(BigInt, lambda threads: threads.counts, "num_errors")
    """Number of calls that ended with an exception."""
    total_tokens = _of_thread(BigInt, lambda threads: threads.usage, "total_tokens")
    """Number of tokens, with each call's own usage counted once."""
    total_cost = _of_thread(float | None, lambda threads: threads.usage, "total_cost")
    """Cost in US dollars, with each call's own usage counted once; null if no model has a price in US dollars."""

    users = to_one(
        list[str],
        lambda stores: stores.threads.counts,
        _THREAD_KEY,
        lambda _: (),
        lambda found: checked_users(found["users"]),
        work=COUNT,
    )
    """Distinct ids of end users, sorted; an error if there are more than 1,000."""

    ref: strawberry.ID = node_ref(_thread_ref)
    """Ref of the thread, which node resolves; if a filter bounds its turns, the ref contains these bounds."""
    turns = to_many(Call, lambda stores: stores.threads.turns, _THREAD_KEY)
    """Turns that turnCount counts, the oldest first."""
    calls = to_many(Call, lambda stores: stores.threads.calls, _THREAD_KEY)
    """All calls of the thread, turns and their steps, regardless of the filter's times; the oldest first."""
    conversation = conversation_field(lambda stores: stores.conversations.of_threads, _THREAD_KEY)
    """Messages of the thread's model calls in the order of their starts, without the history that later calls repeat;
    of the roots of its traces if it has no model call. Null, with an error, if there are more than 1,000 model calls,
    or more than 10,000 messages and first is omitted.
    """
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
    """Query fields that read threads."""

    @resolved_field(returns=ThreadSchema | None)
    async def thread(self, info: Info, project_id: ProjectId, thread_id: str) -> Row | None:
        """Thread with all its turns; null if no turn of it has ended.

        Args:
            thread_id: Id of the thread, shared by its calls.
        """
        return await info.context.stores.threads.one(project_id, thread_id, selected_fields(info))

    @connection_field(of=ThreadSchema, scans=True)
    async def threads(
        self,
        info: Info,
        project_id: ProjectId,
        filter: ThreadsQueryFilter | None = None,
        query: QueryInput | None = None,
        sort_by: list[SortBy] | None = None,
        totals: QueryInput | None = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """Page of the project's threads, without those of which no turn has ended yet.

        Args:
            filter: Filter of threads and of their turns; all if omitted.
            query: Condition on fields of calls that at least one of the turns must meet; all of them count
                nevertheless.
            sort_by: Sort order: by thread_id, turn_count, start_time, last_updated, p50_turn_duration_ms,
                p99_turn_duration_ms, num_calls, num_errors, total_tokens or total_cost; the last updated first if
                omitted or empty.
            totals: Condition on the fields of sort_by, such as total_cost; none if omitted.
        """
        condition = to_store(filter), to_store(query), _of_totals(totals)
        store, wanted = info.context.stores.threads, selected_node_fields(info)
        page = await store.page(project_id, request, wanted, condition[0], sort_keys(sort_by), *condition[1:])
        return Listing(page, partial(store.count, project_id, *condition))

    @resolved_field(returns=ExplainRes, work=COUNT, scans=True)
    async def explain_threads(
        self,
        info: Info,
        project_id: ProjectId,
        filter: ThreadsQueryFilter | None = None,
        query: QueryInput | None = None,
        sort_by: list[SortBy] | None = None,
        totals: QueryInput | None = None,
    ) -> Plan:
        """Execution plan that finds the threads of the first page of a list, for operators of the server.

        Args:
            filter: Filter of threads and of their turns; all if omitted.
            query: Condition on fields of calls that at least one of the turns must meet; none if omitted.
            sort_by: Sort order; the last updated first if omitted or empty.
            totals: Condition on the fields of sort_by; none if omitted.
        """
        condition = to_store(filter), to_store(query), _of_totals(totals)
        store = info.context.stores.threads
        return await store.explain(project_id, condition[0], sort_keys(sort_by), *condition[1:])
