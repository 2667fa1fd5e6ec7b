"""Related calls of runs, predictions and scores."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields
from stores.calls.fields import paths_of
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.evaluations.logged_runs import BATCH, EVALUATE
from stores.paging import Row

MAX_LEVELS_ABOVE: Final = 4
"""Levels to search for a run above a call. The calls of models and scorers are two levels below their run."""


async def find_calls(
    database: Database, project_id: str, ids: Sequence[str], paths: Collection[str]
) -> AsyncIterator[Document]:
    """Yield `paths` of the visible calls with the given ids, in no particular order."""
    projection = {"_id": 0} | dict.fromkeys(paths, 1)
    for batch in batches(ids, BATCH):
        keys = [documents.key_fields(project_id, each)["_id"] for each in batch]
        match = {"_id": {"$in": keys}, "project_id": project_id, "visible": True}
        async for call in cooperative_async(database.calls.find(match, projection, batch_size=BATCH + 1)):
            yield call


async def add_calls(
    database: Database, project_id: str, rows: Sequence[Row], wanted: Collection[str], id_field: str, target: str
) -> None:
    """Set `row[to]` to the selected fields of the visible call with the id `row[id_at]`; None if there is none."""
    ids = [row[id_field] async for row in cooperative(rows) if row.get(id_field)]
    cursor = find_calls(database, project_id, ids, paths_of([*wanted, "project_id", "id"]))
    calls = {call["id"]: call async for call in cursor}
    await add_computed_fields(database, project_id, list(calls.values()), set(wanted))
    async for row in cooperative(rows):
        row[target] = calls.get(row.get(id_field))


async def find_runs_above(database: Database, project_id: str, ids: Sequence[str]) -> dict[str, str]:
    """Return the id of the nearest run at or above each call, at most `MAX_LEVELS_ABOVE` levels up."""
    positions = {call_id: call_id for call_id in ids}
    runs: dict[str, str] = {}
    for _ in range(MAX_LEVELS_ABOVE + 1):
        wanted = list(dict.fromkeys(positions.values()))
        cursor = find_calls(database, project_id, wanted, ("id", "parent_id", "op_trace_name"))
        calls = {call["id"]: call async for call in cursor}
        current = {call_id: calls[above] for call_id, above in positions.items() if above in calls}
        runs |= {call_id: call["id"] for call_id, call in current.items() if EVALUATE in call["op_trace_name"]}
        positions = {
            call_id: call["parent_id"]
            for call_id, call in current.items()
            if call_id not in runs and call.get("parent_id")
        }
        if not positions:
            break
    return runs
