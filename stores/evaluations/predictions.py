"""Predictions of runs, each with its output, its scores, and the calls that made them."""

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
from stores.calls.fields import paths_of
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, Document
from stores.evaluations.logged_runs import BATCH, check_response_size, find_calls, if_text, predictions_of
from stores.evaluations.scores import SCORES
from stores.json import codec, incremental
from stores.paging import Row

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
_OLDEST_FIRST: Final = itemgetter("started_at", "id")
"""Sort key of calls. Sorting in MongoDB would make it choose an index that reads too many calls."""
_MAX_JOINED_ON_LOOP: Final = 1_000
"""Predictions with more scores and calls than this are joined in a thread, not on the event loop."""
_OUTPUTS: Final = ("output", "model_output")


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

    def __init__(
        self, database: Database, max_predictions: int = MAX_PREDICTIONS, max_characters: int = MAX_CHARACTERS
    ) -> None:
        self._database = database
        self._calls = database.calls
        self._most = max_predictions
        self._most_characters = max_characters

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
            {"$limit": self._most + 1},
            {"$project": _projection(wanted)},
        ]
        rows: list[Row] = []
        characters = 0
        async for row in cooperative_async(self._calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)):
            rows.append(row)
            characters += len(row.get("json", {}).get("output", ""))
            check_response_size(len(rows), self._most, "more than {} predictions")
            too_long = "predictions with outputs of more than {} characters of JSON"
            check_response_size(characters, self._most_characters, too_long)
        rows.sort(key=_OLDEST_FIRST)
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
        match = {"project_id": project_id, "visible": True, "parent_id": {"$in": list(calls)}}
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
            row_calls = sorted(calls[row["id"]], key=_OLDEST_FIRST)
            if len(row[SCORES]) + len(row_calls) > _MAX_JOINED_ON_LOOP:
                await asyncio.to_thread(_join_calls, row, row_calls)
            else:
                _join_calls(row, row_calls)
        await self._add_missing_values(
            project_id, [score for row in rows for score in row[SCORES] if score.pop("is_lost")]
        )

    async def _add_missing_values(self, project_id: str, scores: Sequence[Row]) -> None:
        """Read score values from the scorers' calls, for predictions that failed or are still running."""
        by_id = {score["call_id"]: score for score in scores if score["status"] != "error"}
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
        check_response_size(count, MAX_RELATED_EACH * self._most, f"predictions with more than {{}} {kind}")


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
    first_output = next((output[name] for name in _OUTPUTS if name in output), None)
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
