"""Worker for the runs of this process: executes the rows of a run, a few at a time, until its summary is stored.

A row is one prediction, then one score per scorer; each step is stored at once. One process works on a run and keeps
its lease; if that process stops or dies, another resumes the run. It keeps the steps that have ended, and does not
repeat their requests. The queue has a document per run from its order until its end; then its call has the result:

    _id                      project id and id of the run's call
    evaluation_ref, model_ref, wb_user_id, trace_id, created_at    the order: objects, user, time
    ordered_by               caller and key of the order, as in the audit log
    rows, completed          rows in total, and rows done
    takes, vain_takes        times a worker acquired the run; times since the last row was done
    canceled_by              user who cancelled the run, if any
    holder, held_until       the worker's lease (`stores.database.leases`)
"""

import asyncio
import logging
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from itertools import accumulate, count, repeat
from time import monotonic
from typing import Any, Final, Self, TypeVar

from pymongo.errors import PyMongoError

from stores import errors, ids, refs, times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.fields import calls_match
from stores.calls.inputs import MAX_EXCEPTION
from stores.completions import CompletionsStore
from stores.completions.store import OP_NAME, BackgroundWrites, retried
from stores.costs import defaults
from stores.costs.pricing import exact, plus
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.leases import Lease, LeaseLostError
from stores.errors import StoreError, UnavailableError
from stores.evaluations.logged_runs import EVALUATE
from stores.evaluations.running.completion_models import RowError, output_of
from stores.evaluations.running.definitions import (
    PREDICT,
    PREDICT_AND_SCORE,
    SUMMARIZE,
    Dataset,
    Definition,
    Definitions,
    Judge,
)
from stores.evaluations.running.summaries import RunSummary
from stores.feedback import FeedbackStore, NewFeedback
from stores.feedback.inputs import RUNNABLE
from stores.json import codec
from stores.paging import PageRequest, Row
from stores.providers import JsonObject, ProviderError
from stores.security.access import ANONYMOUS
from stores.tables import TablesStore
from stores.usage.classes import added
from stores.usage.entries import TOTAL_IS_SUM, Usage, by_model, kept_entry, stated_entry
from stores.usage.rules import MOST, STATED_COST

logger = logging.getLogger("loomql")

ATTRIBUTES: Final[JsonObject] = {"_weave_eval_meta": {"evaluate_model_worker": True}}
"""Attributes that mark calls of server-side runs, as Weave's server does."""

CANCELED: Final = "The run was canceled by"
"""Prefix of the exception of a cancelled run."""

MAX_TAKES_WITHOUT_PROGRESS: Final = 5
"""Maximum acquisitions of a run without progress; then it fails, because it probably kills its workers."""

FIELDS: Final = frozenset({"status", "exception", "output", "summary", "started_at", "ended_at"})
"""Fields to read of calls that are already stored."""

ATTEMPTS: Final = 4
"""Maximum attempts, each of several requests if the provider asks for a short wait."""
MAX_WAIT_SECONDS: Final = 60.0
"""Longest wait that a provider may ask for; after a longer one, the request fails."""

_DATABASE_ERRORS: Final = (UnavailableError, errors.StoreTimeoutError, errors.ConflictError)
"""Errors of the database, not of the request."""
_WRITE_ATTEMPTS: Final = 10
_PAUSE_SECONDS: Final = 5.0
"""Pause before a run is resumed that stopped because of the database or a purge."""

_CONCURRENT_JUDGES: Final = 4
"""Concurrent scorers of one row. It bounds a row's requests in flight, whatever the number of scorers."""
_READ_BATCH: Final = 10
"""Calls read together. Each may be as large as a document can be."""
_PAGE_BYTES: Final = 4 * 1024 * 1024

_COUNTS: Final = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
_LARGEST: Final = 2**53
"""Largest accepted count of calls; larger stored values are invalid."""
_REFS: Final = ("self", "model", "example")
"""Inputs that are refs, so always short."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RunOrder:
    """An order: the objects to run, and the fields that all calls of the run share; `call_id` is the run's own call."""

    project_id: str
    call_id: str
    trace_id: str
    wb_user_id: str | None
    evaluation_ref: str
    model_ref: str
    display_name: str
    created_at: int
    rows: int
    ordered_by: str = ANONYMOUS

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read the order from a run's document."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})

    def start(self, op_name: str = EVALUATE, inputs: JsonObject | None = None) -> CallStart:
        """Build the start of the run's own call."""
        return CallStart(
            self.project_id,
            op_name,
            self.created_at,
            ATTRIBUTES,
            inputs or {},
            id=self.call_id,
            trace_id=self.trace_id,
            display_name=self.display_name,
            wb_user_id=self.wb_user_id,
            is_large=True,
        )


def id_in_run(run_id: str, name: str) -> str:
    """Derive a call's id from its name, so that a worker that resumes a run writes the same calls again."""
    return str(uuid.uuid5(uuid.UUID(run_id), name))


class Tally:
    """Status counts and model usage of a subtree of calls."""

    def __init__(self, summary: object = None) -> None:
        """Read the tally from a call's summary; invalid values count as zero."""
        counts = summary.get("status_counts") if isinstance(summary, dict) else None
        known = counts if isinstance(counts, dict) else {}
        self.statuses = Counter({name: _count(known.get(name)) for name in ("success", "error")})
        self.usage = {model: kept_entry(model, sent) for model, sent in by_model(summary).items()}

    def add(self, other: "Tally") -> None:
        """Add the tally of another subtree."""
        self.statuses.update(other.statuses)
        for model, entry in other.usage.items():
            self.usage[model] = _sum(self.usage[model], entry) if model in self.usage else entry

    def count_as_error(self) -> None:
        """Count the call at the root of the subtree as an error instead of a success."""
        self.statuses.update(success=-1, error=1)

    def summary(self) -> JsonObject:
        """Return the summary to store in the call at the root of the subtree."""
        usage = {model: stated_entry(entry) for model, entry in self.usage.items()}
        return {"status_counts": dict(self.statuses)} | ({"usage": usage} if usage else {})


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _LARGEST else 0


def _sum(some: Usage, more: Usage) -> Usage:
    """Add two usage entries of one model."""
    entry: Usage = {"model": some["model"]} | {name: min(some[name] + more[name], MOST) for name in _COUNTS}
    if some.get(TOTAL_IS_SUM) and more.get(TOTAL_IS_SUM):
        entry[TOTAL_IS_SUM] = True
    if classes := added(some.get("classes") or {}, more.get("classes") or {}):
        entry["classes"] = dict(classes)
    costs = [exact(each[STATED_COST]) for each in (some, more) if STATED_COST in each]
    if costs:
        entry[STATED_COST] = float(reduce(plus, costs))
    return entry


class Step:
    """One call of the run, and the tally of its subtree."""

    def __init__(self, run_id: str, call_id: str, start: CallStart) -> None:
        self.id = call_id
        self.start = start
        self.tally = Tally()
        self._run_id = run_id

    def step(self, name: str, op_name: str, inputs: JsonObject) -> "Step":
        """Create a child call; `name` must be unique in the run, because the id derives from it."""
        child_id = id_in_run(self._run_id, name)
        fields: dict[str, Any] = {"id": child_id, "parent_id": self.id, "op_name": op_name, "inputs": inputs}
        return Step(self._run_id, child_id, replace(self.start, started_at=times.now(), display_name=None, **fields))

    def end(self, output: object = None, exception: str | None = None, usage: JsonObject | None = None) -> CallEnd:
        """Build the end of the call with the current time; `usage` replaces that of the tally in its summary."""
        self.tally.statuses["error" if exception else "success"] += 1
        summary = self.tally.summary() | ({"usage": usage} if usage else {})
        return CallEnd(self.start.project_id, self.id, times.now(), summary, exception, output, is_large=True)


def without_content(part: CallStart | CallEnd, problem: str) -> None:
    """Strip the content that made a start or end impossible to store; an end gets `problem` as its exception.

    The summary of an end keeps only usage counts, which costs depend on.
    """
    if isinstance(part, CallStart):
        inputs: JsonObject = part.inputs if isinstance(part.inputs, dict) else {}
        part.inputs = {name: inputs[name] for name in _REFS if name in inputs}
    else:
        tally = Tally(part.summary)
        if part.exception is None:
            tally.count_as_error()
        part.output, part.exception, part.summary = None, problem, tally.summary()


def run_key(project_id: str, call_id: str) -> Document:
    """Build the MongoDB filter of a run."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id}


class RunLease(Lease):
    """A worker's lease on a run."""

    def __init__(self, database: Database, project_id: str, call_id: str) -> None:
        super().__init__(database, database.evaluation_runs, run_key(project_id, call_id))

    async def add(self, order: RunOrder) -> None:
        """Insert a run with its lease acquired, so that no other worker starts before `release`."""
        await self.insert({**asdict(order), "completed": 0, "takes": 0, "vain_takes": 0})

    async def take(self) -> bool:
        """Acquire the lease; False if another worker has it or the run has no document."""
        return await self.acquire({name: {"$add": [f"${name}", 1]} for name in ("takes", "vain_takes")})

    async def store_progress(self, completed: int) -> None:
        """Store the number of rows done if it has grown; renew the lease and read the state.

        Raises:
            LeaseLostError: the run has ended, or another worker has it.
        """
        has_grown = completed > self.state["completed"]
        await self.advance({"completed": completed, "vain_takes": 0} if has_grown else {})

    async def hand_over(self) -> None:
        """Release the run; this attempt does not count towards `MAX_TAKES_WITHOUT_PROGRESS`."""
        await self.release({"vain_takes": max(0, self.state["vain_takes"] - 1)})


@dataclass(frozen=True, slots=True)
class Sources:
    """The stores that a run reads and writes, and the completions store that sends its requests."""

    database: Database
    calls: CallsStore
    models: CompletionsStore
    feedback: FeedbackStore
    tables: TablesStore


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the dataset in one trial; `name` is unique in the run."""

    name: str
    ref: str
    value: dict[str, Any]

    @property
    def columns(self) -> dict[str, Any]:
        """Columns of the row without `self`, because the inputs use that name for the model or scorer."""
        return {name: value for name, value in self.value.items() if name != "self"}


@dataclass(frozen=True, slots=True)
class CallResult:
    """Result of a call that has ended: output or exception, the tally of its subtree, and seconds."""

    output: Any
    exception: str | None
    tally: Tally
    seconds: float = 0.0

    @classmethod
    def from_row(cls, row: Row | None) -> "CallResult | None":
        """Read the result of a stored call; None if it is missing or has not ended."""
        if row is None or "ended_at" not in row:
            return None
        output, summary = (codec.loads(row["json"][name].encode()) for name in ("output", "summary"))
        return cls(output, row.get("exception"), Tally(summary), (row["ended_at"] - row["started_at"]) / times.SECOND)


class RowWorker:
    """Works on one row."""

    def __init__(self, run: "RunWorker", example: Example) -> None:
        self._run = run
        self._example = example
        definition = run.definition
        inputs = {"self": definition.evaluation_ref, "model": definition.model.ref, "example": example.ref}
        self._call = run.root.step(example.name, definition.ops[PREDICT_AND_SCORE], inputs)
        self._stored: Mapping[str, CallResult] = {}

    async def run(self) -> CallResult:
        """Run the prediction and its scorers; return the result of the row's call."""
        run, judges = self._run, self._run.definition.judges
        names = [self._name("predict"), *(self._name("score", judge.name) for judge in judges)]
        self._stored = await run.stored_results(names)
        await run.write(self._call.start)
        prediction = await self._predict()
        scores: JsonObject = {}
        if prediction.exception is None:
            for batch in batches(judges, _CONCURRENT_JUDGES):
                async with task_group() as group:
                    tasks = {judge.name: group.create_task(self._score(judge, prediction.output)) for judge in batch}
                scores |= {name: task.result().output for name, task in tasks.items()}
        end = self._call.end({"output": prediction.output, "scores": scores, "model_latency": prediction.seconds})
        problem = (await run.write(end)).get(0)
        return CallResult(end.output, problem or prediction.exception, self._call.tally)

    def _name(self, *steps: str) -> str:
        return "/".join([self._example.name, *steps])

    async def _predict(self) -> CallResult:
        definition = self._run.definition
        inputs = {**self._example.columns, "self": definition.model.ref}
        return await self._stored_or_new(
            self._name("predict"),
            definition.ops[PREDICT],
            inputs,
            lambda: definition.model.request_for_row(self._example.value),
        )

    async def _score(self, judge: Judge, output: object) -> CallResult:
        columns = self._example.columns
        values = {"inputs": columns, **columns, "output": output}
        values |= {name: columns[column] for name, column in judge.columns.items() if column in columns}
        inputs = {**columns, "self": judge.ref, "output": output}
        name = self._name("score", judge.name)
        ended = await self._stored_or_new(
            name, judge.op, inputs, lambda: judge.model.request_for_text(judge.prompt.fill(values))
        )
        if ended.exception is None:
            await self._run.retried(lambda: self._store_score(judge, name, ended.output))
        return ended

    async def _store_score(self, judge: Judge, name: str, output: object) -> None:
        """Store a score as feedback on the model's call, as Weave's client does; repeated calls store it once.

        It stores nothing if the scorer is inside the evaluation object, because feedback needs an object name. A score
        too large for feedback is only in its call.
        """
        scorer, order = refs.parse(judge.ref), self._run.order
        if scorer.steps:
            return
        predict, score, feedback = (
            id_in_run(order.call_id, each) for each in (self._name("predict"), name, f"{name}/feedback")
        )
        row = NewFeedback(
            order.project_id,
            refs.call_ref({"project_id": order.project_id, "id": predict}),
            f"{RUNNABLE}.{scorer.name}",
            {"output": output},
            id=feedback,
            runnable_ref=judge.ref,
            call_ref=refs.call_ref({"project_id": order.project_id, "id": score}),
            wb_user_id=order.wb_user_id,
        )
        try:
            await self._run.sources.feedback.create_one(row)
        except (errors.BadInputError, errors.PayloadTooLargeError) as error:
            logger.info("a score of run %s is not stored as feedback, only in its call: %s", order.call_id, error)

    async def _stored_or_new(
        self, name: str, op_name: str, inputs: JsonObject, make_request: Callable[[], JsonObject]
    ) -> CallResult:
        """Return the result of a call to a model: the stored one, or that of a new request."""
        ended = self._stored.get(name) or await self._call_model(self._call.step(name, op_name, inputs), make_request)
        self._call.tally.add(ended.tally)
        return ended

    async def _call_model(self, call: Step, make_request: Callable[[], JsonObject]) -> CallResult:
        started = monotonic()
        try:
            request = await asyncio.to_thread(make_request)  # may be slow: rows and answers can be long
        except RowError as error:
            return await self._end_call(call, started, None, str(error), call.start)
        completion = call.step(f"{call.id}/completion", OP_NAME, request)
        output: object = None
        problems = await self._run.write(call.start, completion.start)
        if problems:
            failure: str | None = problems[min(problems)]
            end = completion.end(None, failure)
        else:
            end, output, failure = await self._complete(completion, request)
        call.tally.add(Tally(end.summary))
        return await self._end_call(call, started, output, failure, end)

    async def _complete(self, completion: Step, request: JsonObject) -> tuple[CallEnd, object, str | None]:
        """Send a request; return the end of its completion, the output, and why there is none."""
        run = self._run
        try:
            response = await complete_with_retry(run.sources.models, run.order.project_id, request)
        except RowError as error:
            return completion.end({"error": str(error)}, _truncated(str(error))), None, str(error)
        usage = response.get("usage")
        counts = {"requests": 1, **(usage if isinstance(usage, dict) else {})}
        end = completion.end(response, usage={run.billed_as[request["model"]]: counts})
        try:
            return end, await asyncio.to_thread(output_of, request, response), None
        except RowError as error:
            return end, None, str(error)

    async def _end_call(
        self, call: Step, started: float, output: object, failure: str | None, part: CallStart | CallEnd
    ) -> CallResult:
        """Store the end of a call after a part that precedes it; return the call's result."""
        seconds = round(monotonic() - started, 6)
        end = call.end(output, _truncated(failure))
        problem = (await self._run.write(part, end)).get(1)
        if problem and not failure:
            call.tally.count_as_error()
        return CallResult(end.output, failure or problem, call.tally, seconds)


class _FailedError(Exception):
    """The run failed or was cancelled; the message is for the user who ordered it."""


class _DeletedError(Exception):
    """The run's call was deleted."""


class RunWorker:
    """Works on one run whose lease this process has.

    `rows` bounds the rows that all runs of the process execute concurrently.
    """

    definition: Definition
    billed_as: Mapping[str, str]
    """Requested model name to the name under which its usage is counted."""

    def __init__(self, sources: Sources, lease: RunLease, rows: asyncio.Semaphore) -> None:
        self.sources = sources
        self.order = RunOrder.from_document(lease.state)
        self.root = Step(self.order.call_id, self.order.call_id, self.order.start())
        self._lease = lease
        self._rows = rows
        self._summary = RunSummary([])
        self._succeeded = 0
        self._failure: str | None = None
        self._wake = asyncio.Event()
        self._writes = BackgroundWrites()

    def check_now(self) -> None:
        """Check immediately for a cancellation of the run."""
        self._wake.set()

    async def run_to_end(self) -> None:
        """Execute the run to its end, or release it if the database fails.

        If the task is cancelled, the run is released for other workers.

        Raises:
            LeaseLostError: another worker has the run.
            StoreError: the end could not be stored; another worker resumes the run later.
        """
        try:
            await self._run_and_end()
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_over())
            raise

    async def _hand_over(self) -> None:
        """Release the run; if the database fails, other workers wait until the lease expires."""
        with suppress(StoreError, PyMongoError):
            await self._lease.hand_over()

    async def _run_and_end(self) -> None:
        lease, order, renew_seconds = self._lease, self.order, self.sources.database.timings.run_renew_seconds
        end: Callable[[], Awaitable[object]]
        try:
            await lease.run(self._work(), self._check_run, renew_seconds, self._wake)
        except LeaseLostError:
            raise
        except _DeletedError:
            end = self._close
        except _FailedError as error:
            end = partial(self._end_all, str(error))
        except (*_DATABASE_ERRORS, PyMongoError) as error:
            logger.warning(
                "run %s in %s paused, it resumes in a few seconds: %s", order.call_id, order.project_id, error
            )
            end = partial(lease.release, pause_seconds=_PAUSE_SECONDS)
        except StoreError as error:
            end = partial(self._end_all, error.message)
        except Exception:
            error_id = ids.new_id()
            logger.exception("unexpected error %s in run %s in %s", error_id, order.call_id, order.project_id)
            end = partial(self._end_all, f"Internal error; the server log has the details under {error_id}.")
        else:
            end = self._close
        # The lease is still renewed while the end is written.
        await lease.run(self._after_writes(end), pause_seconds=renew_seconds)

    async def _after_writes(self, end: Callable[[], Awaitable[object]]) -> None:
        """Write the end after the writes that cancelled rows left under way.

        A start that MongoDB stored after the end would leave a call running forever.
        """
        await self._writes.close()
        await end()

    async def _check_run(self) -> None:
        """Renew the lease.

        Raises:
            LeaseLostError: another worker has the run.
            _FailedError: a user cancelled the run.
            _DeletedError: the run's call was deleted.
        """
        database = self.sources.database
        await self._lease.store_progress(self._summary.rows)
        self._check_not_canceled()
        # A purge waits for listed projects, so that nothing is written after it.
        await database.run(database.ensure_projects_listed([self.order.project_id]))
        if await self._root_call() is None:
            raise _DeletedError

    def _check_not_canceled(self) -> None:
        if canceled_by := self._lease.state.get("canceled_by"):
            raise _FailedError(f"{CANCELED} {canceled_by}")

    async def _work(self) -> None:
        """Execute the run from start to end.

        Raises:
            _FailedError, StoreError: the run cannot be completed.
        """
        sources, order, state = self.sources, self.order, self._lease.state
        self._check_not_canceled()
        root = await self._root_call()
        if root is None or "ended_at" in root:  # another worker died before it deleted the document
            return
        if state["vain_takes"] > MAX_TAKES_WITHOUT_PROGRESS:
            raise _FailedError("The run was interrupted repeatedly without completing another row")
        self.definition = await Definitions(sources.database, order.project_id).read(
            order.evaluation_ref, order.model_ref
        )
        judges = self.definition.judges
        names = {model.llm_model_id for model in (self.definition.model, *(judge.model for judge in judges))}
        self.billed_as = {name: await billed_as(sources.models, order.project_id, name) for name in names}
        self._summary = RunSummary([judge.name for judge in judges])
        async with task_group() as group:
            async for examples in self._pages():
                done = await self.stored_results(example.name for example in examples)
                for example in examples:
                    if example.name in done:
                        self._add(done[example.name])
                        continue
                    await self._rows.acquire()
                    row = group.create_task(self._run_row(example))
                    row.add_done_callback(lambda _: self._rows.release())
        await self._store_summary()

    async def _run_row(self, example: Example) -> None:
        self._add(await RowWorker(self, example).run())

    def _add(self, row: CallResult) -> None:
        """Add the result of a row to those of the run."""
        output: dict[str, Any] = row.output if isinstance(row.output, dict) else {}
        self._summary.add(output)
        self.root.tally.add(row.tally)
        if row.exception is None and output.get("output") is not None:
            self._succeeded += 1
        else:
            self._failure = self._failure or row.exception

    async def stored_results(self, names: Iterable[str]) -> dict[str, CallResult]:
        """Return the stored results of the calls that have ended, by name; empty for a run that was not resumed."""
        results: dict[str, CallResult] = {}
        if self._lease.state["takes"] > 1:
            keys = {name: (self.order.project_id, id_in_run(self.order.call_id, name)) for name in names}
            for batch in batches(list(keys), _READ_BATCH):
                rows = await self.sources.calls.by_keys([keys[name] for name in batch], FIELDS)
                found = await asyncio.to_thread(list, map(CallResult.from_row, [rows[keys[name]] for name in batch]))
                results |= {name: ended for name, ended in zip(batch, found, strict=True) if ended}
        return results

    async def retried(self, write: Callable[[], Awaitable[_Result]]) -> _Result:
        """Await `write`, again after each pause while the database is unavailable.

        If the caller is cancelled, the attempt under way goes on, because MongoDB completes a command that was sent.
        """
        pauses = repeat(self.sources.database.timings.run_retry_seconds, _WRITE_ATTEMPTS - 1)
        return await retried(lambda: self._writes.run(write()), pauses)

    async def write(self, *items: CallStart | CallEnd) -> dict[int, str]:
        """Store starts and ends; strip and store again those that are rejected.

        Returns the problem of each rejected item by position.
        """
        rejected = await self.retried(lambda: self.sources.calls.write_partly(items))
        problems = {position: f"The value cannot be stored: {error.message}" for position, error in rejected.items()}
        for position, problem in problems.items():
            without_content(items[position], problem)
        if problems:
            await self.retried(lambda: self.sources.calls.write([items[position] for position in problems]))
        return problems

    async def _pages(self) -> AsyncIterator[list[Example]]:
        """Yield pages of the dataset, trial by trial; a page of long rows has fewer rows."""
        dataset, project_id, tables = self.definition.dataset, self.order.project_id, self.sources.tables
        for trial in range(self.definition.trials):
            cursor, has_next = None, True
            while has_next:
                sizes = await tables.page(project_id, dataset.table, PageRequest(100, cursor), ["size_bytes"])
                totals = accumulate(row["size_bytes"] for row in sizes.rows)
                request = PageRequest(max(1, sum(total <= _PAGE_BYTES for total in totals)), cursor)
                page = await tables.page(project_id, dataset.table, request, ["digest", "val"])
                yield await asyncio.to_thread(_examples, dataset, trial, page.rows)
                has_next = page.has_next
                cursor = page.cursor(page.rows[-1]) if has_next else None

    async def _store_summary(self) -> None:
        """Store the summary, and the end of the run."""
        summary = self._summary
        if not summary.rows:
            raise _FailedError("The dataset has no rows left")
        output = summary.summary()
        inputs = {"self": self.definition.evaluation_ref, "rows": summary.rows}
        inputs |= {"left_out": summary.left_out} if summary.left_out else {}
        step = self.root.step("summarize", self.definition.ops[SUMMARIZE], inputs)
        end = step.end(output)
        self.root.tally.add(step.tally)
        failure = None
        if not self._succeeded:
            reason = f"; the first: {self._failure}" if self._failure else ""
            failure = f"All rows failed, {summary.rows:,} of them{reason}"
        await self.write(step.start, end, self.root.end(output, failure))

    async def _end_all(self, exception: str) -> None:
        """End the run, and all its running calls, with an exception."""
        order, calls = self.order, self.sources.calls
        await self._lease.store_progress(self._summary.rows)
        root = await self._root_call()
        if root and "ended_at" in root:  # the run completed while a user canceled it
            await self._close()
            return
        summary = {"status_counts": {"success": 0, "error": 1}}
        while call_ids := await self._find_call_ids({"status": "running", "id": {"$ne": order.call_id}}):
            now = times.now()
            await calls.write([CallEnd(order.project_id, one, now, summary, exception) for one in call_ids])
        await calls.write([CallEnd(order.project_id, order.call_id, times.now(), summary, exception)])
        await self._close()

    async def _close(self) -> None:
        """Remove the run from the queue; if its call was deleted, delete the calls written below it since."""
        order, calls = self.order, self.sources.calls
        if await self._root_call() is None:
            while call_ids := await self._find_call_ids({}):
                await calls.delete(order.project_id, call_ids, order.wb_user_id)
        await self._lease.remove()

    async def _root_call(self) -> Row | None:
        """Return the run's call; None if it was deleted."""
        return await self.sources.calls.one(self.order.project_id, self.order.call_id, ["ended_at"])

    async def _find_call_ids(self, match: Document) -> list[str]:
        order, database = self.order, self.sources.database
        criteria = calls_match(order.project_id) | {"trace_id": order.trace_id, **match}
        cursor = database.calls.find(criteria, {"id": 1, "_id": 0}, limit=1_000)
        return [call["id"] for call in await database.query(cursor.to_list(None))]


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Context manager of a task group that raises the first error of its tasks instead of an exception group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


async def complete_with_retry(models: CompletionsStore, project_id: str, request: JsonObject) -> JsonObject:
    """Send a completion request and return the response.

    Raises:
        RowError: the provider rejected the request or stayed overloaded.
        UnavailableError, StoreTimeoutError, ConflictError: the database is unreachable or overloaded.
    """
    for attempt in count():
        try:
            return await models.complete(project_id, request)
        except _DATABASE_ERRORS:
            raise
        except StoreError as error:
            wait = _wait(error, attempt)
            if wait is None:
                raise RowError(error.message) from None
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


async def billed_as(models: CompletionsStore, project_id: str, model: str) -> str:
    """Return the model name under which usage is counted: as requested, or the provider's if only that is priced.

    Completions use the same rule.
    """
    try:
        endpoint = await models.endpoints.resolve(project_id, model)
    except ProviderError:
        return model
    return defaults.priced_name(model, endpoint.model)


def _wait(error: StoreError, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt; None if there is none."""
    if not isinstance(error, ProviderError) or error.status not in (429, 503) or attempt == ATTEMPTS - 1:
        return None
    wait_seconds = error.retry_after_seconds
    if wait_seconds is None:
        return float(2**attempt) * random.uniform(0.5, 1)  # noqa: S311 -- no secret
    return wait_seconds + random.uniform(0, 0.25) if wait_seconds <= MAX_WAIT_SECONDS else None  # noqa: S311 -- as above


def _truncated(exception: str | None) -> str | None:
    return exception and exception[:MAX_EXCEPTION]


def _examples(dataset: Dataset, trial: int, rows: Sequence[Row]) -> list[Example]:
    return [
        Example(
            f"{trial}/{row['original_index']}",
            dataset.row_ref(row["digest"]),
            codec.loads(row["json"]["val"].encode()),  # type: ignore[arg-type] # rows are objects
        )
        for row in rows
    ]
