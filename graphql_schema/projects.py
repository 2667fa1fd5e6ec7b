"""Projects: list, contents, storage sizes, purges, and retention of their calls."""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from operator import attrgetter
from typing import Annotated, Final

import strawberry

from graphql_schema.calls.queries import CallQueries
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.costs import CostQueries, CostQueryOutput
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.feedback import Feedback, FeedbackQueries
from graphql_schema.fields import (
    FieldDefinition,
    Node,
    ProjectId,
    argument,
    computed_field,
    found_or_null,
    node_ref,
    resolved_field,
    selected_fields,
)
from graphql_schema.fields.connections import batched_resolver, field_of_project, list_field
from graphql_schema.limits.cost_weights import COUNT, SCAN
from graphql_schema.objects import ObjectQueries, ObjSchema
from graphql_schema.traces import ThreadQueries, ThreadSchema, Trace, TraceQueries
from stores.errors import StoreTimeoutError
from stores.ids import check_project_id
from stores.paging import Row
from stores.projects import ProjectsFilter as StoreFilter
from stores.projects import ProjectsStore
from stores.purges import PurgeReport
from stores.refs import project_ref
from stores.retention import Counts, Outcome, Report, Retention, Rule
from stores.security.access import Role

Entity = Annotated[str, argument("Entity of the project: the part of its id before the slash.")]
Name = Annotated[
    str,
    argument(
        "Name of the project: 1 to 128 characters, at least one of them visible, without control "
        "characters and / \\ # ? % :. The names . and .. are not allowed. Surrounding whitespace is "
        "removed, and letters with accents are composed (NFC)."
    ),
]

KeepDays = Annotated[int | None, argument("Number of days to keep, from 1 to 36,500; no limit if null or omitted.")]
KeepCalls = Annotated[
    int | None, argument("Number of the newest calls to keep, at least 1; no limit if null or omitted.")
]

PURGE_WAIT_SECONDS: Final = 60
"""Time in seconds that `projectPurge` waits; the purge continues after that."""

SWEEP_WAIT_SECONDS: Final = 5
"""Time in seconds that `retentionSweep` waits; the sweep continues after that."""

_RENAMED: Final = {"trace_storage_size_bytes": "trace_bytes", "files_storage_size_bytes": "file_bytes"}
"""Counts whose fields have other names than in `stores.retention`."""

strawberry.enum(Outcome, name="SweepOutcome")
strawberry.enum(Role)


@strawberry.input
class ProjectsFilter:
    """Filter of projects; null and empty fields set no condition."""

    entity: str | None = None
    """Entity of the projects."""
    name_prefix: str | None = None
    """Prefix of the names, case-sensitive."""

    def to_store(self) -> StoreFilter:
        """Convert to the filter of `stores.projects`."""
        return StoreFilter(self.entity, self.name_prefix)


def _of_caller(info: Info, projects_filter: ProjectsFilter | None) -> StoreFilter:
    """Return a filter restricted to the projects that the caller may read."""
    return replace(projects_filter.to_store() if projects_filter else StoreFilter(), among=info.context.caller.projects)


@strawberry.type
class ProjectStatsRes:
    """Storage sizes of a project in bytes, without deleted data; computed only if selected."""

    # The source is a row of `stores.projects`.

    trace_storage_size_bytes: BigInt
    """Size of all calls as JSON text, in bytes: attributes, inputs, output and summary."""
    objects_storage_size_bytes: BigInt
    """Size of the values of all versions of objects and ops as JSON text, in bytes."""
    tables_storage_size_bytes: BigInt
    """Size of the rows of all tables as JSON text, in bytes; rows shared by tables count once."""
    files_storage_size_bytes: BigInt
    """Size of all files in bytes; each content counts once."""


@contextmanager
def _explained_timeout(info: Info, instead: str = "ask for fewer projects per request (first)") -> Iterator[None]:
    """Context manager that names the field and a remedy in the error of a count that times out.

    Raises:
        StoreTimeoutError: if the count times out.
    """
    try:
        yield
    except StoreTimeoutError as error:
        raise StoreTimeoutError(
            f"the database did not compute {info.field_name} in time; {instead}, or omit the field (the setting "
            "LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
        ) from error


def _totals_field(
    kind: object,
    total: Callable[[ProjectsStore], Callable[..., Awaitable[Mapping[str, object]]]],
    select: Callable[[Info], tuple[Hashable, ...]] = lambda _: (),
) -> FieldDefinition:
    """Field with a total over a project's entities, of the GraphQL type `kind`; `select` returns its arguments."""

    async def of_all(info: Info, parents: Sequence[Row]) -> list[object]:
        ids = [parent["id"] for parent in parents]
        with _explained_timeout(info):
            found = await info.context.loaders.load_all(total(info.context.stores.projects), ids, *select(info))
        return [found[each] for each in ids]

    return resolved_field(returns=kind, work=COUNT)(batched_resolver(of_all))


@strawberry.type
class Project(Node):
    """Project: the namespace of ids, names and digests."""

    # The source is a row of `stores.projects`.

    ref: strawberry.ID = node_ref(lambda row: project_ref(row["id"]))
    id: strawberry.ID
    """Id of the project, as entity/name: the projectId of all other fields."""
    entity: str
    """Entity of the project."""
    name: str
    """Name of the project."""
    created_at: DateTime
    """Time when the project was created, explicitly or by the first write to it."""
    last_activity_at: DateTime | None
    """Time of the last write of a call's start or end, an object, a table, a file, feedback or a price. It may lag
    behind by up to 10 seconds. Null if there was none.
    """

    call_count = _totals_field(BigInt, lambda projects: projects.count_calls)
    """Number of calls; counted only if selected. Only calls of hours that changed lately are read one by one."""
    object_count = _totals_field(BigInt, lambda projects: projects.count_objects)
    """Number of versions of objects and ops; counted from an index only if selected."""
    feedback_count = _totals_field(BigInt, lambda projects: projects.count_feedback)
    """Number of feedback entries; counted from an index only if selected."""

    stats = _totals_field(
        ProjectStatsRes, lambda projects: projects.sizes, lambda info: (frozenset(selected_fields(info)),)
    )
    """Storage sizes of the project; each selected size but that of the calls is summed up from an index."""

    calls = field_of_project(CallQueries, "calls", CallSchema)
    traces = field_of_project(TraceQueries, "traces", Trace)
    threads = field_of_project(ThreadQueries, "threads", ThreadSchema)
    objs = field_of_project(ObjectQueries, "objs", ObjSchema)
    ops = field_of_project(ObjectQueries, "ops", ObjSchema)
    feedback = field_of_project(FeedbackQueries, "feedback", Feedback)
    costs = field_of_project(CostQueries, "costs", CostQueryOutput)


@strawberry.type
class EnsureProjectExistsRes:
    """Result of `ensureProjectExists`."""

    # The source is a row of `stores.projects`.

    project_name: str
    """Normalized name of the project."""
    project_id: strawberry.ID
    """Id of the project, as entity/name, with the normalized name."""


@strawberry.type
class ProjectPurgeRes:
    """Purge of a project.

    Its numbers count all permanently removed data, including data deleted earlier.
    """

    # The source is `stores.purges.PurgeReport`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    is_done: bool
    """True if all data is removed; until then, nothing can be stored in the project."""
    started_at: DateTime
    """Start time of the purge."""
    ended_at: DateTime | None
    """End time of the purge; null while it runs."""
    waits_until: DateTime | None
    """Time until which the purge waits for servers that may not know of it yet and may still store data, which it then
    removes. Null if it does not wait.
    """
    calls: BigInt = computed_field(attrgetter("removed.calls"))
    """Number of removed calls."""
    feedback: BigInt = computed_field(attrgetter("removed.feedback"))
    """Number of removed feedback entries."""
    objects: BigInt = computed_field(attrgetter("removed.objects"))
    """Number of removed versions of objects and ops."""
    tables: BigInt = computed_field(attrgetter("removed.tables"))
    """Number of removed tables."""
    table_rows: BigInt = computed_field(attrgetter("removed.table_rows"))
    """Number of removed rows of tables; rows shared by tables count once."""
    files: BigInt = computed_field(attrgetter("removed.files"))
    """Number of removed files."""
    costs: BigInt = computed_field(attrgetter("removed.costs"))
    """Number of removed prices of the project."""


def _duration_ms(report: Report) -> int | None:
    return None if report.ended_at is None else (report.ended_at - report.started_at) // 1000


@strawberry.type
class RetentionSweepRes:
    """Sweep of a project by its retention rule.

    Its numbers count permanently removed data.
    """

    # The source is `stores.retention.Report`.

    outcome: Outcome
    """State of the sweep."""
    started_at: DateTime
    """Start time of the sweep."""
    ended_at: DateTime | None
    """End time of the sweep; null while it runs."""
    duration_ms: BigInt | None = computed_field(_duration_ms)
    """Duration in whole milliseconds, including pauses; null while the sweep runs."""
    traces: BigInt = computed_field(attrgetter("counts.traces"))
    """Number of removed traces, each with all its calls."""
    calls: BigInt = computed_field(attrgetter("counts.calls"))
    """Number of calls of the removed traces."""
    hidden_calls: BigInt = computed_field(attrgetter("counts.hidden_calls"))
    """Number of removed calls that were deleted seven days before, and of ends and names of calls that never started.
    """
    feedback: BigInt = computed_field(attrgetter("counts.feedback"))
    """Number of removed feedback entries on the removed calls, and on calls missing for a day."""
    files: BigInt = computed_field(attrgetter("counts.files"))
    """Number of removed files to which nothing in the project referred."""
    trace_storage_size_bytes: BigInt = computed_field(attrgetter("counts.trace_bytes"))
    """Size of the removed traces' calls as JSON text, in bytes."""
    files_storage_size_bytes: BigInt = computed_field(attrgetter("counts.file_bytes"))
    """Size of the removed files in bytes."""
    error: str | None
    """Error message, or reason why the sweep stopped; null otherwise."""


@strawberry.type
class RetentionRes:
    """Retention rule of a project, and its last sweep."""

    # The source is `stores.retention.Retention`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    keep_days: int | None = computed_field(attrgetter("rule.keep_days"))
    """Number of days to keep; null for no limit."""
    keep_calls: int | None = computed_field(attrgetter("rule.keep_calls"))
    """Number of the newest calls to keep; null for no limit."""
    set_at: DateTime | None
    """Time when the rule was last set or removed; null if it never was."""
    next_sweep_at: DateTime | None = computed_field(attrgetter("due_at"))
    """Time of the next sweep; null without a rule."""
    last_sweep: RetentionSweepRes | None = computed_field(attrgetter("report"))
    """Last sweep, running or ended; null if there was none."""


@strawberry.type
class RetentionPreviewRes:
    """Data that a rule would remove now; nothing is removed.

    Only selected numbers are computed. They need a scan of all calls of the project, about ten seconds per million.
    Numbers of files need a scan of all its JSON.
    """

    # The source is `stores.retention.Counts`.

    traces: BigInt
    """Number of traces to remove, each with all its calls: those of which all calls are beyond the rule."""
    calls: BigInt
    """Number of calls of these traces."""
    hidden_calls: BigInt
    """Number of calls that were deleted seven days ago."""
    feedback: BigInt
    """Number of feedback entries on all these calls."""
    files: BigInt
    """Number of files to which nothing in the project would refer."""
    trace_storage_size_bytes: BigInt = computed_field(attrgetter("trace_bytes"))
    """Size of the traces' calls as JSON text, in bytes."""
    files_storage_size_bytes: BigInt = computed_field(attrgetter("file_bytes"))
    """Size of the files in bytes."""


@strawberry.type
class ProjectQueries:
    """Query fields that read projects, their retention and their purges."""

    projects = list_field(
        Project,
        lambda stores: stores.projects,
        key={},
        filter=ProjectsFilter,
        to_filter=_of_caller,
    )
    """Page of the projects: those that were created explicitly or written to.

    Args:
        filter: Filter of the projects; all projects if omitted.
        sort_by: Sort order, by id, entity, name, createdAt or lastActivityAt; by id if omitted or empty.
    """

    @resolved_field(returns=Project | None)
    async def project(self, info: Info, project_id: ProjectId) -> Row | None:
        """Project; null if it was neither created explicitly nor written to."""
        return await info.context.stores.projects.one(project_id, selected_fields(info))

    @resolved_field()
    async def role(self, info: Info, project_id: ProjectId) -> Role:
        """Role of the caller in a project, which need not exist; every caller may ask."""
        check_project_id(project_id)
        return info.context.caller.role_in(project_id)

    @resolved_field(returns=ProjectStatsRes, work=COUNT)
    async def project_stats(self, info: Info, project_id: ProjectId) -> Row:
        """Storage sizes of a project; zeros if it is missing.

        Each selected size but that of the calls is summed up from an index, about two seconds per million entries.
        """
        with _explained_timeout(info, "select fewer of the four sizes per request"):
            sizes = await info.context.stores.projects.sizes([project_id], frozenset(selected_fields(info)))
        return sizes[project_id]

    @resolved_field(returns=RetentionRes | None)
    async def retention(self, info: Info, project_id: ProjectId) -> Retention | None:
        """Retention rule of a project, and its last sweep; null if the project is missing."""
        return await info.context.stores.retention.one(project_id)

    @resolved_field(returns=RetentionPreviewRes | None, work=SCAN)
    async def retention_preview(
        self, info: Info, project_id: ProjectId, keep_days: KeepDays = None, keep_calls: KeepCalls = None
    ) -> Counts | None:
        """Preview of a retention rule: numbers of what it would remove now.

        Nothing is removed. The project's own rule if keepDays and keepCalls are omitted. Null if the project is
        missing.
        """
        wanted = {_RENAMED.get(name, name) for name in selected_fields(info)} & {each.name for each in fields(Counts)}
        retention = info.context.stores.retention
        try:
            return await found_or_null(retention.preview(project_id, Rule(keep_days, keep_calls), wanted))
        except StoreTimeoutError as error:
            raise StoreTimeoutError(
                "the database did not compute the preview in time; select fewer numbers, first omit files and "
                "filesStorageSizeBytes (the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
            ) from error

    @resolved_field(returns=ProjectPurgeRes | None)
    async def last_purge(self, info: Info, project_id: ProjectId) -> PurgeReport | None:
        """Last purge of a project, running or done; null if the project was never purged."""
        return await info.context.stores.purges.last(project_id)


@strawberry.type
class ProjectMutations:
    """Mutation fields that write projects and their retention rules, and remove data."""

    @resolved_field()
    async def ensure_project_exists(self, info: Info, entity: Entity, project: Name) -> EnsureProjectExistsRes:
        """Creation of a project, unless it exists.

        It is optional: the first write creates a project too.
        """
        found = await info.context.stores.projects.ensure(entity, project)
        return EnsureProjectExistsRes(project_name=found["name"], project_id=strawberry.ID(found["id"]))

    @resolved_field(
        "Change of a project's retention rule: calls beyond keepDays or keepCalls are removed permanently from now "
        "on, whole traces at a time. The new rule replaces the old one; without both arguments the rule is removed, "
        "and nothing more is. It requires the role admin.",
        returns=RetentionRes,
    )
    async def retention_set(
        self, info: Info, project_id: ProjectId, keep_days: KeepDays = None, keep_calls: KeepCalls = None
    ) -> Retention:
        """Set or remove the rule; return the retention."""
        return await info.context.stores.retention.set_rule(project_id, Rule(keep_days, keep_calls))

    @resolved_field(returns=RetentionSweepRes)
    async def retention_sweep(self, info: Info, project_id: ProjectId) -> Report:
        """Sweep of a project by its rule now, instead of within the hour.

        The response waits at most five seconds; the sweep continues after that, and retention reports its progress. It
        requires the role admin.
        """
        return await info.context.stores.retention.sweep(project_id, SWEEP_WAIT_SECONDS)

    @resolved_field(returns=ProjectPurgeRes)
    async def project_purge(self, info: Info, project_id: ProjectId, confirm: str) -> PurgeReport:
        """Permanent removal of a project with all its data and its retention rule.

        Writes to the project during the purge fail with UNAVAILABLE; later writes create it again. The response waits
        for the removal of stored data, at most one minute. If something was stored in the last two minutes, the purge
        then waits until waitsUntil, and isDone is false; lastPurge reports its end. It requires the role admin.

        Args:
            confirm: Id of the project again, as protection against mistakes.
        """
        return await info.context.stores.purges.purge(project_id, confirm, PURGE_WAIT_SECONDS, waits=False)
