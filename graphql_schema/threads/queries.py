"""Reading threads."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, connections, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.threads.inputs import ThreadsQueryFilter
from graphql_schema.threads.types import ThreadSchema
from stores.paging import PageRequest

Filter = Annotated[
    ThreadsQueryFilter | None,
    strawberry.argument(description="Which threads, made of which turns; all if left out."),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="In which order: by thread_id, turn_count, start_time, last_updated, p50_turn_duration_ms or "
        "p99_turn_duration_ms; the last updated first if left out or empty."
    ),
]


@strawberry.type
class ThreadQueries:
    """The field of Query that reads threads."""

    @connection_field(
        "A page of the project's threads; those of which no turn has ended yet are left out.",
        of=ThreadSchema,
        scans=True,
    )
    async def threads(
        self,
        info: Info,
        project_id: ProjectId,
        filter: Filter = None,  # noqa: A002 -- the API's name
        sort_by: Sort = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """A page of threads."""
        threads, which = info.context.stores.threads, to_store(filter)
        page = await threads.page(project_id, request, connections.selected_of_nodes(info), which, sort_keys(sort_by))
        return Listing(page, partial(threads.count, project_id, which))
