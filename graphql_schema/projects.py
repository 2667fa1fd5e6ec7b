"""Projects: which there are, what is in each, and what it takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.calls.queries import CallQueries
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.costs.queries import CostQueries
from graphql_schema.costs.types import CostQueryOutput
from graphql_schema.feedback.queries import FeedbackQueries
from graphql_schema.feedback.types import Feedback
from graphql_schema.fields import ProjectId, connections, optional_input, plain_field, resolved_field
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.project_lists import of_project
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.objects.queries import ObjectQueries
from graphql_schema.objects.types import ObjSchema
from graphql_schema.scalars import BigInt, DateTime
from graphql_schema.threads.queries import ThreadQueries
from graphql_schema.threads.types import ThreadSchema
from stores.errors import StoreTimeoutError
from stores.paging import PageRequest, Row
from stores.projects import ProjectsFilter as StoreFilter
from stores.refs import project_ref

Entity = Annotated[str, strawberry.argument(description="Whose project it is: what comes before the slash in its id.")]
Name = Annotated[
    str,
    strawberry.argument(
        description="The project's name: 1 to 128 characters without any of / \\ # ? % : and control characters, not "
        "all of them invisible, and neither . nor .. alone. Space around it is taken off, and letters with accents "
        "are composed (NFC)."
    ),
]


@strawberry.input(description="Which projects; what is null or empty asks nothing.")
class ProjectsFilter:
    """A filter."""

    entity: str | None = optional_input("Those of this entity.")
    name_prefix: str | None = optional_input("Those whose names begin with this text, in the same letter case.")

    def to_store(self) -> StoreFilter:
        """The filter as the stores take it."""
        return StoreFilter(self.entity, self.name_prefix)


def _of_caller(info: Info, given: ProjectsFilter | None) -> StoreFilter:
    """A filter of those projects that the caller may read."""
    return replace(given.to_store() if given else StoreFilter(), among=info.context.caller.projects)


Filter = Annotated[ProjectsFilter | None, strawberry.argument(description="Which projects; all if left out.")]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="By which fields: id, entity, name, createdAt, lastActivityAt; by id if left out or empty."
    ),
]


@strawberry.type(description="What a project takes in bytes, without what is deleted; computed where it is selected.")
class ProjectStatsRes:
    """Four sizes; the source is a row of `stores.projects`."""

    trace_storage_size_bytes: BigInt = plain_field(
        "The JSON text of all calls: attributes, inputs, output and summary."
    )
    objects_storage_size_bytes: BigInt = plain_field("The JSON text of the values of all versions of objects and ops.")
    tables_storage_size_bytes: BigInt = plain_field(
        "The JSON text of the rows of all tables, each row once however many tables have it."
    )
    files_storage_size_bytes: BigInt = plain_field("The content of all files, each content once.")


@contextmanager
def _telling_whose_is_too_much(info: Info, instead: str = "ask for fewer projects at once (first)") -> Iterator[None]:
    """Say of what is not counted in time which field it is, and what to do instead.

    Raises:
        StoreTimeoutError: it was not counted in time.
    """
    try:
        yield
    except StoreTimeoutError as error:
        raise StoreTimeoutError(
            f"the database did not get through with {info.field_name} in time; {instead}, or without it "
            "(the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
        ) from error


@strawberry.type(description="A project: what all ids, names and digests are of.")
class Project(Node):
    """A project; its source is a row of `stores.projects`."""

    ref: strawberry.ID = node_ref(lambda row: project_ref(row["id"]))
    id: strawberry.ID = plain_field("Its id, entity/name: the projectId of all other fields.")
    entity: str = plain_field("Whose it is.")
    name: str = plain_field("Its name.")
    created_at: DateTime = plain_field("When it was first asked for or stored in.")
    last_activity_at: DateTime | None = plain_field(
        "When something was last stored in it (a call's start or end, an object, a table, a file, feedback, a price): "
        "never later than that, and at most 10 seconds earlier. Null while nothing was."
    )

    @resolved_field(
        "How many calls it has; counted only when selected, one by one in an index: some half a second for a million.",
        work=COUNT,
    )
    async def call_count(self, info: Info, parent: strawberry.Parent[Row]) -> BigInt:
        """How many calls it has."""
        with _telling_whose_is_too_much(info):
            return BigInt(await info.context.loaders.load(info.context.stores.projects.count_calls, parent["id"]))

    @resolved_field(
        "How many versions of objects and ops it has; counted only when selected, one by one in an index.", work=COUNT
    )
    async def object_count(self, info: Info, parent: strawberry.Parent[Row]) -> BigInt:
        """How many versions it has."""
        with _telling_whose_is_too_much(info):
            return BigInt(await info.context.loaders.load(info.context.stores.projects.count_objects, parent["id"]))

    @resolved_field("How much feedback it has; counted only when selected, one by one in an index.", work=COUNT)
    async def feedback_count(self, info: Info, parent: strawberry.Parent[Row]) -> BigInt:
        """How much feedback it has."""
        with _telling_whose_is_too_much(info):
            return BigInt(await info.context.loaders.load(info.context.stores.projects.count_feedback, parent["id"]))

    @resolved_field(
        "What its data takes; each size that is selected is summed up in an index, some two seconds for a million "
        "calls.",
        returns=ProjectStatsRes,
        work=COUNT,
    )
    async def stats(self, info: Info, parent: strawberry.Parent[Row]) -> Row:
        """What its data takes."""
        wanted = frozenset(selected_fields(info))
        with _telling_whose_is_too_much(info):
            return await info.context.loaders.load(info.context.stores.projects.sizes, parent["id"], wanted)

    calls = of_project("A page of its calls.", CallSchema, CallQueries, "calls")
    threads = of_project(
        "A page of its threads; those of which no turn has ended yet are left out.",
        ThreadSchema,
        ThreadQueries,
        "threads",
    )
    objs = of_project("A page of its objects and ops, every version an entry.", ObjSchema, ObjectQueries, "objs")
    ops = of_project("A page of its ops, every version an entry.", ObjSchema, ObjectQueries, "ops")
    feedback = of_project("A page of its feedback.", Feedback, FeedbackQueries, "feedback")
    costs = of_project(
        "A page of the prices that were set for it; those that LoomQL ships are not among them.",
        CostQueryOutput,
        CostQueries,
        "costs",
    )


@strawberry.type(description="A project that is there.")
class EnsureProjectExistsRes:
    """The project's name, as it is to be used; its source is a row of `stores.projects`."""

    project_name: str = plain_field("Its normalised name, by which it is called from now on.")
    project_id: strawberry.ID = plain_field("Its id, entity/name, with that name.")


@strawberry.type
class ProjectQueries:
    """The fields of Query that read projects."""

    @connection_field("A page of the projects: all that were asked for or stored in.", of=Project)
    async def projects(
        self,
        info: Info,
        filter: Filter = None,  # noqa: A002 -- the API's name
        sort_by: Sort = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """A page of projects."""
        projects = info.context.stores.projects
        which = _of_caller(info, filter)
        page = await projects.page(request, connections.selected_of_nodes(info), which, sort_keys(sort_by))
        return Listing(page, partial(projects.count, which))

    @resolved_field("A project; null if nothing was ever stored in it and nobody asked for it.", returns=Project | None)
    async def project(self, info: Info, project_id: ProjectId) -> Row | None:
        """A project."""
        return await info.context.stores.projects.one(project_id, selected_fields(info))

    @resolved_field(
        "What a project's data takes; zeros for one that is not there. Each size that is selected is summed up in an "
        "index, some two seconds for a million calls.",
        returns=ProjectStatsRes,
        work=COUNT,
    )
    async def project_stats(self, info: Info, project_id: ProjectId) -> Row:
        """What a project's data takes."""
        with _telling_whose_is_too_much(info, "select fewer of the four sizes at once"):
            sizes = await info.context.stores.projects.sizes([project_id], frozenset(selected_fields(info)))
        return sizes[project_id]


@strawberry.type
class ProjectMutations:
    """The fields of Mutation that write projects."""

    @resolved_field("List a project, unless it is there already; nothing must be done before data is stored in one.")
    async def ensure_project_exists(self, info: Info, entity: Entity, project: Name) -> EnsureProjectExistsRes:
        """List a project."""
        found = await info.context.stores.projects.ensure(entity, project)
        return EnsureProjectExistsRes(project_name=found["name"], project_id=strawberry.ID(found["id"]))
