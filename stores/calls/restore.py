"""Restores of exported calls: stored parts stay unchanged, missing parts are added."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import UpdateOne

from stores.calls import documents
from stores.calls.documents import Document, Pipeline
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.writes import insert_new, prepare_fields, write_upserts
from stores.concurrency.time_slices import cooperative
from stores.database import Database
from stores.errors import StoreError
from stores.files import NewFile, write_files


@dataclass(frozen=True, slots=True)
class RestoredCall:
    """A call to restore: its start and, if it has ended, its end."""

    start: CallStart
    end: CallEnd | None = None


@dataclass(slots=True)
class _Call:
    """The fields of one call; the first start and the first end in a batch win."""

    start: Document
    end: Document | None

    def mark_for_indexing(self, search_due: dict[str, str]) -> None:
        """Mark the call for the text indexer if its project has an index."""
        due = search_due.get(self.start["project_id"])
        for part in (self.start, self.end):
            if part and due:
                part["search_due"] = due

    def additions(self) -> list[UpdateOne]:
        """Build the updates that add a start or an end to a document that lacks it."""
        updates = [_addition(self.start, "started_at", documents.start_update(self.start, ends_rename=False))]
        if self.end:
            updates.append(_addition(self.end, "ended_at", documents.end_update(self.end)))
        return updates


async def restore_calls(database: Database, batch: Sequence[RestoredCall]) -> None:
    """Validate every call, then store the missing parts, files first, so that no call refers to a missing file.

    Raises:
        StoreError: if a call is invalid or too large; the error names its position, and nothing is stored.
    """
    calls, files = await _prepare(batch)
    project_ids = {key.partition(":")[0] for key in calls}
    registered = await database.ensure_projects_listed(project_ids)
    for project_id, project_files in files.items():
        await write_files(database, project_id, project_files)
        await database.ensure_projects_listed(project_ids, registered)
    search_due = database.search_marks(project_ids)
    for call in calls.values():
        call.mark_for_indexing(search_due)
    existing = await insert_new(database.calls, [documents.whole_call(call.start, call.end) for call in calls.values()])
    if existing:
        await database.ensure_projects_listed(project_ids, registered)
    await write_upserts(database.calls, [update for key in existing for update in calls[key].additions()])


async def _prepare(batch: Sequence[RestoredCall]) -> tuple[dict[str, _Call], dict[str, list[NewFile]]]:
    calls: dict[str, _Call] = {}
    files: dict[str, list[NewFile]] = {}
    async for position, restored in cooperative(enumerate(batch)):
        try:
            start, start_files = await prepare_fields(restored.start.checked())
            end, end_files = await prepare_fields(restored.end.checked()) if restored.end else (None, [])
        except StoreError as error:
            raise error.prefixed(f"batch.{position}") from None
        if start_files or end_files:
            files.setdefault(restored.start.project_id, []).extend([*start_files, *end_files])
        call = calls.setdefault(start["_id"], _Call(start, end))
        call.end = call.end or end
    return calls, files


def _addition(fields: Document, missing_field: str, pipeline: Pipeline) -> UpdateOne:
    """Build an update of a call's document that applies only while it lacks a field."""
    match = {name: fields[name] for name in documents.KEY_FIELDS}
    return UpdateOne(match | {missing_field: {"$exists": False}}, pipeline)
