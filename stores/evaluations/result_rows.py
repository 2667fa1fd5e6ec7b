"""Rows of evaluation results: their order, pages and examples.

A row has the predictions of one example. The example is the ref of a table row, or a value in the inputs of a
prediction.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from operator import itemgetter
from typing import Any, Final

from stores import refs
from stores.calls.computed_fields import add_computed_fields
from stores.calls.documents import row_digest
from stores.calls.fields import calls_match, paths_of
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, Document, content_store, database_query
from stores.errors import BadInputError
from stores.evaluations.logged_runs import BATCH, check_response_size, find_calls, if_text, predictions_of
from stores.evaluations.scores import (
    OUTPUT,
    OUTPUT_BY_EITHER_NAME,
    PREDICTION_FIELDS,
    SCORES,
    TEXT_BY_EITHER_NAME,
    number_at,
)
from stores.ids import check_call_id, group_by_project
from stores.json import codec, incremental
from stores.paging import Order, Page, PageRequest, Row
from stores.query import Query
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import Expression
from stores.refs.store import Budget, RefsStore
from stores.relations import OneToMany

Call = Mapping[str, Any]
"""A call below a prediction: `id`, `op_name`, `op_trace_name`, and `self` if that input is a string."""

_SCORE: Final = ".score"
"""Suffix of the op name of scorers that are classes."""
_remembered: Final = lru_cache(1_000)
"""Cached because the calls of a run repeat a few scorer names many times."""
_is_ref: Final = _remembered(refs.is_ref)

_NO_LETTER: Final = re.compile(r"[\W_]+")

Key = tuple[str, str, str]
"""Project id, run id and example digest."""

MAX_PREDICTIONS: Final = 50_000
"""Limit on the predictions of one response."""
MAX_RELATED_EACH: Final = 5
"""Limit on the scores, and on the calls below predictions, as an average over the largest number of predictions."""
MAX_CHARACTERS: Final = 100_000_000
"""Limit on the JSON characters of the outputs in one response."""

MODEL_CALL: Final = "model_call"
EXCEPTION: Final = "exception"

_ALWAYS_READ: Final = ("id", "parent_id", "project_id", "example_digest", "started_at", "status", "exception")
_OF_OUTPUT: Final = ("output", "model_latency_ms", SCORES, MODEL_CALL, EXCEPTION)
_OF_CALLS: Final = (SCORES, MODEL_CALL, EXCEPTION)
_BY_AGE: Final = itemgetter("started_at", "id")
"""Sort key of calls, oldest first. Sorting in MongoDB would make it choose an index that reads too many calls."""
_MAX_JOINED_ON_LOOP: Final = 1_000
"""Predictions with more scores and calls than this are joined in a thread, not on the event loop."""

Stages = list[dict[str, Any]]

Numbers = dict[str, tuple[str, Access]]
"""Numbers to sort by: field name to the row path of its mean, and the access to the number."""

MIN_RUNS: Final = 2

MAX_RUNS: Final = 10
"""Limits on the runs of one comparison."""

BY_EXAMPLE: Final = {"example_digest": 1, "started_at": 1, "id": 1}
"""The order of an index that groups the predictions of each example, oldest first."""

_STARTED_AT: Final = "started_at"

_PLAIN: Final = (Field("id", "id", optional=False), Field(_STARTED_AT, _STARTED_AT, Kind.TIME, optional=False))

IN_ROWS: Final = ("id", "example_digest", "run_id")
"""Fields of every row. The first two have the digest of its example; the run is that of the first prediction."""

RunKey = tuple[str, str]
"""Project id and run id."""

EXAMPLE: Final = "example"

EXAMPLE_FIELDS: Final = frozenset({EXAMPLE, "example_ref"})
"""Fields of a row that `add_examples` adds."""

_ExampleKey = tuple[str, str]
"""Run id and example digest. The run id is empty if all runs share one example per digest."""


def model_call(model: str | None, calls: Sequence[Call], names: Iterable[str]) -> Call | None:
    """Find the model's call among the calls below a prediction; None if every call belongs to a scorer.

    Args:
        model: ref of the model, if known.
        calls: calls below the prediction, oldest first.
        names: score names; a call with such a name is a scorer's.
    """
    if model is not None:
        for call in calls:
            if model in (call.get("self"), call["op_name"]):
                return call
    scored = {_letters(name) for name in names}
    others = (call for call in calls if scored.isdisjoint(map(_letters, scorer_names(call))))
    return next((call for call in others if not call["op_trace_name"].endswith(_SCORE)), None)


def scorer_calls(names: Sequence[str], calls: Sequence[Call]) -> tuple[dict[str, Call], list[Call]]:
    """Return the call of each score, by score name, and the calls that match no score.

    Exact names match first, then names compared by letters and digits only.
    """
    remaining = {call["id"]: call for call in calls}
    matched: dict[str, Call] = {}
    for normalize in (str, _letters):
        by_name: dict[str, list[Call]] = {}
        for call in remaining.values():
            for name in map(normalize, scorer_names(call)):
                by_name.setdefault(name, []).append(call)
        candidates = {name: iter(found) for name, found in by_name.items()}
        for name in names:
            # An iterator passes each call once, however many names share it.
            first = (call for call in candidates.get(normalize(name), ()) if call["id"] in remaining)
            if name not in matched and (found := next(first, None)):
                matched[name] = remaining.pop(found["id"])
    return matched, list(remaining.values())


def scorer_names(call: Call) -> tuple[str, ...]:
    """Return the possible score names of a call, the likeliest first."""
    return _names(call.get("self"), call["op_trace_name"])


@_remembered
def _names(ref: str | None, op_name: str) -> tuple[str, ...]:
    of_class, _, _ = op_name.rpartition(".")
    return tuple(name for name in (_object_name(ref), of_class, op_name) if name)


def _object_name(ref: str | None) -> str | None:
    if not ref or not _is_ref(ref) or ref.startswith(refs.ARTIFACT_SCHEME):
        return None
    parsed = refs.parse(ref)
    return parsed.name if parsed.kind == "object" else None


@_remembered
def _letters(name: str) -> str:
    """Normalize a name so that class, object and op of one scorer compare equal."""
    return _NO_LETTER.sub("", name).lower()


@dataclass(frozen=True, slots=True)
class PredictionSelection:
    """The selected fields of predictions and of their related calls; no call is read if its set is empty."""

    fields: frozenset[str] = frozenset()
    of_call: frozenset[str] = frozenset()
    of_model_call: frozenset[str] = frozenset()
    of_scorer_calls: frozenset[str] = frozenset()


class Predictions:
    """Reads predictions from the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls = database.calls

    async def find(self, keys: Sequence[Key], wanted: PredictionSelection) -> dict[Key, list[Row]]:
        """Return the predictions of each run and example, oldest first, with the fields in `wanted`.

        A row has the `id` of the prediction's call, `trial` (from 0), `status`, `exception`, `latency_ms`,
        `model_latency_ms`, `json.output`, `model_call_id` and `scores`. A score has `name`, `json.value` and, from the
        scorer's call, `call_id`, `status`, `exception` and `scorer` (dict of `project_id` and `ref`). Related calls are
        rows of their own: `call` and `model_call` of a prediction, and `call` of a score.

        Raises:
            BadInputError: there are more predictions, scores or characters than one response may have.
        """
        result: dict[Key, list[Row]] = {key: [] for key in keys}
        for project_id in {key[0]: None for key in keys}:
            rows = await self._read(project_id, [key for key in keys if key[0] == project_id], wanted.fields)
            await self._add_calls(project_id, rows, wanted)
            async for row in cooperative(rows):
                predictions = result.get((project_id, row["parent_id"], row["example_digest"]))
                if predictions is not None:
                    predictions.append(row | {"trial": len(predictions)})
        return result

    async def _read(self, project_id: str, keys: Sequence[Key], wanted: frozenset[str]) -> list[Row]:
        runs, digests = ({key[index]: None for key in keys} for index in (1, 2))
        stages: list[dict[str, Any]] = [
            {"$match": predictions_of(project_id, list(runs), list(digests))},
            {"$limit": MAX_PREDICTIONS + 1},
            {"$project": _projection(wanted)},
        ]
        rows: list[Row] = []
        characters = 0
        async for row in cooperative_async(self._calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)):
            rows.append(row)
            characters += len(row.get("json", {}).get("output", ""))
            check_response_size(len(rows), MAX_PREDICTIONS, "more than {} predictions")
            too_long = "predictions with outputs of more than {} characters of JSON"
            check_response_size(characters, MAX_CHARACTERS, too_long)
        rows.sort(key=_BY_AGE)
        if not wanted.isdisjoint(_OF_OUTPUT):
            count = 0
            async for row in cooperative(rows):
                await _read_output(row)
                count += len(row[SCORES])
                self._check_related(count, "scores")
        if not wanted.isdisjoint(_OF_CALLS):
            await self._join(project_id, rows)
        return rows

    async def _join(self, project_id: str, rows: Sequence[Row]) -> None:
        count = 0
        calls: dict[str, list[Document]] = {row["id"]: [] for row in rows}
        match = calls_match(project_id) | {"parent_id": {"$in": list(calls)}}
        paths = ("id", "project_id", "parent_id", "op_name", "op_trace_name", "started_at", "status", "exception")
        stages: list[dict[str, Any]] = [
            {"$match": match},
            {"$project": {"_id": 0, "self": if_text("self")} | dict.fromkeys(paths, 1)},
        ]
        async for call in cooperative_async(self._calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)):
            calls[call["parent_id"]].append(call)
            count += 1
            self._check_related(count, "calls below them")
        async for row in cooperative(rows):
            row_calls = sorted(calls[row["id"]], key=_BY_AGE)
            if len(row[SCORES]) + len(row_calls) > _MAX_JOINED_ON_LOOP:
                await asyncio.to_thread(_join_calls, row, row_calls)
            else:
                _join_calls(row, row_calls)
        # Predictions that failed or are still running lack scores, whose values are in the scorers' calls.
        lost = [score for row in rows for score in row[SCORES] if score.pop("is_lost")]
        by_id = {score["call_id"]: score for score in lost if score["status"] != "error"}
        async for call in find_calls(self._database, project_id, list(by_id), ["id", "json.output"]):
            if text := call["json"].get("output"):
                by_id[call["id"]]["json"] = {"value": text}

    async def _add_calls(self, project_id: str, rows: Sequence[Row], wanted: PredictionSelection) -> None:
        """Add the related calls of all rows in one read per kind; reads per row cost three times the CPU time."""
        if wanted.of_call:
            await add_calls(self._database, project_id, rows, wanted.of_call, "id", "call")
        if wanted.of_model_call:
            await add_calls(self._database, project_id, rows, wanted.of_model_call, "model_call_id", MODEL_CALL)
        if wanted.of_scorer_calls:
            scores = [score async for row in cooperative(rows) for score in row[SCORES]]
            await add_calls(self._database, project_id, scores, wanted.of_scorer_calls, "call_id", "call")

    def _check_related(self, count: int, kind: str) -> None:
        check_response_size(count, MAX_RELATED_EACH * MAX_PREDICTIONS, f"predictions with more than {{}} {kind}")


def _projection(wanted: frozenset[str]) -> dict[str, Any]:
    paths = [*_ALWAYS_READ, *(wanted & {"latency_ms", "ended_at"})]
    if not wanted.isdisjoint(_OF_OUTPUT):
        paths.append("json.output")
    model = {} if wanted.isdisjoint(_OF_CALLS) else {"model": if_text("model")}
    return {"_id": 0} | dict.fromkeys(paths, 1) | model


async def _read_output(row: Row) -> None:
    """Replace a prediction's output text by `json.output`, `model_latency_ms` and `scores`; accepts any JSON."""
    text = row.pop("json", {}).get("output") or "null"
    found = await incremental.loads(text.encode())
    output = found if isinstance(found, dict) else {}
    first_output = next((output[name] for name in ("output", "model_output") if name in output), None)
    row["json"] = {} if first_output is None else {"output": codec.encode(first_output)}
    row["model_latency_ms"] = _milliseconds(output.get("model_latency"))
    scores = output.get("scores")
    row[SCORES] = scores if isinstance(scores, dict) else {}


def _milliseconds(seconds: object) -> float | None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    milliseconds = 1000 * float(seconds)
    return milliseconds if isfinite(milliseconds) else None


def _join_calls(row: Row, calls: Sequence[Call]) -> None:
    """Replace the score values of a prediction by score rows with their calls, and set `model_call_id`."""
    values: Mapping[str, object] = row[SCORES]
    model = model_call(row.pop("model", None), calls, values)
    earlier = {call["id"] for call in calls[: calls.index(model)]} if model else frozenset()
    score_calls, unmatched = scorer_calls(list(values), [call for call in calls if call is not model])
    failed = [call for call in unmatched if call["id"] not in earlier]
    row[SCORES] = [_score(row, name, value, score_calls.get(name)) for name, value in values.items()]
    row[SCORES] += [_score(row, scorer_names(call)[0], None, call, is_lost=True) for call in failed]
    row["model_call_id"] = model["id"] if model else None
    if "exception" not in row and model and "exception" in model:
        row["exception"] = model["exception"]


def _score(row: Row, name: str, value: object, call: Call | None, *, is_lost: bool = False) -> Row:
    text = {} if value is None else {"value": codec.encode(value)}
    score = {"project_id": row["project_id"], "name": name, "json": text, "is_lost": is_lost}
    if call is None:
        return score
    ref = call.get("self") or call["op_name"]
    scorer = {"project_id": call["project_id"], "ref": ref} if _is_ref(ref) else None
    exception = call.get("exception")
    return {**score, "call_id": call["id"], "scorer": scorer, "status": call["status"], "exception": exception}


async def add_calls(
    database: Database, project_id: str, rows: Sequence[Row], wanted: Collection[str], id_field: str, target: str
) -> None:
    """Set `row[target]` to the selected fields of the visible call with the id `row[id_field]`, or to None."""
    ids = [row[id_field] async for row in cooperative(rows) if row.get(id_field)]
    cursor = find_calls(database, project_id, ids, paths_of([*wanted, "project_id", "id"]))
    calls = {call["id"]: call async for call in cursor}
    await add_computed_fields(database, project_id, list(calls.values()), set(wanted))
    async for row in cooperative(rows):
        row[target] = calls.get(row.get(id_field))


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
) -> dict[_ExampleKey, dict[str, Any]]:
    """Return the earliest prediction of each example: its `ref`, or the `key` of the call whose inputs have it."""
    group_key = {"digest": "$example_digest"} | ({"run": "$parent_id"} if per_run else {})
    stages = [
        {"$match": predictions_of(project_id, run_ids, digests)},
        {"$sort": BY_EXAMPLE},
        {"$group": {"_id": group_key, "key": {"$first": "$_id"}, "ref": {"$first": if_text(EXAMPLE)}}},
    ]
    cursor = database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)
    return {(row["_id"].get("run", ""), row["_id"]["digest"]): row async for row in cooperative_async(cursor)}


async def _values(
    database: Database, project_id: str, examples: dict[_ExampleKey, dict[str, Any]]
) -> dict[_ExampleKey, str]:
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


async def _read_inputs(
    database: Database, project_id: str, keys: dict[str, _ExampleKey], budget: Budget
) -> dict[_ExampleKey, str]:
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


def row_stages(
    run_ids: Sequence[str] = ("",),
    sort_by: Sequence[SortBy] | None = None,
    query: Query | None = None,
    *,
    only_common: bool = False,
) -> tuple[Stages, Order]:
    """Return the stages that make rows of the predictions of runs, and the order of the rows; by default by start time.

    A row's `id` is the example digest. It needs one prediction that matches the query. Sort values are means over all
    matching predictions. With `only_common` only examples that all runs have are rows. A sort by a number sorts by the
    mean; for several runs, by the mean in the last run minus the mean in the first. Without such a sort the stages do
    not depend on `run_ids`, but on their number.

    Raises:
        BadInputError: the sort or the query is invalid.
    """
    numbers = _sort_numbers(sort_by or ())
    means, changes = _means_and_changes(numbers, run_ids[0], run_ids[-1])
    reads_output = query or any(access.field is OUTPUT for _, access in numbers.values())
    stages: Stages = [
        {"$sort": BY_EXAMPLE},
        *([TEXT_BY_EITHER_NAME] if query else ()),
        *([OUTPUT_BY_EITHER_NAME] if reads_output else ()),
        *([{"$match": query.match(PREDICTION_FIELDS)}] if query else ()),
        {
            "$group": {
                "_id": "$example_digest",
                "id": {"$first": "$example_digest"},
                "example_digest": {"$first": "$example_digest"},
                "run_id": {"$first": "$parent_id"},
                _STARTED_AT: {"$first": "$started_at"},
                **({"runs": {"$addToSet": "$parent_id"}} if only_common else {}),
                **means,
            }
        },
        *([{"$match": {"runs": {"$size": len(run_ids)}}}] if only_common else ()),
        *([{"$set": changes}] if changes else ()),
    ]
    fields = (Field(name, path, Kind.NUMBER) for name, (path, _) in numbers.items())
    return stages, compile_sort(sort_by or (SortBy("started_at"),), FieldTable([*_PLAIN, *fields]))


def _means_and_changes(numbers: Numbers, first: str, last: str) -> tuple[Document, Document]:
    """Return the means to group by in each of two runs, and the changes to the last run; a single run has none."""
    accesses = dict(numbers.values())
    means = {path: _mean_in(first, access) for path, access in accesses.items()}
    if first == last:
        return means, {}
    means |= {f"{path}_last": _mean_in(last, access) for path, access in accesses.items()}
    return means, {path: {"$subtract": [f"${path}_last", f"${path}"]} for path in accesses}


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
        stages, order = row_stages()
        self._relation = OneToMany(
            database,
            database.calls,
            "parent_id",
            order,
            _predictions_of,
            lambda _: list(IN_ROWS),
            transform=lambda *_: stages,
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
            await self.complete(project_id, rows, wanted, of_predictions)
        return pages

    async def count(self, keys: Sequence[RunKey], limit: int | None = None) -> dict[RunKey, int]:
        """Count the rows of each run, up to `limit`."""
        return await self._relation.count(keys, limit)

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
    return calls_match(project_id) | {"example_digest": {"$gt": ""}}
