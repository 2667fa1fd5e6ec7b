"""Predictions of runs, each with its output, its scores, and the calls that made them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from operator import itemgetter
from typing import Any, Final

from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.evaluations.call_matching import Call, model_call, scorer_calls, scorer_names, scorer_ref
from stores.evaluations.logged_runs import BATCH, if_text, predictions_of
from stores.evaluations.related_calls import add_calls, find_calls
from stores.json import codec, incremental
from stores.paging import Row

Key = tuple[str, str, str]
"""Project id, run id and example digest."""

MAX_PREDICTIONS: Final = 50_000
"""Limit on the predictions of one response."""
MAX_RELATED_EACH: Final = 5
"""Limit on the scores, and on the calls below predictions, as an average over the largest number of predictions."""
MAX_CHARACTERS: Final = 100_000_000
"""Limit on the JSON characters of the outputs in one response."""

SCORES: Final = "scores"
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
            self._check(len(rows), characters)
        rows.sort(key=_OLDEST_FIRST)
        if not wanted.isdisjoint(_OF_OUTPUT):
            await self._read_outputs(rows)
        if not wanted.isdisjoint(_OF_CALLS):
            await self._join(project_id, rows)
        return rows

    async def _read_outputs(self, rows: Sequence[Row]) -> None:
        count = 0
        async for row in cooperative(rows):
            await _read_output(row)
            count += len(row[SCORES])
            self._check_related(count, "scores")

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
        limit = MAX_RELATED_EACH * self._most
        if count > limit:
            raise BadInputError(
                f"has predictions with more than {limit:,} {kind}, the limit of one response; request fewer rows",
                "first",
            )

    def _check(self, count: int, characters: int) -> None:
        if count > self._most:
            raise BadInputError(
                f"has more than {self._most:,} predictions, the limit of one response; request fewer rows", "first"
            )
        if characters > self._most_characters:
            raise BadInputError(
                f"has predictions with outputs of more than {self._most_characters:,} characters of JSON, the limit of "
                "one response; request fewer rows",
                "first",
            )


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
    row[SCORES] += [_missing_score(row, call) for call in failed]
    row["model_call_id"] = model["id"] if model else None
    if "exception" not in row and model and "exception" in model:
        row["exception"] = model["exception"]


def _score(row: Row, name: str, value: object, call: Call | None) -> Row:
    text = {} if value is None else {"value": codec.encode(value)}
    return {"project_id": row["project_id"], "name": name, "json": text, "is_lost": False, **_of_call(call)}


def _missing_score(row: Row, call: Call) -> Row:
    name = scorer_names(call)[0]
    return {"project_id": row["project_id"], "name": name, "json": {}, "is_lost": True, **_of_call(call)}


def _of_call(call: Call | None) -> Row:
    if call is None:
        return {}
    ref = scorer_ref(call)
    scorer = {"project_id": call["project_id"], "ref": ref} if ref else None
    return {"call_id": call["id"], "scorer": scorer, "status": call["status"], "exception": call.get("exception")}
