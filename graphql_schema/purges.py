"""Purges of whole projects."""

from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, argument, plain_field, resolved_field
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import Row
from stores.purges import PurgeReport

WAIT_SECONDS: Final = 60
"""Time in seconds that the mutation waits for a purge; the purge continues after that."""

Confirm = Annotated[str, argument("Id of the project again, as protection against mistakes.")]


@strawberry.type
class ProjectPurgeRes:
    """Purge of a project.

    Its numbers count all permanently removed data, including data deleted earlier.
    """

    # The source is a row of `_row`.

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    is_done: bool = plain_field("True if all data is removed; until then, nothing can be stored in the project.")
    started_at: DateTime = plain_field("Start time of the purge.")
    ended_at: DateTime | None = plain_field("End time of the purge; null while it runs.")
    waits_until: DateTime | None = plain_field(
        "Time until which the purge waits for servers that may not know of it yet and may still store data, which it "
        "then removes. Null if it does not wait."
    )
    calls: BigInt = plain_field("Number of removed calls.")
    feedback: BigInt = plain_field("Number of removed feedback entries.")
    objects: BigInt = plain_field("Number of removed versions of objects and ops.")
    tables: BigInt = plain_field("Number of removed tables.")
    table_rows: BigInt = plain_field("Number of removed rows of tables; rows shared by tables count once.")
    files: BigInt = plain_field("Number of removed files.")
    costs: BigInt = plain_field("Number of removed prices of the project.")


@strawberry.type
class PurgeQueries:
    """Query fields about purges."""

    @resolved_field(returns=ProjectPurgeRes | None)
    async def last_purge(self, info: Info, project_id: ProjectId) -> Row | None:
        """Last purge of a project, running or done; null if the project was never purged."""
        found = await info.context.stores.purges.last(project_id)
        return _row(found) if found else None


@strawberry.type
class PurgeMutations:
    """Mutation fields about purges."""

    @resolved_field(returns=ProjectPurgeRes)
    async def project_purge(self, info: Info, project_id: ProjectId, confirm: Confirm) -> Row:
        """Permanent removal of a project with all its data and its retention rule.

        Writes to the project during the purge fail with UNAVAILABLE; later writes create it again. The response waits
        for the removal of stored data, at most one minute. If something was stored in the last two minutes, the purge
        then waits until waitsUntil, and isDone is false; lastPurge reports its end. It requires the role admin.
        """
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
