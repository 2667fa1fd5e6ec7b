"""Query that reads a trace."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, resolved_field
from graphql_schema.traces.types import Trace
from stores.paging import Row


@strawberry.type
class TraceQueries:
    """Query field that reads traces."""

    @resolved_field("Trace; null if it has no calls, or all of them are deleted.", returns=Trace | None)
    async def trace(
        self,
        info: Info,
        project_id: ProjectId,
        trace_id: Annotated[strawberry.ID, strawberry.argument(description="Id of the trace, shared by its calls.")],
    ) -> Row | None:
        """Read a trace; None if it has no calls."""
        return await info.context.stores.traces.one(project_id, trace_id)
