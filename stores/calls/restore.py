"""Calls that were stored before, put back: what is there stays as it is, and what is not is added."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import UpdateOne

from stores.calls import documents
from stores.calls.documents import Document, Pipeline
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.writes import insert_new, made_ready, write_upserts
from stores.concurrency.time_slices import cooperative
from stores.database import Database
from stores.errors import StoreError
from stores.files import NewFile, write_files


@dataclass(frozen=True, slots=True)
class RestoredCall:
    """A call that was stored before, here or elsewhere: its start and, where it has ended, its end."""

    start: CallStart
    end: CallEnd | None = None


@dataclass(slots=True)
class _Call:
    """What a call stores if nothing of it is there; of what a batch holds of it twice the first counts."""

    start: Document
    end: Document | None

    def mark(self, search_due: dict[str, str]) -> None:
        """Have its text indexed, if its project's are."""
        due = search_due.get(self.start["project_id"])
        for part in (self.start, self.end):
            if part and due:
                part["search_due"] = due

    def additions(self) -> list[UpdateOne]:
        """What adds a start, or an end, to the call's document where that has none."""
        found = [_addition(self.start, "started_at", documents.start_update(self.start, ends_rename=False))]
        if self.end:
            found.append(_addition(self.end, "ended_at", documents.end_update(self.end)))
        return found


async def restore_calls(database: Database, batch: Sequence[RestoredCall]) -> None:
    """Check every call, then store what is not there yet; the files in them first, so that no call lacks its own.

    Raises:
        StoreError: a call breaks a rule or is too large; the error names its position, and nothing is stored.
    """
    calls, files = await _prepare(batch)
    project_ids = {key.partition(":")[0] for key in calls}
    entered = await database.ensure_projects_listed(project_ids)
    for project_id, found in files.items():
        await write_files(database, project_id, found)
        await database.ensure_projects_listed(project_ids, entered)
    search_due = database.search_marks(project_ids)
    for call in calls.values():
        call.mark(search_due)
    there = await insert_new(database.calls, [documents.whole_call(call.start, call.end) for call in calls.values()])
    if there:
        await database.ensure_projects_listed(project_ids, entered)
    await write_upserts(database.calls, [update for key in there for update in calls[key].additions()])


async def _prepare(batch: Sequence[RestoredCall]) -> tuple[dict[str, _Call], dict[str, list[NewFile]]]:
    calls: dict[str, _Call] = {}
    files: dict[str, list[NewFile]] = {}
    async for position, restored in cooperative(enumerate(batch)):
        try:
            start, found = await made_ready(restored.start.checked())
            end, more = await made_ready(restored.end.checked()) if restored.end else (None, [])
        except StoreError as error:
            raise error.prefixed(f"batch.{position}") from None
        if found or more:
            files.setdefault(restored.start.project_id, []).extend([*found, *more])
        call = calls.setdefault(start["_id"], _Call(start, end))
        call.end = call.end or end
    return calls, files


def _addition(fields: Document, lacking: str, pipeline: Pipeline) -> UpdateOne:
    """A pipeline over the call's document as long as that lacks a field."""
    found_by = {name: fields[name] for name in documents.FOUND_BY}
    return UpdateOne(found_by | {lacking: {"$exists": False}}, pipeline)
