"""Rows of evaluation results: their order, pages and examples.

A row has the predictions of one example. The example is the ref of a table row, or a value in the inputs of a
prediction.
"""

from collections.abc import Sequence
from typing import Any, Final

from stores import refs
from stores.calls.documents import row_digest
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, content_store, database_query
from stores.errors import BadInputError
from stores.evaluations.logged_runs import BATCH, if_text, predictions_of
from stores.evaluations.predictions import Predictions, PredictionSelection
from stores.evaluations.scores import OUTPUT, OUTPUT_BY_EITHER_NAME, PREDICTION_FIELDS, TEXT_BY_EITHER_NAME, number_at
from stores.ids import check_call_id, group_by_project
from stores.json import codec, incremental
from stores.paging import Order, Page, PageRequest, Row
from stores.query import Query
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import Expression
from stores.refs.store import Budget, RefsStore
from stores.relations import OneToMany

Stages = list[dict[str, Any]]

Numbers = dict[str, tuple[str, Access]]
"""Numbers to sort by: field name to the row path of its mean, and the access to the number."""

MIN_RUNS: Final = 2
MAX_RUNS: Final = 10
"""Limits on the runs of one comparison."""

BY_EXAMPLE: Final = {"example_digest": 1, "started_at": 1, "id": 1}
"""The order of an index that groups the predictions of each example, oldest first."""
_OLDEST_FIRST: Final = (SortBy("started_at"),)
_STARTED_AT: Final = "started_at"
_PLAIN: Final = (Field("id", "id", optional=False), Field(_STARTED_AT, _STARTED_AT, Kind.TIME, optional=False))

RunKey = tuple[str, str]
"""Project id and run id."""

_ROWS: Final[list[dict[str, Any]]] = [
    {
        "$group": {
            "_id": "$example_digest",
            "id": {"$first": "$example_digest"},
            "run_id": {"$first": "$parent_id"},
            "started_at": {"$min": "$started_at"},
        }
    }
]

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
        {"$sort": BY_EXAMPLE},
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


def row_list_query(
    project_id: str,
    run_ids: Sequence[str],
    sort_by: Sequence[SortBy] | None = None,
    query: Query | None = None,
    *,
    only_common: bool = False,
) -> tuple[Stages, Order]:
    """Return the stages that make the rows of runs, and the order of the rows; the default order is by start time.

    A row's `id` is the example digest. It needs one prediction that matches the query. Sort values are means over all
    matching predictions. With `only_common` only examples that all runs have are rows. A sort by a number sorts by the
    mean; for several runs, by the mean in the last run minus the mean in the first.

    Raises:
        BadInputError: the sort or the query is invalid.
    """
    numbers = _sort_numbers(sort_by or ())
    first, last = run_ids[0], run_ids[-1]
    means = {path: _mean_in(first, access) for path, access in numbers.values()}
    if first != last:
        means |= {f"{path}_last": _mean_in(last, access) for path, access in numbers.values()}
    changes = {path: {"$subtract": [f"${path}_last", f"${path}"]} for path, _ in numbers.values()}
    reads_output = query or any(access.field is OUTPUT for _, access in numbers.values())
    source: Stages = [
        {"$match": predictions_of(project_id, run_ids)},
        {"$sort": BY_EXAMPLE},
        *([TEXT_BY_EITHER_NAME] if query else ()),
        *([OUTPUT_BY_EITHER_NAME] if reads_output else ()),
        *([{"$match": query.match(PREDICTION_FIELDS)}] if query else ()),
        {
            "$group": {
                "_id": "$example_digest",
                "id": {"$first": "$example_digest"},
                _STARTED_AT: {"$first": "$started_at"},
                **({"runs": {"$addToSet": "$parent_id"}} if only_common else {}),
                **means,
            }
        },
        *([{"$match": {"runs": {"$size": len(run_ids)}}}] if only_common else ()),
        *([{"$set": changes}] if changes and first != last else ()),
    ]
    return source, order_by(sort_by, {name: path for name, (path, _) in numbers.items()})


def _mean_in(run_id: str, access: Access) -> Expression:
    return {"$avg": {"$cond": [{"$eq": ["$parent_id", {"$literal": run_id}]}, number_at(access), None]}}


def _sort_numbers(sort_by: Sequence[SortBy]) -> Numbers:
    """Return the numbers to sort by.

    Raises:
        BadInputError: a field is unknown or is not a number.
    """
    numbers: Numbers = {}
    for position, key in enumerate(sort_by):
        if key.field in (_STARTED_AT, "startedAt"):
            continue
        argument = f"sort_by.{position}.field"
        try:
            access = PREDICTION_FIELDS[key.field]
        except BadInputError as error:
            raise BadInputError(error.message, argument) from None
        is_inside = access.field.kind is Kind.JSON and (access.steps or access.field.name == "model_latency")
        if access.field.kind is not Kind.NUMBER and not is_inside:
            raise BadInputError(
                f"{key.field[:100]} is not a number; sort rows by started_at, latency_ms, "
                "total_tokens, model_latency or a number in scores or output, such as scores.helpfulness.grade",
                argument,
            )
        numbers[key.field] = f"_by_{position}", access
    return numbers


def order_by(sort_by: Sequence[SortBy] | None, paths: dict[str, str]) -> Order:
    """Compile the order of rows whose sort numbers are at `paths`.

    Raises:
        BadInputError: a field is repeated, or there are too many.
    """
    numbers = (Field(name, path, Kind.NUMBER) for name, path in paths.items())
    return compile_sort(sort_by or _OLDEST_FIRST, FieldTable([*_PLAIN, *numbers]))


def check_runs(call_ids: Sequence[str]) -> None:
    """Validate the run ids of a comparison.

    Raises:
        BadInputError: there are fewer than `MIN_RUNS` or more than `MAX_RUNS`, an id is repeated, or is not a call id.
    """
    if not MIN_RUNS <= len(call_ids) <= MAX_RUNS:
        raise BadInputError(f"has {len(call_ids):,} runs; compare {MIN_RUNS} to {MAX_RUNS} runs", "call_ids")
    for position, call_id in enumerate(call_ids):
        check_call_id(call_id, f"call_ids.{position}")
        if call_id in call_ids[:position]:
            raise BadInputError(f"{call_id[:64]} is repeated; list each run once", f"call_ids.{position}")


class RunRows:
    """Relation from runs to their rows, ordered by start time; a row's `id` is the example digest."""

    def __init__(self, database: Database, predictions: Predictions) -> None:
        self.database = database
        self._predictions = predictions
        self._relation = OneToMany(
            database,
            database.calls,
            "parent_id",
            order_by(None, {}),
            _predictions_of,
            paths_of=lambda _: ["run_id"],
            transform=_ROWS,
        )

    @database_query
    async def pages(
        self, keys: Sequence[RunKey], wanted: frozenset[str], request: PageRequest, of_predictions: PredictionSelection
    ) -> dict[RunKey, Page]:
        """Return a page of rows for each run. The number of commands does not grow with the runs of a project.

        Rows have `example` and `predictions` if selected.

        Raises:
            BadInputError: the cursor is invalid, or there are more predictions than one response may have.
        """
        pages = await self._relation.pages(keys, frozenset(), request)
        for project_id, run_ids in group_by_project(keys):
            rows = [row for run_id in run_ids for row in pages[project_id, run_id].rows]
            for row in rows:
                row["example_digest"] = row["id"]
            await self.complete(project_id, rows, wanted, of_predictions)
        return pages

    async def count(self, keys: Sequence[RunKey]) -> dict[RunKey, int]:
        """Count the rows of each run."""
        return await self._relation.count(keys)

    async def complete(
        self, project_id: str, rows: Sequence[Row], wanted: frozenset[str], of_predictions: PredictionSelection
    ) -> None:
        """Add the selected examples and predictions to rows, each of which has a `run_id`."""
        if rows and not EXAMPLE_FIELDS.isdisjoint(wanted):
            run_ids = list(dict.fromkeys(row["run_id"] for row in rows))
            await add_examples(self.database, project_id, run_ids, rows, per_run=True)
        if rows and of_predictions.fields:
            predictions = await self._predictions.find([_key(project_id, row) for row in rows], of_predictions)
            async for row in cooperative(rows):
                row["predictions"] = predictions[_key(project_id, row)]


def _key(project_id: str, row: Row) -> tuple[str, str, str]:
    return project_id, row["run_id"], row["id"]


def _predictions_of(project_id: str) -> dict[str, Any]:
    """Build the MongoDB filter of a project's predictions."""
    return {"project_id": project_id, "visible": True, "example_digest": {"$gt": ""}}
