"""Queue of the server's runs: one document per run from its order until its end, with a lease for its worker.

    _id                      project id and id of the run's call
    evaluation_ref, model_ref, wb_user_id, trace_id, created_at    the order: objects, user, time
    ordered_by               caller and key of the order, as in the audit log
    rows, completed          rows in total, and rows done
    takes, vain_takes        times a worker acquired the run; times since the last row was done
    canceled_by              user who cancelled the run, if any
    holder, held_until       the worker's lease (`stores.database.leases`)

A run that has ended has no document; its call has the result.
"""

from dataclasses import dataclass
from typing import Final, Self

from pymongo import ReturnDocument

from stores.database import Collection, Document
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.security.access import ANONYMOUS

MAX_TAKES_WITHOUT_PROGRESS: Final = 5
"""Maximum acquisitions of a run without progress; then it fails, because it probably kills its workers."""


class LeaseLostError(Exception):
    """The run has ended, or another worker acquired its lease."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """An order: the objects to run, and the ids of the run's call and trace."""

    project_id: str
    call_id: str
    trace_id: str
    evaluation_ref: str
    model_ref: str
    display_name: str
    wb_user_id: str
    created_at: int
    rows: int
    ordered_by: str = ANONYMOUS

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read the order from a run's document."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})

    def document(self) -> Document:
        """Build the document of a run without a worker."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**key(self.project_id, self.call_id), **fields, "completed": 0, "takes": 0, "vain_takes": 0}


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run: rows done, and rows in total."""

    completed: int
    rows: int


def key(project_id: str, call_id: str) -> Document:
    """Build the MongoDB filter of a run."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id}


async def find_available(runs: Collection, limit: int) -> list[tuple[str, str]]:
    """Return project id and call id of runs without a worker, oldest order first."""
    cursor = runs.find(available_to(""), {"project_id": 1, "call_id": 1}, sort=[("created_at", 1)], limit=limit)
    return [(run["project_id"], run["call_id"]) async for run in cursor]


async def cancel(runs: Collection, project_id: str, call_id: str, wb_user_id: str) -> bool:
    """Request the cancellation of a run; False if it has no document."""
    result = await runs.update_one(key(project_id, call_id), {"$set": {"canceled_by": wb_user_id}})
    return result.matched_count == 1


async def cancel_ordered_by(runs: Collection, caller: str, why: str) -> int:
    """Request the cancellation of all runs that `caller` ordered; return their number."""
    return (await runs.update_many({"ordered_by": caller}, {"$set": {"canceled_by": why}})).matched_count


async def progress(runs: Collection, project_id: str, call_id: str) -> Progress | None:
    """Return the progress of a run; None if it has no document."""
    document = await runs.find_one(key(project_id, call_id), {"completed": 1, "rows": 1})
    return Progress(document["completed"], document["rows"]) if document else None


class RunLease:
    """A worker's lease on a run."""

    def __init__(self, runs: Collection, document: Document, holder: str) -> None:
        self._runs = runs
        self._own = {**key(document["project_id"], document["call_id"]), "holder": holder}
        self._holder = holder
        self.order = RunOrder.from_document(document)
        self.is_resumed: bool = document["takes"] > 1
        self.is_hopeless: bool = document["vain_takes"] > MAX_TAKES_WITHOUT_PROGRESS
        self.canceled_by: str | None = document.get("canceled_by")

    @classmethod
    async def add(cls, runs: Collection, order: RunOrder) -> "RunLease":
        """Insert a run with its lease acquired, so that no other worker starts before `release`."""
        holder = new_holder()
        match = key(order.project_id, order.call_id)
        fields = {name: {"$literal": value} for name, value in order.document().items() if name != "_id"}
        update = {"$set": {**fields, **lease_update(holder)}}
        document = await runs.find_one_and_update(match, [update], upsert=True, return_document=ReturnDocument.AFTER)
        return cls(runs, document, holder)

    @classmethod
    async def acquire(cls, runs: Collection, project_id: str, call_id: str) -> "RunLease | None":
        """Acquire the lease of a run; None if another worker has it or the run has no document."""
        holder = new_holder()
        counters = {name: {"$add": [f"${name}", 1]} for name in ("takes", "vain_takes")}
        document = await runs.find_one_and_update(
            {**key(project_id, call_id), **available_to(holder)},
            [{"$set": {**lease_update(holder), **counters}}],
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else cls(runs, document, holder)

    async def renew(self, completed: int) -> None:
        """Extend the lease, store the progress and read `canceled_by`.

        Raises:
            LeaseLostError: the run has ended, or another worker has it.
        """
        progress = {"completed": {"$max": ["$completed", completed]}}
        vain_takes = {"$cond": [{"$gt": [completed, "$completed"]}, 0, "$vain_takes"]}
        document = await self._runs.find_one_and_update(
            self._own,
            [{"$set": {**lease_update(self._holder, LEASE_SECONDS), "vain_takes": vain_takes, **progress}}],
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            raise LeaseLostError
        self.canceled_by = document.get("canceled_by")

    async def release(self, pause_seconds: float = 0, *, is_vain: bool = True) -> bool:
        """Release the run to other workers after a pause; False if the lease was lost.

        With `is_vain=False` this attempt does not count towards `MAX_TAKES_WITHOUT_PROGRESS`.
        """
        counters = {} if is_vain else {"vain_takes": {"$max": [0, {"$subtract": ["$vain_takes", 1]}]}}
        result = await self._runs.update_one(
            self._own, [{"$set": {**lease_update(new_holder(), pause_seconds), **counters}}]
        )
        return result.matched_count == 1

    async def remove(self) -> None:
        """Delete the run's document because the run has ended."""
        await self._runs.delete_one(self._own)
