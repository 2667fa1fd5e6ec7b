"""One row of a run: a prediction, and what each scorer makes of it, every step of it stored as it happens.

What of a row was done before the run was cut off stays as it is, and is not asked again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.inputs import MAX_EXCEPTION
from stores.completions import CompletionsStore
from stores.database.content_store import batches
from stores.errors import UnavailableError
from stores.evaluations.running.call_tree import RunCalls, Step, Tally, small
from stores.evaluations.running.completion_models import answer_of
from stores.evaluations.running.definitions import Definition, Judge
from stores.evaluations.running.model_requests import complete_with_retry
from stores.evaluations.running.ops import COMPLETION, RunOps
from stores.evaluations.running.score_feedback import store_score
from stores.evaluations.running.templates import RowError
from stores.feedback import FeedbackStore
from stores.json import codec
from stores.paging import Row
from stores.providers import JsonObject

FIELDS: Final = frozenset({"status", "exception", "output", "summary", "started_at", "ended_at"})
"""What is read of calls that are there."""

_SECOND: Final = 1_000_000
_WRITES: Final = 10
_JUDGES_AT_ONCE: Final = 4
"""Of one row: the requests under way at once are so many for each row at most, however many scorers there are."""
_KNOWN_AT_ONCE: Final = 10
"""Calls that are read at once: each may be as large as a document gets."""
_PAUSE_SECONDS: Final = 1.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the dataset, in one of its trials."""

    name: str
    ref: str
    value: dict[str, Any]

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns, but for what stands in the same place."""
        return {name: value for name, value in self.value.items() if name != "self"}


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a call: its output or its exception, how long it took, and what its subtree tells."""

    output: Any
    exception: str | None = None
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, row: Row | None) -> "Ended | None":
        """What came of a call that is stored; None where it is not, or has not ended."""
        if row is None or "ended_at" not in row:
            return None
        texts = row["json"]
        output = codec.loads(texts["output"].encode())
        tally = Tally.of(codec.loads(texts["summary"].encode()))
        return cls(output, row.get("exception"), (row["ended_at"] - row["started_at"]) / _SECOND, tally)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the rows of one run are made with."""

    calls: CallsStore
    feedback: FeedbackStore
    models: CompletionsStore
    run: RunCalls
    ops: RunOps
    definition: Definition
    is_resumed: bool
    billed_as: Mapping[str, str]
    """The names under which the usage of models is counted, by the names under which they are asked."""

    async def known(self, names: Iterable[str]) -> dict[str, Ended]:
        """What came of those calls of the run that have ended, by their names; nothing is known of a new run."""
        if not self.is_resumed:
            return {}
        keys = {name: (self.run.project_id, self.run.id_of(name)) for name in names}
        known: dict[str, Ended] = {}
        for part in batches(list(keys.items()), _KNOWN_AT_ONCE):
            found = await self.calls.by_keys([key for _, key in part], FIELDS)
            known |= await asyncio.to_thread(_ended, {name: found[key] for name, key in part})
        return known

    async def write(self, *parts: CallStart | CallEnd) -> dict[int, str]:
        """Store starts and ends; what is wrong, by position, with those that are stored without their content."""
        refused = await self.trying(lambda: self.calls.write_partly(parts))
        problems = {at: f"What belongs here cannot be stored: {error.message}" for at, error in refused.items()}
        if problems:
            left = [small(parts[at], problem) for at, problem in problems.items()]
            await self.trying(lambda: self.calls.write(left))
        return problems

    async def trying(self, write: Callable[[], Awaitable[_Result]]) -> _Result:
        """What comes of some writing; answers of models are paid for, and so not given up at once."""
        for _ in range(_WRITES - 1):
            try:
                return await write()
            except UnavailableError:
                await asyncio.sleep(_PAUSE_SECONDS)
        return await write()


def _ended(found: Mapping[str, Row | None]) -> dict[str, Ended]:
    return {name: ended for name, row in found.items() if (ended := Ended.of(row))}


class RowWork:
    """The work on one row."""

    def __init__(self, shop: RunContext, root: Step, example: Example) -> None:
        self._shop = shop
        self._example = example
        definition = shop.definition
        inputs = {"self": definition.evaluation_ref, "model": definition.model.ref, "example": example.ref}
        self._call = root.step(example.name, shop.ops.predict_and_score, inputs)
        self._known: Mapping[str, Ended] = {}

    async def do(self) -> Ended:
        """What comes of it: of the call that is about the row."""
        judges = self._shop.definition.judges
        names = [self._name("predict"), *(self._name("score", judge.name) for judge in judges)]
        self._known = await self._shop.known(names)
        await self._shop.write(self._call.start())
        predicted = await self._predicted()
        scores: JsonObject = {}
        if predicted.exception is None:
            for some in batches(judges, _JUDGES_AT_ONCE):
                found = await all_of(self._scored(judge, predicted.output) for judge in some)
                scores |= {judge.name: ended.output for judge, ended in zip(some, found, strict=True)}
        output = {"output": predicted.output, "scores": scores, "model_latency": predicted.seconds}
        problem = (await self._shop.write(self._call.end(output))).get(0)
        return Ended(None if problem else output, problem or predicted.exception, tally=self._call.tally)

    def _name(self, *steps: str) -> str:
        return "/".join([self._example.name, *steps])

    async def _predicted(self) -> Ended:
        model = self._shop.definition.model
        inputs = {**self._example.columns, "self": model.ref}
        return await self._asked(
            self._name("predict"), self._shop.ops.predict, inputs, lambda: model.about(self._example.value)
        )

    async def _scored(self, judge: Judge, output: object) -> Ended:
        columns = self._example.columns
        values = {"inputs": columns, **columns, "output": output}
        values |= {name: columns[column] for name, column in judge.columns.items() if column in columns}
        inputs = {**columns, "self": judge.ref, "output": output}
        name, shop = self._name("score", judge.name), self._shop
        ended = await self._asked(
            name, shop.ops.score[judge.name], inputs, lambda: judge.model.asked(judge.prompt.fill(values))
        )
        if ended.exception is None:
            predict = self._name("predict")
            await shop.trying(lambda: store_score(shop.feedback, shop.run, judge, predict, name, ended.output))
        return ended

    async def _asked(self, name: str, op_name: str, inputs: JsonObject, make: Callable[[], JsonObject]) -> Ended:
        """What comes of a call that asks a model, or came of it before."""
        ended = self._known.get(name)
        if ended is None:
            call = self._call.step(name, op_name, inputs)
            ended = await self._ask(call, make)
        self._call.tally.add(ended.tally)
        return ended

    async def _ask(self, call: Step, make: Callable[[], JsonObject]) -> Ended:
        began = monotonic()
        try:
            request = await asyncio.to_thread(make)  # rows and answers may be long
        except RowError as error:
            return await self._over(call, began, None, str(error), call.start())
        completion = call.step(f"{call.id}/completion", COMPLETION, request)
        problems = await self._shop.write(call.start(), completion.start())
        if problems:
            problem = problems[min(problems)]
            return await self._over(call, began, None, problem, completion.end(None, problem, call.tally))
        try:
            response = await complete_with_retry(self._shop.models, self._shop.run.project_id, request)
        except RowError as error:
            end = completion.end({"error": str(error)}, _bounded(str(error)), call.tally)
            return await self._over(call, began, None, str(error), end)
        model = self._shop.billed_as[request["model"]]
        end = _completed(completion, model, response, call.tally)
        try:
            output, failure = await asyncio.to_thread(answer_of, request, response), None
        except RowError as error:
            output, failure = None, str(error)
        return await self._over(call, began, output, failure, end)

    async def _over(
        self, call: Step, began: float, output: object, failure: str | None, *parts: CallStart | CallEnd
    ) -> Ended:
        """End a call, with other parts of calls stored before."""
        seconds = round(monotonic() - began, 6)
        problems = await self._shop.write(*parts, call.end(output, _bounded(failure)))
        problem = problems.get(len(parts))
        if problem and not failure:
            call.tally.statuses.update(success=-1, error=1)
        failure = failure or problem
        return Ended(None if failure else output, failure, seconds, call.tally)


async def all_of(works: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """What comes of some works, all at once; where one fails, the others are ended, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _completed(completion: Step, model: str, response: JsonObject, above: Tally) -> CallEnd:
    """The end of a completion, with all that its provider says of the model's usage."""
    usage = response.get("usage")
    counts = {"requests": 1, **(usage if isinstance(usage, dict) else {})}
    completion.tally.use(model, counts)
    end = completion.end(response, None, above)
    end.summary = {**completion.tally.summary(), "usage": {model: counts}}
    return end


def _bounded(exception: str | None) -> str | None:
    return exception and exception[:MAX_EXCEPTION]
