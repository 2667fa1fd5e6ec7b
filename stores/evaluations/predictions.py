"""The predictions about examples, each with its output, its scores, and the calls that made them."""

from collections.abc import Mapping, Sequence
from math import isfinite
from operator import itemgetter
from typing import Any, Final

from stores import json_slices, json_text
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.evaluations.joining import Call, model_call, scorer_calls, scorer_names, scorer_ref
from stores.evaluations.logged import ALL_AT_ONCE, if_text, predictions_of
from stores.paging import Row
from stores.turns import coming_in_turns, in_turns

Key = tuple[str, str, str]
"""A project, the id of a run, and the digest of an example."""

MAX_PREDICTIONS: Final = 50_000
"""Of one answer."""

SCORES: Final = "scores"
MODEL_CALL: Final = "model_call"
EXCEPTION: Final = "exception"

_ALWAYS_READ: Final = ("id", "parent_id", "project_id", "example_digest", "started_at", "status", "exception")
_OF_OUTPUT: Final = ("output", "model_latency_ms", SCORES, MODEL_CALL, EXCEPTION)
_OF_CALLS: Final = (SCORES, MODEL_CALL, EXCEPTION)
_OLDEST_FIRST: Final = itemgetter("started_at", "id")
"""The order of calls. MongoDB would not lead to few of very many if it were to sort them."""
_OUTPUTS: Final = ("output", "model_output")


class Predictions:
    """The predictions in a database."""

    def __init__(self, database: Database, most: int = MAX_PREDICTIONS) -> None:
        self._calls = database.calls
        self._most = most

    async def of(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, list[Row]]:
        """For each run and example its predictions, the oldest first, with the wanted fields of them.

        Rows have the `id` of the prediction's call, `trial` (from 0), `status`, `exception`, `latency_ms`,
        `model_latency_ms`, the `output` under `json`, `model_call_id`, and `scores`: of each the `name`, the `value`
        under `json`, and of the scorer's call `call_id`, `status`, `exception` and
        the `scorer`, its ref as a dict of `project_id` and `ref`.

        Raises:
            BadInputError: there are more than one answer has.
        """
        found: dict[Key, list[Row]] = {key: [] for key in keys}
        for project_id in {key[0]: None for key in keys}:
            rows = await self._read(project_id, [key for key in keys if key[0] == project_id], wanted)
            async for row in in_turns(rows):
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
        rows = await self._calls.aggregate(stages, allowDiskUse=True, batchSize=ALL_AT_ONCE).to_list(None)
        self._check(len(rows))
        rows.sort(key=_OLDEST_FIRST)
        if not wanted.isdisjoint(_OF_OUTPUT):
            async for row in in_turns(rows):
                await _read_output(row)
        if not wanted.isdisjoint(_OF_CALLS):
            await self._join(project_id, rows)
        return rows

    async def _join(self, project_id: str, rows: Sequence[Row]) -> None:
        calls: dict[str, list[Document]] = {row["id"]: [] for row in rows}
        below = {"project_id": project_id, "visible": True, "parent_id": {"$in": list(calls)}}
        paths = ("id", "project_id", "parent_id", "op_name", "op_trace_name", "started_at", "status", "exception")
        stages: list[dict[str, Any]] = [
            {"$match": below},
            {"$project": {"_id": 0, "self": if_text("self")} | dict.fromkeys(paths, 1)},
        ]
        async for call in coming_in_turns(self._calls.aggregate(stages, allowDiskUse=True, batchSize=ALL_AT_ONCE)):
            calls[call["parent_id"]].append(call)
        async for row in in_turns(rows):
            _join_calls(row, sorted(calls[row["id"]], key=_OLDEST_FIRST))
        await self._add_lost_values(
            project_id, [score for row in rows for score in row[SCORES] if score.pop("is_lost")]
        )

    async def _add_lost_values(self, project_id: str, scores: Sequence[Row]) -> None:
        """Add the values of scores that their predictions do not have: these failed, or have not ended."""
        by_call = {f"{project_id}:{score['call_id']}": score for score in scores if score["status"] != "error"}
        if not by_call:
            return
        among = {"_id": {"$in": list(by_call)}, "project_id": project_id}
        async for call in coming_in_turns(self._calls.find(among, {"json.output": 1}, batch_size=ALL_AT_ONCE)):
            if text := call["json"].get("output"):
                by_call[call["_id"]]["json"] = {"value": text}

    def _check(self, count: int) -> None:
        if count > self._most:
            raise BadInputError(
                f"has more than {self._most:,} predictions, the limit of one answer; ask for fewer rows", "first"
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
    found = await json_slices.loads(text.encode())
    output = found if isinstance(found, dict) else {}
    value = next((output[name] for name in _OUTPUTS if name in output), None)
    row["json"] = {} if value is None else {"output": json_text.encode(value)}
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
    rest = [call for call in calls if call is not model]
    of_scores, left = scorer_calls(list(values), rest)
    failed = left if model is None else [call for call in left if calls.index(call) > calls.index(model)]
    row[SCORES] = [_score(row, name, value, of_scores.get(name)) for name, value in values.items()]
    row[SCORES] += [_lost_score(row, call) for call in failed]
    row["model_call_id"] = model["id"] if model else None
    if "exception" not in row and model and "exception" in model:
        row["exception"] = model["exception"]


def _score(row: Row, name: str, value: object, call: Call | None) -> Row:
    text = {} if value is None else {"value": json_text.encode(value)}
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
