"""The retention document of a project: its rule, the lease of the sweep, and its progress.

Every step that deletes something updates this document in its own transaction, and only if rule and lease are
unchanged. A change of the rule, a takeover or a purge therefore either stops the step or follows it. The report counts
exactly what was deleted, even after a crash.
"""

from collections.abc import Mapping
from typing import Final

from pymongo import ReturnDocument

from stores import ids, times
from stores.database import Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, Lease
from stores.database.transactions import Session
from stores.retention.reports import Outcome
from stores.retention.rules import Rule

PAUSE: Final = 3_600_000_000
"""Microseconds from the end of a sweep to the next."""
PAUSE_AFTER_FAILURE: Final = 60_000_000

_IS_RUNNING: Final = {"$eq": ["$sweep.outcome", str(Outcome.RUNNING)]}


async def set_rule(database: Database, project_id: str, rule: Rule) -> Document | None:
    """Replace the rule of a project (an empty rule removes it) and stop a sweep by the old rule.

    Returns the new document, or None if the project is not listed or is being purged.
    """
    now = times.now()
    stopped = {"outcome": str(Outcome.STOPPED), "ended_at": now, "error": "the rule was changed"}
    changes: Document = {
        "project_id": project_id,
        "keep_days": "$$REMOVE" if rule.keep_days is None else rule.keep_days,
        "keep_calls": "$$REMOVE" if rule.keep_calls is None else rule.keep_calls,
        "rule_id": ids.new_id(),
        "set_at": now,
        "due_at": now if rule else "$$REMOVE",
        "doomed": "$$REMOVE",
        "holder": "$$REMOVE",
        "held_until": "$$REMOVE",
        "sweep": {"$cond": [_IS_RUNNING, {"$mergeObjects": ["$sweep", stopped]}, {"$ifNull": ["$sweep", "$$REMOVE"]}]},
    }

    async def operation(session: Session) -> Document | None:
        # Also writes the registry entry, so that it conflicts with the start or end of a purge.
        entry = {"_id": project_id, project_registry.PURGING: None}
        entry_update = {"$set": {"rule_id": changes["rule_id"]}}
        if not (await database.projects.update_one(entry, entry_update, session=session)).matched_count:
            return None
        document = await database.retention.find_one_and_update(
            {"_id": project_id},
            [{"$set": changes}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return dict(document)

    return await database.transaction(operation)


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
        return await self.acquire({"sweep": {"$cond": [_IS_RUNNING, "$sweep", {"$literal": new}]}})

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

    async def pause(self) -> None:
        """Release the lease, so that another process can continue at once."""
        await self.release({"due_at": times.now()})
