"""Purges of whole projects."""

from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import Row
from stores.purges import PurgeReport

WAIT_SECONDS: Final = 60
"""How long a mutation waits for a purge; what is not done by then goes on without it."""

Confirm = Annotated[
    str, strawberry.argument(description="The project's id once more, so that nobody removes another by mistake.")
]


@strawberry.type(
    description="A purge of a project; the counts are of what is gone for good, with what was deleted before."
)
class ProjectPurgeRes:
    """A purge; its source is a row of `_row`."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    is_done: bool = plain_field("Whether all of it is gone; while it is not, nothing can be stored in the project.")
    started_at: DateTime = plain_field("When it began.")
    ended_at: DateTime | None = plain_field("When all of it was gone; null before.")
    waits_until: DateTime | None = plain_field(
        "Time until which it waits for servers that may not have noticed it, and may still store something; what they "
        "store is removed then. Null if it does not wait."
    )
    calls: BigInt = plain_field("Calls.")
    feedback: BigInt = plain_field("Feedback.")
    objects: BigInt = plain_field("Versions of objects and ops.")
    tables: BigInt = plain_field("Tables.")
    table_rows: BigInt = plain_field("Rows of tables, each once however many tables had it.")
    files: BigInt = plain_field("Files.")
    costs: BigInt = plain_field("The project's own prices.")


@strawberry.type
class PurgeQueries:
    """The fields of Query about purges."""

    @resolved_field(
        "The last purge of a project, under way or done; null if it was never purged.", returns=ProjectPurgeRes | None
    )
    async def last_purge(self, info: Info, project_id: ProjectId) -> Row | None:
        """The last purge."""
        found = await info.context.stores.purges.last(project_id)
        return _row(found) if found else None


@strawberry.type
class PurgeMutations:
    """The fields of Mutation about purges."""

    @resolved_field(
        "Remove a project for good, with all that is in it and its rule of retention. Whoever stores something in it "
        "meanwhile is answered UNAVAILABLE; afterwards, it is there anew. The answer comes when all that was stored is "
        "gone, after a minute at most. If something was stored in the last two minutes, the purge then waits until "
        "waitsUntil, and isDone is false; lastPurge tells when it is done. It takes the role admin.",
        returns=ProjectPurgeRes,
    )
    async def project_purge(self, info: Info, project_id: ProjectId, confirm: Confirm) -> Row:
        """Purge."""
        return _row(await info.context.stores.purges.purge(project_id, confirm, WAIT_SECONDS, waits=False))


def _row(report: PurgeReport) -> Row:
    removed = report.removed
    return {
        "project_id": report.project_id,
        "is_done": report.is_done,
        "started_at": report.started_at,
        "ended_at": report.ended_at,
        "waits_until": report.waits_until,
        **{name: getattr(removed, name) for name in type(removed).__dataclass_fields__},
    }
