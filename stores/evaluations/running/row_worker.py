"""Worker for one row of a run: one prediction, then one score per scorer; each step is stored at once.

A resumed run keeps the steps that have ended and does not repeat their requests.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from stores import refs
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.inputs import MAX_EXCEPTION
from stores.completions import CompletionsStore
from stores.costs import defaults
from stores.database import Database
from stores.database.content_store import batches
from stores.errors import (
    BadInputError,
    ConflictError,
    PayloadTooLargeError,
    StoreError,
    StoreTimeoutError,
    UnavailableError,
)
from stores.evaluations.running.call_tree import RunCalls, Step, Tally, without_content
from stores.evaluations.running.completion_models import output_of
from stores.evaluations.running.definitions import Definition, Judge
from stores.evaluations.running.ops import COMPLETION, RunOps
from stores.evaluations.running.templates import RowError
from stores.feedback import FeedbackStore, NewFeedback
from stores.files import FilesStore
from stores.json import codec
from stores.objects import ObjectsStore
from stores.paging import Row
from stores.providers import JsonObject, ProviderError
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

FIELDS: Final = frozenset({"status", "exception", "output", "summary", "started_at", "ended_at"})
"""Fields to read of calls that are already stored."""

_SECOND: Final = 1_000_000
_WRITE_ATTEMPTS: Final = 10
_CONCURRENT_JUDGES: Final = 4
"""Concurrent scorers of one row. It bounds a row's requests in flight, whatever the number of scorers."""
_READ_BATCH: Final = 10
"""Calls read together. Each may be as large as a document can be."""
_RETRY_SECONDS: Final = 1.0
_FEEDBACK_TYPE: Final = "wandb.runnable"

ATTEMPTS: Final = 4
"""Maximum attempts, each of several requests if the provider asks for a short wait."""
MAX_WAIT_SECONDS: Final = 60.0
"""Longest wait that a provider may ask for; after a longer one, the request fails."""

_TOO_BUSY: Final = (429, 503)
_DATABASE_ERRORS: Final = (UnavailableError, StoreTimeoutError, ConflictError)
"""Errors of the database, not of the request."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Sources:
    """The stores that a run reads and writes, and the completions store that sends its requests."""

    database: Database
    calls: CallsStore
    feedback: FeedbackStore
    objects: ObjectsStore
    files: FilesStore
    tables: TablesStore
    models: CompletionsStore


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
        return cls(output, row.get("exception"), (row["ended_at"] - row["started_at"]) / _SECOND, tally)


@dataclass(frozen=True, slots=True)
class RunContext:
    """Stores and settings that all rows of one run share."""

    sources: Sources
    run: RunCalls
    ops: RunOps
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
            results |= await asyncio.to_thread(_results, {name: rows[key] for name, key in batch})
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


def _results(rows: Mapping[str, Row | None]) -> dict[str, CallResult]:
    return {name: ended for name, row in rows.items() if (ended := CallResult.from_row(row))}


class RowWorker:
    """Works on one row."""

    def __init__(self, context: RunContext, root: Step, example: Example) -> None:
        self._context = context
        self._example = example
        definition = context.definition
        inputs = {"self": definition.evaluation_ref, "model": definition.model.ref, "example": example.ref}
        self._call = root.step(example.name, context.ops.predict_and_score, inputs)
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
                results = await run_all(self._score(judge, prediction.output) for judge in batch)
                scores |= {judge.name: ended.output for judge, ended in zip(batch, results, strict=True)}
        output = {"output": prediction.output, "scores": scores, "model_latency": prediction.seconds}
        problem = (await self._context.write(self._call.end(output))).get(0)
        return CallResult(None if problem else output, problem or prediction.exception, tally=self._call.tally)

    def _name(self, *steps: str) -> str:
        return "/".join([self._example.name, *steps])

    async def _predict(self) -> CallResult:
        model = self._context.definition.model
        inputs = {**self._example.columns, "self": model.ref}
        return await self._stored_or_new(
            self._name("predict"), self._context.ops.predict, inputs, lambda: model.request_for_row(self._example.value)
        )

    async def _score(self, judge: Judge, output: object) -> CallResult:
        columns = self._example.columns
        values = {"inputs": columns, **columns, "output": output}
        values |= {name: columns[column] for name, column in judge.columns.items() if column in columns}
        inputs = {**columns, "self": judge.ref, "output": output}
        name, context = self._name("score", judge.name), self._context
        ended = await self._stored_or_new(
            name, context.ops.score[judge.name], inputs, lambda: judge.model.request_for_text(judge.prompt.fill(values))
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
            f"{_FEEDBACK_TYPE}.{scorer.name}",
            {"output": output},
            id=run.id_of(f"{name}/feedback"),
            runnable_ref=judge.ref,
            call_ref=str(refs.Ref(run.project_id, "call", run.id_of(name))),
            wb_user_id=run.wb_user_id,
        )
        try:
            await self._context.sources.feedback.create_one(score)
        except (BadInputError, PayloadTooLargeError) as error:
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
        completion = call.step(f"{call.id}/completion", COMPLETION, request)
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
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def run_all(coroutines: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Run coroutines concurrently and return their results; if one fails, cancel the rest and raise its error."""
    async with task_group() as group:
        tasks = [group.create_task(work) for work in coroutines]
    return [task.result() for task in tasks]


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
