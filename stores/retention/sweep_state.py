"""The retention document of a project: its rule, the lease of the sweep, and its progress.

Every step that deletes something updates this document in its own transaction, and only if rule and lease are
unchanged. A change of the rule, a takeover or a purge therefore either stops the step or follows it. The report counts
exactly what was deleted, even after a crash.
"""

from typing import Final

from pymongo import ReturnDocument

from stores import ids, times
from stores.database import Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.database.transactions import Session
from stores.retention.reports import COUNTS, Outcome
from stores.retention.rules import Rule

PAUSE: Final = 3_600_000_000
"""Microseconds from the end of a sweep to the next."""
PAUSE_AFTER_FAILURE: Final = 60_000_000

_IS_RUNNING: Final = {"$eq": ["$sweep.outcome", str(Outcome.RUNNING)]}


class SupersededError(Exception):
    """The rule was changed, the project was purged, or another process took over the sweep."""


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


class SweepLease:
    """The lease on the sweep of one project."""

    def __init__(self, database: Database, state: Document, holder: str, lease_seconds: float) -> None:
        self._retention = database.retention
        self.state = state
        self.project_id: str = state["_id"]
        self.rule = Rule(state.get("keep_days"), state.get("keep_calls"))
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._lease_match = {"_id": self.project_id, "holder": holder, "rule_id": state["rule_id"]}

    @classmethod
    async def acquire(
        cls, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS
    ) -> "SweepLease | None":
        """Acquire the lease and start a sweep, or continue an interrupted one.

        Returns None if there is no rule, or another process has the lease.
        """
        holder = new_holder()
        has_rule = {"$or": [{"keep_days": {"$exists": True}}, {"keep_calls": {"$exists": True}}]}
        new = {"outcome": str(Outcome.RUNNING), "started_at": times.now()}
        changes = {
            **lease_update(holder, lease_seconds),
            "sweep": {"$cond": [_IS_RUNNING, "$sweep", {"$literal": new}]},
        }
        state = await database.retention.find_one_and_update(
            {"_id": project_id, "$and": [has_rule, available_to(holder)]},
            [{"$set": changes}],
            return_document=ReturnDocument.AFTER,
        )
        return None if state is None else cls(database, state, holder, lease_seconds)

    async def advance(self, counts: Document | None = None, session: Session | None = None, **changes: object) -> None:
        """Add to the counts, store other changes (None removes a field), and renew the lease.

        Raises:
            SupersededError: if the lease is lost; a surrounding transaction must abort.
        """
        added = {
            f"sweep.{name}": {"$add": [{"$ifNull": [f"$sweep.{name}", 0]}, number]}
            for name, number in (counts or {}).items()
            if name in COUNTS
        }
        values = {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in changes.items()}
        update = [{"$set": {**lease_update(self._holder, self._lease_seconds), **added, **values}}]
        done = await self._retention.update_one(self._lease_match, update, session=session)
        if not done.matched_count:
            raise SupersededError

    async def finish(self, error: str | None = None) -> None:
        """Store the outcome and the time of the next sweep; no effect if the lease is lost."""
        now = times.now()
        outcome = Outcome.DONE if error is None else Outcome.FAILED
        outcome_fields = {
            "sweep.outcome": str(outcome),
            "sweep.ended_at": now,
            **({"sweep.error": error} if error else {}),
        }
        due_at = now + (PAUSE if error is None else PAUSE_AFTER_FAILURE)
        lease_fields = {"holder": "", "held_until": ""}
        await self._retention.update_one(
            self._lease_match, {"$set": {**outcome_fields, "due_at": due_at}, "$unset": lease_fields}
        )

    async def release(self) -> None:
        """Release the lease, so that another process can continue at once."""
        lease_fields = {"holder": "", "held_until": ""}
        await self._retention.update_one(self._lease_match, {"$set": {"due_at": times.now()}, "$unset": lease_fields})
