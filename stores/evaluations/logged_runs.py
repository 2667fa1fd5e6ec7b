"""Runs of evaluations as clients log them: the calls of a run, how to match them, and the headers of runs.

    Evaluation.evaluate                     the run: inputs self (the evaluation) and model; output is the summary
        Evaluation.predict_and_score        a prediction, one per example and trial: inputs model and example;
                                            its output has output (formerly model_output), scores and model_latency
            <Model>.predict                 the model's call
            <Scorer>.score                  one for each scorer
        Evaluation.summarize

Weave's client, its EvaluationLogger and LoomQL's own runner all log runs like this. Ops of a subclass end in these
names too, and Weave's client for TypeScript writes predictAndScore.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeGuard

from stores import refs
from stores.aggregates import AggregatesStore, GroupBy, Grouping
from stores.calls import CallsFilter, documents
from stores.calls.fields import calls_match
from stores.concurrency.time_slices import cooperative_async
from stores.costs import CostsStore
from stores.costs.pricing import exact
from stores.costs.usage_tree import Tallies, Tally, counts_of, usage_row
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.errors import BadInputError, NotFoundError
from stores.json import codec
from stores.paging import Row
from stores.refs.store import RefsStore
from stores.tables import TablesStore
from stores.usage.classes import FIELDS, STORED
from stores.usage.entries import SUM

EVALUATE: Final = "Evaluation.evaluate"
"""Substring of the op name of every run."""

BATCH: Final = 2_000
"""Documents per MongoDB batch. Larger batches block the event loop while they are decoded."""

DEFINITION_FIELDS: Final = frozenset({"dataset", "scorers", "trials"})
"""Fields of a run's header that need the definition of its evaluation."""

MAX_LEVELS_ABOVE: Final = 4
"""Levels to search for a run above a call. The calls of models and scorers are two levels below their run."""

USAGE: Final = ("trace_id", "parent_id", "started_at", "usage", "usage_scope")
"""Paths of a run's call that `usage_of_run` needs."""

_MAX_TRIALS: Final = 2**31 - 1
"""Largest GraphQL Int. A larger number of trials is ignored as invalid."""
_ALWAYS_READ: Final = ("id", "project_id", "trace_id", "parent_id", "status", "started_at")
_READS: Final = {
    "evaluation": ("inputs.self",),
    "model": ("inputs.model",),
    "output": ("json.output",),
    **dict.fromkeys(DEFINITION_FIELDS, ("inputs.self",)),
}
_COUNTS: Final = frozenset(
    {"prompt_tokens", "completion_tokens", "requests", "total_tokens", "cost", "unpriced_tokens", *FIELDS.values()}
)

Match = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotFound:
    """The call does not exist or is deleted."""


@dataclass(frozen=True, slots=True)
class Running:
    """The run is in progress: predictions that have ended, and the expected total."""

    completed_rows: int
    total_rows: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with an exception."""

    error: str


@dataclass(frozen=True, slots=True)
class Complete:
    """The run has ended; `output` is its summary, the JSON text of an object."""

    output: str


Status = NotFound | Running | Failed | Complete


@dataclass(frozen=True, slots=True)
class Definition:
    """An evaluation: its dataset (a ref or a value), refs of its scorers, and trials per example."""

    dataset: object = None
    scorers: tuple[str, ...] = ()
    trials: int = 1

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Read the definition from an evaluation's value; invalid or missing fields get the defaults."""
        if not isinstance(value, dict):
            return cls()
        scorers, trials = value.get("scorers"), value.get("trials")
        return cls(
            value.get("dataset"),
            tuple(filter(_is_ref, scorers)) if isinstance(scorers, list) else (),
            trials if isinstance(trials, int) and 0 < trials <= _MAX_TRIALS else 1,
        )


async def find_definitions(database: Database, project_id: str, runs: Sequence[Document]) -> list[Definition]:
    """Return the definition of each run's evaluation; an empty one if the object is missing or deleted."""
    evaluations = [run.get("inputs", {}).get("self") for run in runs]
    keys = {(project_id, each) for each in evaluations if isinstance(each, str)}
    texts = await RefsStore(database).by_refs(list(keys))
    return [
        Definition.from_value(_parsed(texts[project_id, each]) if isinstance(each, str) else each)
        for each in evaluations
    ]


async def find_status(database: Database, project_id: str, call_id: str) -> Status:
    """Return a run's status with at most six commands, whatever the run's size.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    run = await find_run(database, project_id, call_id, ("status", "exception", "inputs.self", "json.output"))
    if run is None:
        return NotFound()
    if run["status"] != "running":
        return Failed(run["exception"]) if "exception" in run else Complete(summary_text(run))
    ended = {**predictions_of(project_id, [call_id]), "status": {"$ne": "running"}}
    completed = await database.calls.count_documents(ended)
    [definition] = await find_definitions(database, project_id, [run])
    return Running(completed, max(completed, await _count_rows(database, project_id, definition)))


async def _count_rows(database: Database, project_id: str, definition: Definition) -> int:
    """Count the predictions that a complete run makes; 0 if the dataset is missing."""
    dataset: Any = definition.dataset
    if _is_ref(dataset):
        dataset = _parsed((await RefsStore(database).by_refs([(project_id, dataset)]))[project_id, dataset])
    rows = dataset.get("rows") if isinstance(dataset, dict) else dataset
    if isinstance(rows, list):
        return len(rows) * definition.trials
    if not _is_ref(rows) or not rows.startswith(f"{refs.SCHEME}{project_id}/table/"):
        return 0
    stats = await TablesStore(database).stats(project_id, [refs.parse(rows).name], ["count"])
    return int(stats[0]["count"]) * definition.trials if stats else 0


def _is_ref(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and refs.is_ref(value)


def _parsed(text: str | None) -> object:
    return None if text is None else codec.loads(text.encode())


async def find_run(
    database: Database, project_id: str, call_id: str, paths: Iterable[str], argument: str = "call_id"
) -> Document | None:
    """Return `paths` of the call that is a run; None if no such call is visible.

    Raises:
        BadInputError: the call is not an evaluation.
    """
    match = {**documents.key_fields(project_id, call_id), "visible": True}
    call = await database.calls.find_one(match, {"_id": 0} | dict.fromkeys([*paths, "op_trace_name"], 1))
    if call:
        check_is_run(call, argument)
    return call


def check_is_run(call: Document, argument: str) -> None:
    """Check that a call is a run of an evaluation.

    Raises:
        BadInputError: its op is not an evaluation's.
    """
    if EVALUATE not in call["op_trace_name"]:
        op = call["op_trace_name"][:200]
        raise BadInputError(f"the call is not an evaluation: its op is {op!r}; use a call of {EVALUATE}", argument)


def run_not_found(call_id: str, argument: str) -> NotFoundError:
    """Create the error for a run that does not exist."""
    return NotFoundError(f"there is no call {call_id[:64]!r} in this project", argument)


def check_response_size(count: int, limit: int, items: str) -> None:
    """Check that a response does not have too many items; `{}` in `items` stands for the limit.

    Raises:
        BadInputError: `count` exceeds `limit`.
    """
    if count > limit:
        raise BadInputError(f"has {items.format(f'{limit:,}')}, the limit of one response; request fewer rows", "first")


def predictions_of(project_id: str, run_ids: Sequence[str], digests: Sequence[str] | None = None) -> Match:
    """Build the MongoDB filter of the predictions of runs, of all examples or of those with the given `digests`."""
    return calls_match(project_id) | {
        "parent_id": run_ids[0] if len(run_ids) == 1 else {"$in": list(run_ids)},
        "example_digest": {"$gt": ""} if digests is None else {"$in": list(digests)},
    }


def if_text(path: str) -> Document:
    """Build the expression of the input at `path` if it is a string, such as a ref; otherwise the field is missing."""
    return {"$cond": [{"$eq": [{"$type": f"$inputs.{path}"}, "string"]}, f"$inputs.{path}", "$$REMOVE"]}


def summary_text(run: Document) -> str:
    """Return the JSON text of a run's summary; `{}` if its output is not an object."""
    text: str = run["json"].get("output", "")
    return text if text.startswith("{") else "{}"


def paths_of(wanted: Iterable[str]) -> set[str]:
    """Return the paths of a run's call that the selected header fields need."""
    return {*_ALWAYS_READ, *(path for name in wanted for path in _READS.get(name, (name,)))}


def header(call: Document, definition: Definition | None = None) -> Row:
    """Build the header of a run from the paths read; refs become dicts of `project_id` and `ref`."""
    row = {name: value for name, value in call.items() if name not in ("inputs", "json")}
    row["status"] = {"running": "running", "error": "failed"}.get(call["status"], "complete")
    if "output" in call.get("json", {}):
        row["json"] = {"output": summary_text(call)}
    inputs = call.get("inputs", {})
    row["evaluation"], row["model"] = _ref(call, inputs.get("self")), _ref(call, inputs.get("model"))
    if definition:
        row["dataset"] = _ref(call, definition.dataset)
        row["scorers"] = [_ref(call, scorer) for scorer in definition.scorers]
        row["trials"] = definition.trials
    return row


def _ref(call: Document, value: object) -> Row | None:
    return {"project_id": call["project_id"], "ref": value} if _is_ref(value) else None


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


async def usage_of_run(database: Database, project_id: str, run: Document) -> Row:
    """Return the usage of a run over all models, and under `models` of each model.

    The run's own summary is used if its scope is SUM. A run that is a root call without such a summary gets the sum of
    its trace, even while it runs. That sum also replaces a summary that hides price tiers of single requests.
    """
    usage, started_at = run.get("usage", ()), run["started_at"]
    models = project_id, tuple(sorted(entry["model"] for entry in usage))
    prices = (await CostsStore(database).prices([models]))[models]
    is_trace = run.get("parent_id") is None
    if is_trace and (run.get("usage_scope") != SUM or prices.hides_tiers(usage, started_at)):
        return usage_row(await _usage_of_trace(database, project_id, run["trace_id"]))
    tallies = {}
    for entry in usage:
        cost = prices.exact_cost(entry, started_at)
        unpriced = entry["total_tokens"] if cost is None else 0
        tallies[entry["model"]] = Tally(counts_of(entry), unpriced, cost)
    return usage_row(tallies)


async def _usage_of_trace(database: Database, project_id: str, trace_id: str) -> Tallies:
    in_trace = CallsFilter(trace_ids=[trace_id])
    groups = await AggregatesStore(database).calls(project_id, Grouping((GroupBy.MODEL,)), _COUNTS, in_trace)
    tallies = {}
    for row in groups.rows:
        if row["model"] is not None:
            cost = None if row["cost"] is None else exact(row["cost"])
            classes = {name: count for name in STORED if (count := row[FIELDS[name]])}
            tallies[row["model"]] = Tally(counts_of(row | {"classes": classes}), row["unpriced_tokens"], cost)
    return tallies
