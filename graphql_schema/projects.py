"""Projects: list, contents, storage sizes, and purges."""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
    node_ref,
    resolved_field,
    selected_fields,
)
from graphql_schema.fields.connections import batched_resolver, field_of_project, list_field
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.objects import ObjectQueries, ObjSchema
from graphql_schema.threads import ThreadQueries, ThreadSchema
from stores.errors import StoreTimeoutError
from stores.paging import Row
from stores.projects import ProjectsFilter as StoreFilter
from stores.projects import ProjectsStore
from stores.purges import PurgeReport
from stores.refs import project_ref

Entity = Annotated[str, argument("Entity of the project: the part of its id before the slash.")]
Name = Annotated[
    str,
    argument(
        "Name of the project: 1 to 128 characters, at least one of them visible, without control "
        "characters and / \\ # ? % :. The names . and .. are not allowed. Surrounding whitespace is "
        "removed, and letters with accents are composed (NFC)."
    ),
]

WAIT_SECONDS: Final = 60
"""Time in seconds that the mutation waits for a purge; the purge continues after that."""


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
    """Number of calls; counted from an index only if selected, about half a second per million."""
    object_count = _totals_field(BigInt, lambda projects: projects.count_objects)
    """Number of versions of objects and ops; counted from an index only if selected."""
    feedback_count = _totals_field(BigInt, lambda projects: projects.count_feedback)
    """Number of feedback entries; counted from an index only if selected."""

    stats = _totals_field(
        ProjectStatsRes, lambda projects: projects.sizes, lambda info: (frozenset(selected_fields(info)),)
    )
    """Storage sizes of the project; each selected size is summed up from an index, about two seconds per million calls.
    """

    calls = field_of_project(CallQueries, "calls", CallSchema)
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
class ProjectQueries:
    """Query fields that read projects."""

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

    @resolved_field(returns=ProjectStatsRes, work=COUNT)
    async def project_stats(self, info: Info, project_id: ProjectId) -> Row:
        """Storage sizes of a project; zeros if it is missing.

        Each selected size is summed up from an index, about two seconds per million calls.
        """
        with _explained_timeout(info, "select fewer of the four sizes per request"):
            sizes = await info.context.stores.projects.sizes([project_id], frozenset(selected_fields(info)))
        return sizes[project_id]


@strawberry.type
class ProjectMutations:
    """Mutation fields that write projects."""

    @resolved_field()
    async def ensure_project_exists(self, info: Info, entity: Entity, project: Name) -> EnsureProjectExistsRes:
        """Creation of a project, unless it exists.

        It is optional: the first write creates a project too.
        """
        found = await info.context.stores.projects.ensure(entity, project)
        return EnsureProjectExistsRes(project_name=found["name"], project_id=strawberry.ID(found["id"]))


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


@strawberry.type
class PurgeQueries:
    """Query fields about purges."""

    @resolved_field(returns=ProjectPurgeRes | None)
    async def last_purge(self, info: Info, project_id: ProjectId) -> PurgeReport | None:
        """Last purge of a project, running or done; null if the project was never purged."""
        return await info.context.stores.purges.last(project_id)


@strawberry.type
class PurgeMutations:
    """Mutation fields about purges."""

    @resolved_field(returns=ProjectPurgeRes)
    async def project_purge(self, info: Info, project_id: ProjectId, confirm: str) -> PurgeReport:
        """Permanent removal of a project with all its data and its retention rule.

        Writes to the project during the purge fail with UNAVAILABLE; later writes create it again. The response waits
        for the removal of stored data, at most one minute. If something was stored in the last two minutes, the purge
        then waits until waitsUntil, and isDone is false; lastPurge reports its end. It requires the role admin.

        Args:
            confirm: Id of the project again, as protection against mistakes.
        """
        return await info.context.stores.purges.purge(project_id, confirm, WAIT_SECONDS, waits=False)
