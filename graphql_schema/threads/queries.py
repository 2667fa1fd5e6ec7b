"""Query that reads threads."""

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
    strawberry.argument(description="Filter of threads and of their turns; all if omitted."),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order: by thread_id, turn_count, start_time, last_updated, p50_turn_duration_ms or "
        "p99_turn_duration_ms; the last updated first if omitted or empty."
    ),
]


@strawberry.type
class ThreadQueries:
    """Query field that reads threads."""

    @connection_field(
        "Page of the project's threads, without those of which no turn has ended yet.",
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
        """Return a page of threads and a function that counts all of them."""
        threads, which = info.context.stores.threads, to_store(filter)
        page = await threads.page(
            project_id, request, connections.selected_node_fields(info), which, sort_keys(sort_by)
        )
        return Listing(page, partial(threads.count, project_id, which))
