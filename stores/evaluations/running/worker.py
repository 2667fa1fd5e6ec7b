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
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from time import monotonic
from typing import Any, Final, Self, TypeVar

from pymongo.errors import PyMongoError

from stores import errors, ids, refs, times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.inputs import MAX_EXCEPTION
from stores.completions import CompletionsStore, tracking
from stores.costs import defaults
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.leases import Lease, LeaseLostError
from stores.errors import StoreError, UnavailableError
from stores.evaluations.logged_runs import EVALUATE
from stores.evaluations.running.call_tree import RunCalls, Step, Tally, without_content
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

logger = logging.getLogger("loomql")

FIELDS: Final = frozenset({"status", "exception", "output", "summary", "started_at", "ended_at"})
"""Fields to read of calls that are already stored."""

_WRITE_ATTEMPTS: Final = 10
_CONCURRENT_JUDGES: Final = 4
"""Concurrent scorers of one row. It bounds a row's requests in flight, whatever the number of scorers."""
_READ_BATCH: Final = 10
"""Calls read together. Each may be as large as a document can be."""
_RETRY_SECONDS: Final = 1.0

ATTEMPTS: Final = 4
"""Maximum attempts, each of several requests if the provider asks for a short wait."""
MAX_WAIT_SECONDS: Final = 60.0
"""Longest wait that a provider may ask for; after a longer one, the request fails."""

_TOO_BUSY: Final = (429, 503)
_DATABASE_ERRORS: Final = (UnavailableError, errors.StoreTimeoutError, errors.ConflictError)
"""Errors of the database, not of the request."""

_Result = TypeVar("_Result")

MAX_TAKES_WITHOUT_PROGRESS: Final = 5
"""Maximum acquisitions of a run without progress; then it fails, because it probably kills its workers."""

CANCELED: Final = "The run was canceled by"
"""Prefix of the exception of a cancelled run."""

_PAUSE_SECONDS: Final = 5.0
"""Pause before a run is resumed that stopped because of the database or a purge."""
_RENEW_SECONDS: Final = 1.0
_PAGE_BYTES: Final = 4 * 1024 * 1024
_PAGE_ROWS: Final = 100
_CALL_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class RunOrder(RunCalls):
    """An order: the objects to run, and the fields that all calls of the run share."""

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


def run_key(project_id: str, call_id: str) -> Document:
    """Build the MongoDB filter of a run."""
    return {"_id": f"{project_id}:{call_id}", "project_id": project_id}


class RunLease(Lease):
    """A worker's lease on a run."""

    def __init__(self, database: Database, project_id: str, call_id: str) -> None:
        super().__init__(database, database.evaluation_runs, run_key(project_id, call_id))

    @property
    def order(self) -> RunOrder:
        """The order in the run's document."""
        return RunOrder.from_document(self.state)

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
    """Result of a call that has ended: output or exception, seconds, and the tally of its subtree."""

    output: Any
    exception: str | None = None
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def from_row(cls, row: Row | None) -> "CallResult | None":
        """Read the result of a stored call; None if it is missing or has not ended."""
        if row is None or "ended_at" not in row:
            return None
        texts = row["json"]
        output = codec.loads(texts["output"].encode())
        tally = Tally.from_summary(codec.loads(texts["summary"].encode()))
        return cls(output, row.get("exception"), (row["ended_at"] - row["started_at"]) / times.SECOND, tally)


@dataclass(frozen=True, slots=True)
class RunContext:
    """Stores and settings that all rows of one run share."""

    sources: Sources
    run: RunCalls
    definition: Definition
    is_resumed: bool
    billed_as: Mapping[str, str]
    """Requested model name to the name under which its usage is counted."""

    async def stored_results(self, names: Iterable[str]) -> dict[str, CallResult]:
        """Return the stored results of the calls that have ended, by name; empty for a run that was not resumed."""
        if not self.is_resumed:
            return {}
        keys = {name: (self.run.project_id, self.run.id_of(name)) for name in names}
        results: dict[str, CallResult] = {}
        for batch in batches(list(keys.items()), _READ_BATCH):
            rows = await self.sources.calls.by_keys([key for _, key in batch], FIELDS)
            found = await asyncio.to_thread(list, map(CallResult.from_row, [rows[key] for _, key in batch]))
            results |= {name: ended for (name, _), ended in zip(batch, found, strict=True) if ended}
        return results

    async def write(self, *items: CallStart | CallEnd) -> dict[int, str]:
        """Store starts and ends; strip and store again those that are rejected.

        Returns the problem of each rejected item by position.
        """
        rejected = await self.retry(lambda: self.sources.calls.write_partly(items))
        problems = {position: f"The value cannot be stored: {error.message}" for position, error in rejected.items()}
        if problems:
            stripped = [without_content(items[position], problem) for position, problem in problems.items()]
            await self.retry(lambda: self.sources.calls.write(stripped))
        return problems

    async def retry(self, write: Callable[[], Awaitable[_Result]]) -> _Result:
        """Await `write`, retrying while the database is unavailable, because the model's answers are paid for."""
        for _ in range(_WRITE_ATTEMPTS - 1):
            try:
                return await write()
            except UnavailableError:
                await asyncio.sleep(_RETRY_SECONDS)
        return await write()


class RowWorker:
    """Works on one row."""

    def __init__(self, context: RunContext, root: Step, example: Example) -> None:
        self._context = context
        self._example = example
        definition = context.definition
        inputs = {"self": definition.evaluation_ref, "model": definition.model.ref, "example": example.ref}
        self._call = root.step(example.name, definition.ops[PREDICT_AND_SCORE], inputs)
        self._stored: Mapping[str, CallResult] = {}

    async def run(self) -> CallResult:
        """Run the prediction and its scorers; return the result of the row's call."""
        judges = self._context.definition.judges
        names = [self._name("predict"), *(self._name("score", judge.name) for judge in judges)]
        self._stored = await self._context.stored_results(names)
        await self._context.write(self._call.start())
        prediction = await self._predict()
        scores: JsonObject = {}
        if prediction.exception is None:
            for batch in batches(judges, _CONCURRENT_JUDGES):
                async with task_group() as group:
                    tasks = {judge.name: group.create_task(self._score(judge, prediction.output)) for judge in batch}
                scores |= {name: task.result().output for name, task in tasks.items()}
        output = {"output": prediction.output, "scores": scores, "model_latency": prediction.seconds}
        problem = (await self._context.write(self._call.end(output))).get(0)
        return CallResult(None if problem else output, problem or prediction.exception, tally=self._call.tally)

    def _name(self, *steps: str) -> str:
        return "/".join([self._example.name, *steps])

    async def _predict(self) -> CallResult:
        definition = self._context.definition
        model = definition.model
        inputs = {**self._example.columns, "self": model.ref}
        return await self._stored_or_new(
            self._name("predict"),
            definition.ops[PREDICT],
            inputs,
            lambda: model.request_for_row(self._example.value),
        )

    async def _score(self, judge: Judge, output: object) -> CallResult:
        columns = self._example.columns
        values = {"inputs": columns, **columns, "output": output}
        values |= {name: columns[column] for name, column in judge.columns.items() if column in columns}
        inputs = {**columns, "self": judge.ref, "output": output}
        name, context = self._name("score", judge.name), self._context
        ended = await self._stored_or_new(
            name, judge.op, inputs, lambda: judge.model.request_for_text(judge.prompt.fill(values))
        )
        if ended.exception is None:
            await context.retry(lambda: self._store_score(judge, name, ended.output))
        return ended

    async def _store_score(self, judge: Judge, name: str, output: object) -> None:
        """Store a score as feedback on the model's call, as Weave's client does; repeated calls store it once.

        It stores nothing if the scorer is inside the evaluation object, because feedback needs an object name. A score
        too large for feedback is only in its call.
        """
        scorer, run = refs.parse(judge.ref), self._context.run
        if scorer.steps:
            return
        score = NewFeedback(
            run.project_id,
            str(refs.Ref(run.project_id, "call", run.id_of(self._name("predict")))),
            f"{RUNNABLE}.{scorer.name}",
            {"output": output},
            id=run.id_of(f"{name}/feedback"),
            runnable_ref=judge.ref,
            call_ref=str(refs.Ref(run.project_id, "call", run.id_of(name))),
            wb_user_id=run.wb_user_id,
        )
        try:
            await self._context.sources.feedback.create_one(score)
        except (errors.BadInputError, errors.PayloadTooLargeError) as error:
            logger.info("a score of run %s is not stored as feedback, only in its call: %s", run.call_id, error)

    async def _stored_or_new(
        self, name: str, op_name: str, inputs: JsonObject, make_request: Callable[[], JsonObject]
    ) -> CallResult:
        """Return the result of a call to a model: the stored one, or that of a new request."""
        ended = self._stored.get(name)
        if ended is None:
            call = self._call.step(name, op_name, inputs)
            ended = await self._call_model(call, make_request)
        self._call.tally.add(ended.tally)
        return ended

    async def _call_model(self, call: Step, make_request: Callable[[], JsonObject]) -> CallResult:
        started = monotonic()
        try:
            request = await asyncio.to_thread(make_request)  # may be slow: rows and answers can be long
        except RowError as error:
            return await self._end_call(call, started, None, str(error), call.start())
        completion = call.step(f"{call.id}/completion", tracking.OP_NAME, request)
        problems = await self._context.write(call.start(), completion.start())
        if problems:
            problem = problems[min(problems)]
            return await self._end_call(call, started, None, problem, completion.end(None, problem, call.tally))
        try:
            response = await complete_with_retry(self._context.sources.models, self._context.run.project_id, request)
        except RowError as error:
            end = completion.end({"error": str(error)}, _truncated(str(error)), call.tally)
            return await self._end_call(call, started, None, str(error), end)
        model = self._context.billed_as[request["model"]]
        end = _completion_end(completion, model, response, call.tally)
        try:
            output, failure = await asyncio.to_thread(output_of, request, response), None
        except RowError as error:
            output, failure = None, str(error)
        return await self._end_call(call, started, output, failure, end)

    async def _end_call(
        self, call: Step, started: float, output: object, failure: str | None, *parts: CallStart | CallEnd
    ) -> CallResult:
        """Store the end of a call after `parts` of other calls; return its result."""
        seconds = round(monotonic() - started, 6)
        problems = await self._context.write(*parts, call.end(output, _truncated(failure)))
        problem = problems.get(len(parts))
        if problem and not failure:
            call.tally.statuses.update(success=-1, error=1)
        failure = failure or problem
        return CallResult(None if failure else output, failure, seconds, call.tally)


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
    for attempt in range(ATTEMPTS):
        try:
            return await models.complete(project_id, request)
        except ProviderError as error:
            wait = _wait(error, attempt)
            if wait is None:
                raise RowError(error.message) from None
        except _DATABASE_ERRORS:
            raise
        except StoreError as error:
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


def _wait(error: ProviderError, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt; None if there is none."""
    if error.status not in _TOO_BUSY or attempt == ATTEMPTS - 1:
        return None
    wait_seconds = error.retry_after_seconds
    if wait_seconds is None:
        return float(2**attempt) * random.uniform(0.5, 1)  # noqa: S311 -- no secret
    return wait_seconds + random.uniform(0, 0.25) if wait_seconds <= MAX_WAIT_SECONDS else None  # noqa: S311 -- as above


def _completion_end(completion: Step, model: str, response: JsonObject, above: Tally) -> CallEnd:
    """Build the end of a completion; its summary keeps all usage fields of the provider."""
    usage = response.get("usage")
    counts = {"requests": 1, **(usage if isinstance(usage, dict) else {})}
    completion.tally.add_usage(model, counts)
    end = completion.end(response, None, above)
    end.summary = {**completion.tally.summary(), "usage": {model: counts}}
    return end


def _truncated(exception: str | None) -> str | None:
    return exception and exception[:MAX_EXCEPTION]


class _FailedError(Exception):
    """The run failed or was cancelled; the message is for the user who ordered it."""


class _DeletedError(Exception):
    """The run's call was deleted."""


class RunWorker:
    """Works on one run whose lease this process has.

    `rows` bounds the rows that all runs of the process execute concurrently.
    """

    def __init__(self, sources: Sources, lease: RunLease, rows: asyncio.Semaphore) -> None:
        self._sources = sources
        self._lease = lease
        self._rows = rows
        self._order = order = lease.order
        self._root = order.root(EVALUATE, {}, order.created_at, order.display_name)
        self._summary = RunSummary([])
        self._succeeded = 0
        self._failure: str | None = None
        self._wake = asyncio.Event()

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
        lease, order = self._lease, self._order
        end: Coroutine[Any, Any, object]
        try:
            await lease.run(self._work(), self._check_run, _RENEW_SECONDS, self._wake)
        except LeaseLostError:
            raise
        except _DeletedError:
            end = self._close()
        except _FailedError as error:
            end = self._end_all(str(error))
        except (*_DATABASE_ERRORS, PyMongoError) as error:
            logger.warning(
                "run %s in %s paused, it resumes in a few seconds: %s", order.call_id, order.project_id, error
            )
            end = lease.release(pause_seconds=_PAUSE_SECONDS)
        except StoreError as error:
            end = self._end_all(error.message)
        except Exception:
            error_id = ids.new_id()
            logger.exception("unexpected error %s in run %s in %s", error_id, order.call_id, order.project_id)
            end = self._end_all(f"Internal error; the server log has the details under {error_id}.")
        else:
            end = self._close()
        # The lease is still renewed while the end is written.
        await lease.run(end, pause_seconds=_RENEW_SECONDS)

    async def _check_run(self) -> None:
        """Renew the lease.

        Raises:
            LeaseLostError: another worker has the run.
            _FailedError: a user cancelled the run.
            _DeletedError: the run's call was deleted.
        """
        database = self._sources.database
        await self._lease.store_progress(self._summary.rows)
        self._check_not_canceled()
        # A purge waits for listed projects, so that nothing is written after it.
        await database.run(database.ensure_projects_listed([self._order.project_id]))
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
        sources, order, state = self._sources, self._order, self._lease.state
        self._check_not_canceled()
        root = await self._root_call()
        if root is None or "ended_at" in root:  # another worker died before it deleted the document
            return
        if state["vain_takes"] > MAX_TAKES_WITHOUT_PROGRESS:
            raise _FailedError("The run was interrupted repeatedly without completing another row")
        definitions = Definitions(sources.database, order.project_id)
        definition = await definitions.read(order.evaluation_ref, order.model_ref)
        names = {model.llm_model_id for model in (definition.model, *(judge.model for judge in definition.judges))}
        context = RunContext(
            sources,
            order,
            definition,
            is_resumed=state["takes"] > 1,
            billed_as={name: await billed_as(sources.models, order.project_id, name) for name in names},
        )
        self._summary = RunSummary([judge.name for judge in definition.judges])
        await self._run_rows(context)
        await self._store_summary(context)

    async def _run_rows(self, context: RunContext) -> None:
        """Execute every row that is not done, as many concurrently as `_rows` allows."""
        async with task_group() as group:
            async for examples in self._pages(context.definition):
                done = await context.stored_results(example.name for example in examples)
                for example in examples:
                    if example.name in done:
                        self._count(done[example.name])
                        continue
                    await self._rows.acquire()
                    row = group.create_task(self._run_row(context, example))
                    row.add_done_callback(lambda _: self._rows.release())

    async def _run_row(self, context: RunContext, example: Example) -> None:
        self._count(await RowWorker(context, self._root, example).run())

    def _count(self, row: CallResult) -> None:
        output: dict[str, Any] = row.output if isinstance(row.output, dict) else {}
        self._summary.add(output)
        self._root.tally.add(row.tally)
        if row.exception is None and output.get("output") is not None:
            self._succeeded += 1
        else:
            self._failure = self._failure or row.exception

    async def _pages(self, definition: Definition) -> AsyncIterator[list[Example]]:
        """Yield pages of the dataset, trial by trial; a page of long rows has fewer rows."""
        dataset, project_id, tables = definition.dataset, self._order.project_id, self._sources.tables
        for trial in range(definition.trials):
            cursor, has_next = None, True
            while has_next:
                sizes = await tables.page(project_id, dataset.table, PageRequest(_PAGE_ROWS, cursor), ["size_bytes"])
                request = PageRequest(_count_fitting(row["size_bytes"] for row in sizes.rows), cursor)
                page = await tables.page(project_id, dataset.table, request, ["digest", "val"])
                yield await asyncio.to_thread(_examples, dataset, trial, page.rows)
                has_next = page.has_next
                cursor = page.cursor(page.rows[-1]) if has_next else None

    async def _store_summary(self, context: RunContext) -> None:
        """Store the summary, and the end of the run."""
        summary = self._summary
        if not summary.rows:
            raise _FailedError("The dataset has no rows left")
        output, left_out = summary.summary(), summary.key_budget.left_out
        inputs = {"self": context.definition.evaluation_ref, "rows": summary.rows}
        step = self._root.step(
            "summarize", context.definition.ops[SUMMARIZE], inputs | ({"left_out": left_out} if left_out else {})
        )
        failure = None
        if not self._succeeded:
            reason = f"; the first: {self._failure}" if self._failure else ""
            failure = f"All rows failed, {summary.rows:,} of them{reason}"
        await context.write(step.start(), step.end(output, above=self._root.tally), self._root.end(output, failure))

    async def _end_all(self, exception: str) -> None:
        """End the run, and all its running calls, with an exception."""
        order, calls = self._order, self._sources.calls
        await self._lease.store_progress(self._summary.rows)
        summary = {"status_counts": {"success": 0, "error": 1}}
        while call_ids := await self._find_call_ids({"status": "running", "id": {"$ne": order.call_id}}):
            now = times.now()
            await calls.write([CallEnd(order.project_id, one, now, summary, exception) for one in call_ids])
        await calls.write([CallEnd(order.project_id, order.call_id, times.now(), summary, exception)])
        await self._close()

    async def _close(self) -> None:
        """Remove the run from the queue; if its call was deleted, delete the calls written below it since."""
        order, calls = self._order, self._sources.calls
        if await self._root_call() is None:
            while call_ids := await self._find_call_ids({}):
                await calls.delete(order.project_id, call_ids, order.wb_user_id)
        await self._lease.remove()

    async def _root_call(self) -> Row | None:
        """Return the run's call; None if it was deleted."""
        return await self._sources.calls.one(self._order.project_id, self._order.call_id, ["ended_at"])

    async def _find_call_ids(self, match: Document) -> list[str]:
        order, database = self._order, self._sources.database
        criteria = {"project_id": order.project_id, "visible": True, "trace_id": order.trace_id, **match}
        cursor = database.calls.find(criteria, {"id": 1, "_id": 0}, limit=_CALL_BATCH)
        return [call["id"] for call in await database.query(_read_all(cursor))]


async def _read_all(cursor: AsyncIterable[Document]) -> list[Document]:
    return [one async for one in cursor]


def _count_fitting(sizes: Iterable[int]) -> int:
    """Return the number of leading rows that fit into a page; at least 1."""
    return max(1, sum(total <= _PAGE_BYTES for total in accumulate(sizes)))


def _examples(dataset: Dataset, trial: int, rows: Sequence[Row]) -> list[Example]:
    return [
        Example(
            f"{trial}/{row['original_index']}",
            dataset.row_ref(row["digest"]),
            codec.loads(row["json"]["val"].encode()),  # type: ignore[arg-type] # rows are objects
        )
        for row in rows
    ]
