"""The calls that what is read of evaluations leads to."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields
from stores.calls.fields import paths_of
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, Document
from stores.evaluations.logged_runs import BATCH, EVALUATE
from stores.paging import Row

MAX_ABOVE: Final = 4
"""Calls above one among which a run is looked for: its own are two above those of models and scorers."""


async def find_calls(
    database: Database, project_id: str, ids: Sequence[str], paths: Collection[str]
) -> AsyncIterator[Document]:
    """Some paths of the visible calls among those with some ids, in no order."""
    projection = {"_id": 0} | dict.fromkeys(paths, 1)
    for start in range(0, len(ids), BATCH):
        keys = [documents.key(project_id, each)["_id"] for each in ids[start : start + BATCH]]
        among = {"_id": {"$in": keys}, "project_id": project_id, "visible": True}
        async for call in cooperative_async(database.calls.find(among, projection, batch_size=BATCH + 1)):
            yield call


async def add_calls(
    database: Database, project_id: str, rows: Sequence[Row], wanted: Collection[str], id_at: str, to: str
) -> None:
    """Add to each row the wanted fields of the visible call whose id it has, if any."""
    ids = [row[id_at] async for row in cooperative(rows) if row.get(id_at)]
    found = find_calls(database, project_id, ids, paths_of([*wanted, "project_id", "id"]))
    calls = {call["id"]: call async for call in found}
    await add_computed_fields(database, project_id, list(calls.values()), wanted)
    async for row in cooperative(rows):
        row[to] = calls.get(row.get(id_at))


async def find_runs_above(database: Database, project_id: str, ids: Sequence[str]) -> dict[str, str]:
    """For each call that is a run, or at most `MAX_ABOVE` below one, the id of that run: the nearest."""
    at = {call_id: call_id for call_id in ids}
    found: dict[str, str] = {}
    for _ in range(MAX_ABOVE + 1):
        wanted = list(dict.fromkeys(at.values()))
        looked_at = find_calls(database, project_id, wanted, ("id", "parent_id", "op_trace_name"))
        calls = {call["id"]: call async for call in looked_at}
        here = {call_id: calls[above] for call_id, above in at.items() if above in calls}
        found |= {call_id: call["id"] for call_id, call in here.items() if EVALUATE in call["op_trace_name"]}
        at = {
            call_id: call["parent_id"]
            for call_id, call in here.items()
            if call_id not in found and call.get("parent_id")
        }
        if not at:
            break
    return found
