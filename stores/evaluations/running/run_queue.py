"""The runs that the server has under way: a document for each, from its order until its end, and who works on it.

    _id           project and the id of the run's call
    evaluation_ref, model_ref, wb_user_id, trace_id, created_at    what was ordered, by whom, when
    ordered_by               who ordered it by which key, in the audit log's terms
    rows, completed          how many rows it has, and how many are done
    takes, vain_takes        how often it was begun or gone on with; how often since a row was done
    canceled_by              who wants it to end, if anybody does
    holder, held_until       who works on it (`stores.database.leases`)

What has ended has none: its call tells the rest.
"""

from dataclasses import dataclass
from typing import Final, Self

from pymongo import ReturnDocument

from stores.database import Collection, Document
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.security.access import ANONYMOUS

MAX_VAIN_TAKES: Final = 5
"""Who goes on with a run that was cut off so often, without a row done, would be cut off by it, too."""


class LeaseLostError(Exception):
    """The run is over, or somebody else goes on with it."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What was ordered: a run under an id, which is its call's."""

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
    def of(cls, document: Document) -> Self:
        """The order in a run's document."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})

    def document(self) -> Document:
        """The document of a run that nobody works on yet."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**key(self.project_id, self.call_id), **given, "completed": 0, "takes": 0, "vain_takes": 0}


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of a run's rows are done."""

    completed: int
    rows: int


def key(project_id: str, call_id: str) -> Document:
    """The fields that find a run."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id}


async def free(runs: Collection, limit: int) -> list[tuple[str, str]]:
    """Runs that nobody works on, by project and id, those first that were ordered first."""
    found = runs.find(available_to(""), {"project_id": 1, "call_id": 1}, sort=[("created_at", 1)], limit=limit)
    return [(run["project_id"], run["call_id"]) async for run in found]


async def cancel(runs: Collection, project_id: str, call_id: str, wb_user_id: str) -> bool:
    """Say that a run is to end; False where it is not under way."""
    done = await runs.update_one(key(project_id, call_id), {"$set": {"canceled_by": wb_user_id}})
    return done.matched_count == 1


async def cancel_ordered_by(runs: Collection, caller: str, why: str) -> int:
    """Say of all that somebody ordered, and that are under way, that they are to end; how many they are."""
    return (await runs.update_many({"ordered_by": caller}, {"$set": {"canceled_by": why}})).matched_count


async def progress(runs: Collection, project_id: str, call_id: str) -> Progress | None:
    """How far a run is; None where it is not under way."""
    found = await runs.find_one(key(project_id, call_id), {"completed": 1, "rows": 1})
    return Progress(found["completed"], found["rows"]) if found else None


class RunLease:
    """A run as held by one who works on it."""

    def __init__(self, runs: Collection, document: Document, holder: str) -> None:
        self._runs = runs
        self._own = {**key(document["project_id"], document["call_id"]), "holder": holder}
        self._holder = holder
        self.order = RunOrder.of(document)
        self.is_resumed: bool = document["takes"] > 1
        self.is_hopeless: bool = document["vain_takes"] > MAX_VAIN_TAKES
        self.canceled_by: str | None = document.get("canceled_by")

    @classmethod
    async def add(cls, runs: Collection, order: RunOrder) -> "RunLease":
        """Begin to keep a run, which nobody goes on with before it is left."""
        holder = new_holder()
        match = key(order.project_id, order.call_id)
        given = {name: {"$literal": value} for name, value in order.document().items() if name != "_id"}
        new = {"$set": {**given, **lease_update(holder)}}
        document = await runs.find_one_and_update(match, [new], upsert=True, return_document=ReturnDocument.AFTER)
        return cls(runs, document, holder)

    @classmethod
    async def acquire(cls, runs: Collection, project_id: str, call_id: str) -> "RunLease | None":
        """Go on with a run; None where somebody is at it, or it is not under way."""
        holder = new_holder()
        more = {name: {"$add": [f"${name}", 1]} for name in ("takes", "vain_takes")}
        document = await runs.find_one_and_update(
            {**key(project_id, call_id), **available_to(holder)},
            [{"$set": {**lease_update(holder), **more}}],
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else cls(runs, document, holder)

    async def renew(self, completed: int) -> None:
        """Hold it for longer, tell how many rows are done, and hear who wants it to end.

        Raises:
            LostError: it is no longer ours.
        """
        most = {"completed": {"$max": ["$completed", completed]}}
        vain = {"$cond": [{"$gt": [completed, "$completed"]}, 0, "$vain_takes"]}
        document = await self._runs.find_one_and_update(
            self._own,
            [{"$set": {**lease_update(self._holder, LEASE_SECONDS), "vain_takes": vain, **most}}],
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            raise LeaseLostError
        self.canceled_by = document.get("canceled_by")

    async def release(self, pause_seconds: float = 0, *, is_vain: bool = True) -> bool:
        """Let others go on with it, after a pause; False if it is not ours. What was not in vain is not counted so."""
        less = {} if is_vain else {"vain_takes": {"$max": [0, {"$subtract": ["$vain_takes", 1]}]}}
        done = await self._runs.update_one(self._own, [{"$set": {**lease_update(new_holder(), pause_seconds), **less}}])
        return done.matched_count == 1

    async def remove(self) -> None:
        """Say that it is over."""
        await self._runs.delete_one(self._own)
