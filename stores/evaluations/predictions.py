"""The predictions about examples, each with its output, its scores, and the calls that made them."""

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
"""A project, the id of a run, and the digest of an example."""

MAX_PREDICTIONS: Final = 50_000
"""Of one answer."""
MAX_BELOW_EACH: Final = 5
"""Scores of each, and calls below each, in an answer of the most predictions; of fewer some may have more."""
MAX_CHARACTERS: Final = 100_000_000
"""Of the JSON of their outputs, in one answer."""

SCORES: Final = "scores"
MODEL_CALL: Final = "model_call"
EXCEPTION: Final = "exception"

_ALWAYS_READ: Final = ("id", "parent_id", "project_id", "example_digest", "started_at", "status", "exception")
_OF_OUTPUT: Final = ("output", "model_latency_ms", SCORES, MODEL_CALL, EXCEPTION)
_OF_CALLS: Final = (SCORES, MODEL_CALL, EXCEPTION)
_OLDEST_FIRST: Final = itemgetter("started_at", "id")
"""The order of calls. MongoDB would not lead to few of very many if it were to sort them."""
_MANY: Final = 1_000
"""Scores and calls of one prediction that are not joined on the event loop."""
_OUTPUTS: Final = ("output", "model_output")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which fields of predictions are wanted, and which of the calls at their edges: for no field no call is read."""

    fields: frozenset[str] = frozenset()
    of_call: frozenset[str] = frozenset()
    of_model_call: frozenset[str] = frozenset()
    of_scorer_calls: frozenset[str] = frozenset()


class Predictions:
    """The predictions in a database."""

    def __init__(self, database: Database, most: int = MAX_PREDICTIONS, most_characters: int = MAX_CHARACTERS) -> None:
        self._database = database
        self._calls = database.calls
        self._most = most
        self._most_characters = most_characters

    async def of(self, keys: Sequence[Key], wanted: Wanted) -> dict[Key, list[Row]]:
        """For each run and example its predictions, the oldest first, with the wanted fields of them.

        Rows have the `id` of the prediction's call, `trial` (from 0), `status`, `exception`, `latency_ms`,
        `model_latency_ms`, the `output` under `json`, `model_call_id`, and `scores`: of each the `name`, the `value`
        under `json`, and of the scorer's call `call_id`, `status`, `exception` and
        the `scorer`, its ref as a dict of `project_id` and `ref`. Calls at the edges are rows of their own: the
        prediction's `call` and `model_call`, and the `call` of each score.

        Raises:
            BadInputError: there are more than one answer has.
        """
        found: dict[Key, list[Row]] = {key: [] for key in keys}
        for project_id in {key[0]: None for key in keys}:
            rows = await self._read(project_id, [key for key in keys if key[0] == project_id], wanted.fields)
            await self._add_calls(project_id, rows, wanted)
            async for row in cooperative(rows):
                of_example = found.get((project_id, row["parent_id"], row["example_digest"]))
                if of_example is not None:
                    of_example.append(row | {"trial": len(of_example)})
        return found

    async def _read(self, project_id: str, keys: Sequence[Key], wanted: frozenset[str]) -> list[Row]:
        runs, digests = ({key[place]: None for key in keys} for place in (1, 2))
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
            self._check_below(count, "scores")

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
            self._check_below(count, "calls below them")
        async for row in cooperative(rows):
            below = sorted(calls[row["id"]], key=_OLDEST_FIRST)
            if len(row[SCORES]) + len(below) > _MANY:
                await asyncio.to_thread(_join_calls, row, below)
            else:
                _join_calls(row, below)
        await self._add_lost_values(
            project_id, [score for row in rows for score in row[SCORES] if score.pop("is_lost")]
        )

    async def _add_lost_values(self, project_id: str, scores: Sequence[Row]) -> None:
        """Add the values of scores that their predictions do not have: these failed, or have not ended."""
        by_id = {score["call_id"]: score for score in scores if score["status"] != "error"}
        async for call in find_calls(self._database, project_id, list(by_id), ["id", "json.output"]):
            if text := call["json"].get("output"):
                by_id[call["id"]]["json"] = {"value": text}

    async def _add_calls(self, project_id: str, rows: Sequence[Row], wanted: Wanted) -> None:
        """Add the calls at the edges, for all rows at once: asked for one by one they take the event loop thrice."""
        if wanted.of_call:
            await add_calls(self._database, project_id, rows, wanted.of_call, "id", "call")
        if wanted.of_model_call:
            await add_calls(self._database, project_id, rows, wanted.of_model_call, "model_call_id", MODEL_CALL)
        if wanted.of_scorer_calls:
            scores = [score async for row in cooperative(rows) for score in row[SCORES]]
            await add_calls(self._database, project_id, scores, wanted.of_scorer_calls, "call_id", "call")

    def _check_below(self, count: int, what: str) -> None:
        most = MAX_BELOW_EACH * self._most
        if count > most:
            raise BadInputError(
                f"has predictions with more than {most:,} {what}, the limit of one answer; ask for fewer rows", "first"
            )

    def _check(self, count: int, characters: int) -> None:
        if count > self._most:
            raise BadInputError(
                f"has more than {self._most:,} predictions, the limit of one answer; ask for fewer rows", "first"
            )
        if characters > self._most_characters:
            raise BadInputError(
                f"has predictions with outputs of more than {self._most_characters:,} characters of JSON, the limit of "
                "one answer; ask for fewer rows",
                "first",
            )


def _projection(wanted: frozenset[str]) -> dict[str, Any]:
    paths = [*_ALWAYS_READ, *(wanted & {"latency_ms", "ended_at"})]
    if not wanted.isdisjoint(_OF_OUTPUT):
        paths.append("json.output")
    model = {} if wanted.isdisjoint(_OF_CALLS) else {"model": if_text("model")}
    return {"_id": 0} | dict.fromkeys(paths, 1) | model


async def _read_output(row: Row) -> None:
    """Take a prediction's output apart, whatever it is."""
    text = row.pop("json", {}).get("output") or "null"
    found = await incremental.loads(text.encode())
    output = found if isinstance(found, dict) else {}
    value = next((output[name] for name in _OUTPUTS if name in output), None)
    row["json"] = {} if value is None else {"output": codec.encode(value)}
    row["model_latency_ms"] = _milliseconds(output.get("model_latency"))
    scores = output.get("scores")
    row[SCORES] = scores if isinstance(scores, dict) else {}


def _milliseconds(seconds: object) -> float | None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    found = 1000 * float(seconds)
    return found if isfinite(found) else None


def _join_calls(row: Row, calls: Sequence[Call]) -> None:
    """Put in place of a prediction's scores those with their calls, and note the call of its model."""
    values: Mapping[str, object] = row[SCORES]
    model = model_call(row.pop("model", None), calls, values)
    earlier = {call["id"] for call in calls[: calls.index(model)]} if model else frozenset()
    of_scores, left = scorer_calls(list(values), [call for call in calls if call is not model])
    failed = [call for call in left if call["id"] not in earlier]
    row[SCORES] = [_score(row, name, value, of_scores.get(name)) for name, value in values.items()]
    row[SCORES] += [_lost_score(row, call) for call in failed]
    row["model_call_id"] = model["id"] if model else None
    if "exception" not in row and model and "exception" in model:
        row["exception"] = model["exception"]


def _score(row: Row, name: str, value: object, call: Call | None) -> Row:
    text = {} if value is None else {"value": codec.encode(value)}
    return {"project_id": row["project_id"], "name": name, "json": text, "is_lost": False, **_of_call(call)}


def _lost_score(row: Row, call: Call) -> Row:
    name = scorer_names(call)[0]
    return {"project_id": row["project_id"], "name": name, "json": {}, "is_lost": True, **_of_call(call)}


def _of_call(call: Call | None) -> Row:
    if call is None:
        return {}
    ref = scorer_ref(call)
    scorer = {"project_id": call["project_id"], "ref": ref} if ref else None
    return {"call_id": call["id"], "scorer": scorer, "status": call["status"], "exception": call.get("exception")}
