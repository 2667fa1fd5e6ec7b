"""Examples of result rows: refs of table rows, or values in the inputs of predictions."""

from collections.abc import Sequence
from typing import Any, Final

from stores import refs
from stores.calls.documents import row_digest
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, content_store
from stores.evaluations.logged_runs import BATCH, if_text, predictions_of
from stores.json import codec, incremental
from stores.paging import Row
from stores.refs.store import Budget, RefsStore

_EARLIEST_FIRST: Final = {"example_digest": 1, "started_at": 1, "id": 1}

EXAMPLE: Final = "example"
EXAMPLE_FIELDS: Final = frozenset({EXAMPLE, "example_ref"})
"""Fields of a row that `add_examples` adds."""


Key = tuple[str, str]
"""Run id and example digest. The run id is empty if all runs share one example per digest."""


async def add_examples(
    database: Database, project_id: str, run_ids: Sequence[str], rows: Sequence[Row], *, per_run: bool = False
) -> None:
    """Add `example_ref` and the JSON text `json.example` to rows, if known.

    With `per_run` every row has a `run_id` and gets the example of that run. Otherwise a row gets the example of the
    earliest prediction in any of the runs.

    Raises:
        BadInputError: the examples are larger than one request may read.
    """
    examples = await _find_first(database, project_id, run_ids, [row["id"] for row in rows], per_run=per_run)
    values = await _values(database, project_id, examples)
    async for row in cooperative(rows):
        key = row["run_id"] if per_run else "", row["id"]
        ref = examples.get(key, {}).get("ref")
        if ref and refs.is_ref(ref):
            row["example_ref"] = {"project_id": project_id, "ref": ref}
        if (text := values.get(key)) is not None:
            row["json"] = {EXAMPLE: text}


async def _find_first(
    database: Database, project_id: str, run_ids: Sequence[str], digests: Sequence[str], *, per_run: bool
) -> dict[Key, dict[str, Any]]:
    """Return the earliest prediction of each example: its `ref`, or the `key` of the call whose inputs have it."""
    group_key = {"digest": "$example_digest"} | ({"run": "$parent_id"} if per_run else {})
    stages = [
        {"$match": predictions_of(project_id, run_ids, digests)},
        {"$sort": _EARLIEST_FIRST},
        {"$group": {"_id": group_key, "key": {"$first": "$_id"}, "ref": {"$first": if_text(EXAMPLE)}}},
    ]
    cursor = database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)
    return {(row["_id"].get("run", ""), row["_id"]["digest"]): row async for row in cooperative_async(cursor)}


async def _values(database: Database, project_id: str, examples: dict[Key, dict[str, Any]]) -> dict[Key, str]:
    """Return the JSON text of each example that can be read."""
    budget = Budget()
    prefix = f"{refs.SCHEME}{project_id}/"
    own_refs = {key: each["ref"] for key, each in examples.items() if (each.get("ref") or "").startswith(prefix)}
    row_keys = [key for key, ref in own_refs.items() if row_digest(ref)]
    other_refs = {key: ref for key, ref in own_refs.items() if not row_digest(ref)}
    keys_by_call = {
        each["key"]: key for key, each in examples.items() if not (each.get("ref") or "").startswith(refs.SCHEME)
    }
    rows = await _read_table_rows(database, project_id, list({digest for _, digest in row_keys}), budget)
    found = {(run, digest): rows[digest] for run, digest in row_keys if digest in rows}
    if other_refs:
        read_texts = await RefsStore(database).by_refs([(project_id, ref) for ref in set(other_refs.values())])
        found |= {key: text for key, ref in other_refs.items() if (text := read_texts[project_id, ref]) is not None}
    return found | await _read_inputs(database, project_id, keys_by_call, budget)


async def _read_table_rows(
    database: Database, project_id: str, digests: Sequence[str], budget: Budget
) -> dict[str, str]:
    """Read table rows by digest. Rows outlive the object that referred to their table, so no ref is resolved."""
    rows = content_store.find_each(database.table_rows, project_id, digests, {"digest": 1, "json.val": 1})
    texts = {}
    async for row in cooperative_async(rows):
        budget.count_read(row["json"]["val"])
        texts[row["digest"]] = row["json"]["val"]
    return texts


async def _read_inputs(database: Database, project_id: str, keys: dict[str, Key], budget: Budget) -> dict[Key, str]:
    """Read the examples that are values in the inputs of calls; `keys` maps call `_id`s to example keys."""
    if not keys:
        return {}
    match = {"_id": {"$in": list(keys)}, "project_id": project_id}
    texts = {}
    async for call in cooperative_async(database.calls.find(match, {"json.inputs": 1}, batch_size=BATCH)):
        text = call["json"]["inputs"]
        budget.count_read(text)
        inputs = await incremental.loads(text.encode())
        if isinstance(inputs, dict) and EXAMPLE in inputs:
            texts[keys[call["_id"]]] = codec.encode(inputs[EXAMPLE])
    return texts
