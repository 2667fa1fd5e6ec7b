"""Query that reads threads."""

from typing import Annotated

import strawberry

from graphql_schema.fields.connections import list_field
from graphql_schema.threads.inputs import ThreadsQueryFilter
from graphql_schema.threads.types import ThreadSchema


@strawberry.type
class ThreadQueries:
    """Query field that reads threads."""

    threads = list_field(
        "Page of the project's threads, without those of which no turn has ended yet.",
        ThreadSchema,
        lambda stores: stores.threads,
        filter=Annotated[
            ThreadsQueryFilter | None,
            strawberry.argument(description="Filter of threads and of their turns; all if omitted."),
        ],
        sort="Sort order: by thread_id, turn_count, start_time, last_updated, p50_turn_duration_ms or "
        "p99_turn_duration_ms; the last updated first if omitted or empty.",
        scans=True,
    )
