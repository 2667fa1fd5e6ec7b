"""The document of a project's retention: its rule, who sweeps by it, and how far that is.

Every step that removes something writes this document in its own transaction, and only while the rule and the sweeper
are those it began with. So whoever changes the rule, takes the sweep over, or purges the project, either stops the step
or comes after it; and what the report counts is what went, whatever was killed in between.
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
"""From the end of a sweep to the next, in microseconds."""
PAUSE_AFTER_FAILURE: Final = 60_000_000

_RUNS: Final = {"$eq": ["$sweep.outcome", str(Outcome.RUNNING)]}


class SupersededError(Exception):
    """The rule of a sweep is another now, or its project is, or somebody else goes on with it."""


async def set_rule(database: Database, project_id: str, rule: Rule) -> Document | None:
    """Give a project another rule, or with an empty one none; what sweeps by the old one stops.

    Its document; None where the project is not listed, or is being purged.
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
        "sweep": {"$cond": [_RUNS, {"$mergeObjects": ["$sweep", stopped]}, {"$ifNull": ["$sweep", "$$REMOVE"]}]},
    }

    async def work(session: Session) -> Document | None:
        # The entry is written, too: so of this and a purge's beginning or end one comes after the other.
        entry = {"_id": project_id, project_registry.PURGING: None}
        told = {"$set": {"rule_id": changes["rule_id"]}}
        if not (await database.projects.update_one(entry, told, session=session)).matched_count:
            return None
        found = await database.retention.find_one_and_update(
            {"_id": project_id},
            [{"$set": changes}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return dict(found)

    return await database.transaction(work)


class SweepLease:
    """The sweep of one project by its rule, held by one sweeper."""

    def __init__(self, database: Database, state: Document, holder: str, lease_seconds: float) -> None:
        self._retention = database.retention
        self.state = state
        self.project_id: str = state["_id"]
        self.rule = Rule(state.get("keep_days"), state.get("keep_calls"))
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._own = {"_id": self.project_id, "holder": holder, "rule_id": state["rule_id"]}

    @classmethod
    async def take(
        cls, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS
    ) -> "SweepLease | None":
        """Begin a sweep, or go on with one that was left; None where there is no rule, or somebody is at it."""
        holder = new_holder()
        has_rule = {"$or": [{"keep_days": {"$exists": True}}, {"keep_calls": {"$exists": True}}]}
        new = {"outcome": str(Outcome.RUNNING), "started_at": times.now()}
        changes = {**lease_update(holder, lease_seconds), "sweep": {"$cond": [_RUNS, "$sweep", {"$literal": new}]}}
        state = await database.retention.find_one_and_update(
            {"_id": project_id, "$and": [has_rule, available_to(holder)]},
            [{"$set": changes}],
            return_document=ReturnDocument.AFTER,
        )
        return None if state is None else cls(database, state, holder, lease_seconds)

    async def advance(self, counts: Document | None = None, session: Session | None = None, **changes: object) -> None:
        """Count what went, and keep other changes (None takes a field away), as long as the sweep is ours.

        Raises:
            SupersededError: it is not; whoever asks in a transaction lets all of it go.
        """
        added = {
            f"sweep.{name}": {"$add": [{"$ifNull": [f"$sweep.{name}", 0]}, number]}
            for name, number in (counts or {}).items()
            if name in COUNTS
        }
        values = {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in changes.items()}
        update = [{"$set": {**lease_update(self._holder, self._lease_seconds), **added, **values}}]
        done = await self._retention.update_one(self._own, update, session=session)
        if not done.matched_count:
            raise SupersededError

    async def finish(self, error: str | None = None) -> None:
        """Say how it ended, and when the next is due; nothing happens where it is no longer ours."""
        now = times.now()
        outcome = Outcome.DONE if error is None else Outcome.FAILED
        told = {"sweep.outcome": str(outcome), "sweep.ended_at": now, **({"sweep.error": error} if error else {})}
        due_at = now + (PAUSE if error is None else PAUSE_AFTER_FAILURE)
        gone = {"holder": "", "held_until": ""}
        await self._retention.update_one(self._own, {"$set": {**told, "due_at": due_at}, "$unset": gone})

    async def leave(self) -> None:
        """Let others go on with it, at once."""
        gone = {"holder": "", "held_until": ""}
        await self._retention.update_one(self._own, {"$set": {"due_at": times.now()}, "$unset": gone})
