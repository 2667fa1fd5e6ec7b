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

from dataclasses import asdict, dataclass
from typing import Final, Self

from stores.database import Collection, Database, Document
from stores.database.leases import EXPIRED, Lease
from stores.evaluations.running.call_tree import RunCalls
from stores.evaluations.status import Running
from stores.security.access import ANONYMOUS

MAX_TAKES_WITHOUT_PROGRESS: Final = 5
"""Maximum acquisitions of a run without progress; then it fails, because it probably kills its workers."""


@dataclass(frozen=True, slots=True)
class RunOrder(RunCalls):
    """An order: the objects to run, and the fields that all calls of the run share."""

    evaluation_ref: str
    model_ref: str
    display_name: str
    created_at: int
    rows: int
    ordered_by: str = ANONYMOUS

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read the order from a run's document."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})


def key(project_id: str, call_id: str) -> Document:
    """Build the MongoDB filter of a run."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id}


async def find_available(runs: Collection, limit: int) -> list[tuple[str, str]]:
    """Return project id and call id of runs without a worker, oldest order first."""
    cursor = runs.find(EXPIRED, {"project_id": 1, "call_id": 1}, sort=[("created_at", 1)], limit=limit)
    return [(run["project_id"], run["call_id"]) async for run in cursor]


async def cancel(runs: Collection, project_id: str, call_id: str, wb_user_id: str) -> bool:
    """Request the cancellation of a run; False if it has no document."""
    result = await runs.update_one(key(project_id, call_id), {"$set": {"canceled_by": wb_user_id}})
    return result.matched_count == 1


async def cancel_ordered_by(runs: Collection, caller: str, why: str) -> int:
    """Request the cancellation of all runs that `caller` ordered; return their number."""
    return (await runs.update_many({"ordered_by": caller}, {"$set": {"canceled_by": why}})).matched_count


async def progress(runs: Collection, project_id: str, call_id: str) -> Running | None:
    """Return the progress of a run; None if it has no document."""
    document = await runs.find_one(key(project_id, call_id), {"completed": 1, "rows": 1})
    return Running(document["completed"], document["rows"]) if document else None


class RunLease(Lease):
    """A worker's lease on a run."""

    def __init__(self, database: Database, project_id: str, call_id: str) -> None:
        super().__init__(database, database.evaluation_runs, key(project_id, call_id))

    @property
    def order(self) -> RunOrder:
        """The order in the run's document."""
        return RunOrder.from_document(self.state)

    async def add(self, order: RunOrder) -> None:
        """Insert a run with its lease acquired, so that no other worker starts before `release`."""
        await self.insert({**asdict(order), "completed": 0, "takes": 0, "vain_takes": 0})

    async def take(self) -> bool:
        """Acquire the lease; False if another worker has it or the run has no document."""
        return await self.acquire({name: {"$add": [f"${name}", 1]} for name in ("takes", "vain_takes")})

    async def store_progress(self, completed: int) -> None:
        """Store the number of rows done if it has grown; renew the lease and read the state.

        Raises:
            LeaseLostError: the run has ended, or another worker has it.
        """
        has_grown = completed > self.state["completed"]
        await self.advance({"completed": completed, "vain_takes": 0} if has_grown else {})

    async def hand_over(self) -> None:
        """Release the run; this attempt does not count towards `MAX_TAKES_WITHOUT_PROGRESS`."""
        await self.release({"vain_takes": max(0, self.state["vain_takes"] - 1)})
