"""The examples of rows: a ref to a row of a table, or a value in the inputs of the predictions themselves."""

from collections.abc import Sequence
from typing import Any, Final

from stores import refs
from stores.calls.example_digests import row_digest
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, content_store
from stores.evaluations.logged_runs import BATCH, if_text, predictions_of
from stores.json import codec, incremental
from stores.paging import Row
from stores.refs.store import RefsStore
from stores.refs.targets import Budget

_FIRST: Final = {"example_digest": 1, "started_at": 1, "id": 1}

EXAMPLE: Final = "example"


Key = tuple[str, str]
"""The id of a run, empty where all are taken together, and the digest of an example."""


async def add_examples(
    database: Database, project_id: str, run_ids: Sequence[str], rows: Sequence[Row], *, of_each: bool = False
) -> None:
    """Add to some rows the `example_ref`, where there is one, and under `json` the text of the `example`, if any.

    Rows `of_each` run have its `run_id`, and what it was given; others what was given first in any of the runs.

    Raises:
        BadInputError: they are more than one request may read.
    """
    given = await _given(database, project_id, run_ids, [row["id"] for row in rows], of_each=of_each)
    values = await _values(database, project_id, given)
    async for row in cooperative(rows):
        key = row["run_id"] if of_each else "", row["id"]
        ref = given.get(key, {}).get("ref")
        if ref and refs.is_ref(ref):
            row["example_ref"] = {"project_id": project_id, "ref": ref}
        if (text := values.get(key)) is not None:
            row["json"] = {EXAMPLE: text}


async def _given(
    database: Database, project_id: str, run_ids: Sequence[str], digests: Sequence[str], *, of_each: bool
) -> dict[Key, dict[str, Any]]:
    """How the example of each digest was given first: by a `ref`, or in the call with the `key`."""
    by = {"digest": "$example_digest"} | ({"run": "$parent_id"} if of_each else {})
    stages = [
        {"$match": predictions_of(project_id, run_ids, digests)},
        {"$sort": _FIRST},
        {"$group": {"_id": by, "key": {"$first": "$_id"}, "ref": {"$first": if_text(EXAMPLE)}}},
    ]
    found = database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)
    return {(row["_id"].get("run", ""), row["_id"]["digest"]): row async for row in cooperative_async(found)}


async def _values(database: Database, project_id: str, given: dict[Key, dict[str, Any]]) -> dict[Key, str]:
    """The text of each example, by its key, as far as it is there."""
    budget = Budget()
    own = f"{refs.SCHEME}{project_id}/"
    leading = {key: each["ref"] for key, each in given.items() if (each.get("ref") or "").startswith(own)}
    of_rows = [key for key, ref in leading.items() if row_digest(ref)]
    elsewhere = {key: ref for key, ref in leading.items() if not row_digest(ref)}
    inside = {each["key"]: key for key, each in given.items() if not (each.get("ref") or "").startswith(refs.SCHEME)}
    rows = await _of_rows(database, project_id, list({digest for _, digest in of_rows}), budget)
    found = {(run, digest): rows[digest] for run, digest in of_rows if digest in rows}
    if elsewhere:
        texts = await RefsStore(database).by_refs([(project_id, ref) for ref in set(elsewhere.values())])
        found |= {key: text for key, ref in elsewhere.items() if (text := texts[project_id, ref]) is not None}
    return found | await _of_inputs(database, project_id, inside, budget)


async def _of_rows(database: Database, project_id: str, digests: Sequence[str], budget: Budget) -> dict[str, str]:
    """The texts of rows, which stay there when the object that led to their table is deleted."""
    rows = content_store.find_each(database.table_rows, project_id, digests, {"digest": 1, "json.val": 1})
    found = {}
    async for row in cooperative_async(rows):
        budget.read(row["json"]["val"])
        found[row["digest"]] = row["json"]["val"]
    return found


async def _of_inputs(database: Database, project_id: str, keys: dict[str, Key], budget: Budget) -> dict[Key, str]:
    """The texts of the examples that stand in the inputs of calls, by whose `_id` their keys are given."""
    if not keys:
        return {}
    among = {"_id": {"$in": list(keys)}, "project_id": project_id}
    found = {}
    async for call in cooperative_async(database.calls.find(among, {"json.inputs": 1}, batch_size=BATCH)):
        text = call["json"]["inputs"]
        budget.read(text)
        inputs = await incremental.loads(text.encode())
        if isinstance(inputs, dict) and EXAMPLE in inputs:
            found[keys[call["_id"]]] = codec.encode(inputs[EXAMPLE])
    return found
