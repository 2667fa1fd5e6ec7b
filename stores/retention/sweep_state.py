"""The retention document of a project: its rule, the lease of the sweep, and its progress.

Every step that deletes something updates this document in its own transaction, and only if rule and lease are
unchanged. A change of the rule, a takeover or a purge therefore either stops the step or follows it. The report counts
exactly what was deleted, even after a crash.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

from stores import times
from stores.database import Collection, Database, Document
from stores.database.leases import LEASE_SECONDS, Lease
from stores.database.transactions import Session
from stores.retention.rules import Outcome

PAUSE: Final = 3_600_000_000
"""Microseconds from the end of a sweep to the next."""
PAUSE_AFTER_FAILURE: Final = 60_000_000

IS_RUNNING: Final = {"$eq": ["$sweep.outcome", str(Outcome.RUNNING)]}


class SweepLease(Lease):
    """The lease on the sweep of one project."""

    def __init__(self, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS) -> None:
        has_rule = {"$or": [{"keep_days": {"$exists": True}}, {"keep_calls": {"$exists": True}}]}
        super().__init__(database, database.retention, {"_id": project_id, **has_rule}, lease_seconds)
        self.project_id = project_id

    async def start(self) -> bool:
        """Acquire the lease and start a sweep, or continue an interrupted one.

        Returns False if there is no rule, or another process has the lease.
        """
        new = {"outcome": str(Outcome.RUNNING), "started_at": times.now()}
        return await self.acquire({"sweep": {"$cond": [IS_RUNNING, "$sweep", {"$literal": new}]}})

    async def count(self, counts: Mapping[str, int], session: Session) -> None:
        """Add to the counts of the report, in the transaction that deletes.

        Raises:
            LeaseLostError: if the lease is lost; the transaction must abort.
        """
        await self.advance(counts={f"sweep.{name}": number for name, number in counts.items()}, session=session)

    async def finish(self, error: str | None = None) -> None:
        """Store the outcome and the time of the next sweep; no effect if the lease is lost."""
        now = times.now()
        outcome = Outcome.DONE if error is None else Outcome.FAILED
        changes = {"sweep.outcome": str(outcome), "sweep.ended_at": now, "sweep.error": error}
        await self.release({**changes, "due_at": now + (PAUSE if error is None else PAUSE_AFTER_FAILURE)})


async def read_by_time(
    collection: Collection, match: Document, field: str, limits: Document, paths: Sequence[str], size: int
) -> AsyncGenerator[list[Document], None]:
    """Yield the matching documents in batches, oldest first by `field`, whose values are within `limits`."""
    match = {**match, field: dict(limits)}
    projection = dict.fromkeys([*paths, field, "id"], 1)
    order = [(field, 1), ("id", 1)]
    while rows := await collection.find(match, projection, sort=order, limit=size, batch_size=size + 1).to_list(None):
        yield rows
        match[field]["$gte"] = at = rows[-1][field]
        match["$or"] = [{field: {"$gt": at}}, {field: at, "id": {"$gt": rows[-1]["id"]}}]
