"""What a run is to do, as its objects say: an Evaluation with its dataset and its scorers, and a model.

The objects are those of Weave's client. They name one another by refs, or hold one another.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores import refs
from stores.errors import BadInputError, StoreError
from stores.evaluations.running import completion_models
from stores.evaluations.running.completion_models import CompletionModel
from stores.evaluations.running.templates import Template
from stores.json import codec
from stores.objects import ObjectsStore
from stores.objects.classes import OBJECT
from stores.refs import Ref
from stores.tables import TablesStore

EVALUATION: Final = "Evaluation"
SCORER: Final = "LLMAsAJudgeScorer"
DATASET: Final = "Dataset"

MAX_SCORERS: Final = 50
MAX_TRIALS: Final = 1_000

_SHOWN: Final = 100
_NOT_IN_NAMES: Final = re.compile(r"[^\w._]+")
_MEDIA: Final = re.compile("enable_[a-z]+_input_scoring")
_RUNS_OF_SIGNS: Final = re.compile(r"[._-]{2,}")


@dataclass(frozen=True, slots=True)
class Judge:
    """A scorer: a model that is asked about an output, under a name."""

    name: str
    ref: str
    model: CompletionModel
    prompt: Template
    columns: Mapping[str, str]
    """The columns of the row that placeholders stand for, where their names differ."""
    score_op: object = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table of examples, and the ref of the object that has it."""

    ref: str
    table: str
    count: int

    def row_ref(self, digest: str) -> str:
        """The ref of an example, as Weave's client writes it."""
        return _at(self.ref, ("attr", "rows"), ("id", digest))


@dataclass(frozen=True, slots=True)
class Definition:
    """What a run is to do."""

    evaluation_ref: str
    name: str | None
    dataset: Dataset
    judges: tuple[Judge, ...]
    trials: int
    model: CompletionModel
    ops: Mapping[str, object]
    """The refs of its own ops, where it has any, by the names of Weave's methods."""

    @property
    def rows(self) -> int:
        """How many rows the run has, each trial of an example one."""
        return self.dataset.count * self.trials


@dataclass(frozen=True, slots=True)
class _Found:
    """An object's value, and its ref."""

    ref: str
    value: Mapping[str, Any]


class Definitions:
    """The objects of one project, read as what evaluations are made of."""

    def __init__(self, objects: ObjectsStore, tables: TablesStore, project_id: str) -> None:
        self._objects = objects
        self._tables = tables
        self._project_id = project_id

    async def read(self, evaluation_ref: str, model_ref: str) -> Definition:
        """What a run of an evaluation over a model is to do.

        Raises:
            StoreError: one of both refs does not lead to what it should, or something that hangs on it does not; the
                error names the argument, and says where below it the fault is.
        """
        try:
            evaluation = await self._object(evaluation_ref, EVALUATION)
            dataset = await self._dataset(evaluation)
            judges = await self._judges(evaluation)
            trials = _trials(evaluation.value)
            _check_runnable(evaluation.value)
        except StoreError as error:
            raise _told_of(error, "evaluation_ref") from None
        try:
            model = await self._model(model_ref)
        except StoreError as error:
            raise _told_of(error, "model_ref") from None
        ops = {method: evaluation.value.get(method) for method in ("evaluate", "predict_and_score", "summarize")}
        return Definition(evaluation.ref, _run_name(evaluation.value), dataset, tuple(judges), trials, model, ops)

    async def _object(self, text: str, kind: str) -> _Found:
        ref = refs.parse(text)
        if ref.kind != OBJECT or ref.version is None or ref.edges:
            raise BadInputError(f"must be the ref of an object of the class {kind}, and nothing inside it")
        if ref.project_id != self._project_id:
            raise BadInputError(f"leads into another project, {ref.project_id}; copy what it leads to into this one")
        row = await self._objects.one(self._project_id, ref.name, ref.version, ["val"], OBJECT)
        value = await asyncio.to_thread(codec.loads, row["json"]["val"].encode())
        return _found(refs.object_ref(row), value, kind)

    async def _part(self, of: _Found, kind: str, *edges: tuple[str, str]) -> _Found:
        """What an object names or holds at some edges."""
        value: Any = of.value
        for _, step in edges:
            value = value[int(step)] if isinstance(value, list) else value.get(step)
        if isinstance(value, str):
            return await self._object(value, kind)
        return _found(_at(of.ref, *edges), value, kind)

    async def _model(self, text: str) -> CompletionModel:
        found = await self._object(text, completion_models.CLASS)
        return await _completion_model(found)

    async def _dataset(self, evaluation: _Found) -> Dataset:
        with _Told("its dataset"):
            found = await self._part(evaluation, DATASET, ("attr", "dataset"))
            text = found.value.get("rows")
            table = refs.parse(text) if isinstance(text, str) else None
            if table is None or table.kind != "table" or table.project_id != self._project_id:
                raise BadInputError("has rows that are no table of this project; create one and refer to it")
            stats = await self._tables.stats_of_one(self._project_id, table.name, ["count"])
            if not stats["count"]:
                raise BadInputError("has no rows; add some, and evaluate that version")
            return Dataset(found.ref, table.name, stats["count"])

    async def _judges(self, evaluation: _Found) -> list[Judge]:
        scorers = evaluation.value.get("scorers") or []
        if not isinstance(scorers, list) or len(scorers) > MAX_SCORERS:
            raise BadInputError(f"its scorers must be a list of at most {MAX_SCORERS}")
        judges: dict[str, Judge] = {}
        for position in range(len(scorers)):
            with _Told(f"its scorers.{position}"):
                judge = await self._judge(evaluation, position)
                if judge.name in judges:
                    raise BadInputError(f"is called {judge.name}, as another is; give it a name of its own")
                judges[judge.name] = judge
        return list(judges.values())

    async def _judge(self, evaluation: _Found, position: int) -> Judge:
        found = await self._part(evaluation, SCORER, ("attr", "scorers"), ("index", str(position)))
        prompt = found.value.get("scoring_prompt")
        if not isinstance(prompt, str):
            raise BadInputError("has no scoring_prompt that is a text, which is what its model is asked")
        if media := [name for name, value in found.value.items() if _MEDIA.fullmatch(name) and value]:
            raise BadInputError(f"has {media[0]}, and only texts are scored on the server")
        try:
            template = await asyncio.to_thread(Template.of, prompt)
        except StoreError as error:
            raise BadInputError(f"has a scoring_prompt in which {error.message}") from None
        with _Told("its model"):
            model = await self._part(found, completion_models.CLASS, ("attr", "model"))
            asked = await _completion_model(model)
        columns = found.value.get("column_map") or {}
        if not isinstance(columns, dict) or not all(isinstance(column, str) for column in columns.values()):
            raise BadInputError("has a column_map that does not lead from placeholders to names of columns")
        return Judge(_scorer_name(found), found.ref, asked, template, columns, found.value.get("score"))


class _Told:
    """A block whose errors say what they are about."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, StoreError):
            error.message = f"{self._what}: {error.message}"


def _told_of(error: StoreError, argument: str) -> StoreError:
    """An error about what an argument leads to, whatever it was about below that."""
    return error.relative_to(error.argument or "").prefixed(argument)


async def _completion_model(found: _Found) -> CompletionModel:
    return await asyncio.to_thread(CompletionModel.of, found.ref, found.value)


def _found(ref: str, value: object, kind: str) -> _Found:
    named = (value.get("_class_name") or value.get("_type")) if isinstance(value, dict) else None
    if not isinstance(value, dict) or named != kind:
        is_what = f"is of the class {named[:_SHOWN]}" if isinstance(named, str) else "is an object of no class"
        raise BadInputError(f"{is_what}; only one of {kind} can be run on the server")
    return _Found(ref, value)


def _at(ref: str, *edges: tuple[str, str]) -> str:
    """The ref of what lies at some edges of what a ref leads to."""
    whole = refs.parse(ref)
    return str(Ref(whole.project_id, whole.kind, whole.name, whole.version, (*whole.edges, *edges)))


def _run_name(evaluation: Mapping[str, Any]) -> str | None:
    """The name that its runs are to have, if there is one; what makes up names is a program, and is not run here."""
    name = evaluation.get("evaluation_name")
    return name if isinstance(name, str) and name and not name.startswith(refs.SCHEME) else None


def _trials(evaluation: Mapping[str, Any]) -> int:
    trials = evaluation.get("trials", 1)
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MAX_TRIALS:
        raise BadInputError(f"its trials must be a whole number from 1 to {MAX_TRIALS:,}")
    return trials


def _check_runnable(evaluation: Mapping[str, Any]) -> None:
    if evaluation.get("preprocess_model_input") is not None:
        raise BadInputError(
            "has a preprocess_model_input, which only the program that made it can run; rename the columns of its "
            "dataset instead"
        )


def _scorer_name(scorer: _Found) -> str:
    """The name of a scorer, with what Weave's client leaves out of names left out."""
    given = scorer.value.get("name")
    name = given if isinstance(given, str) and given else SCORER
    return _RUNS_OF_SIGNS.sub("-", _NOT_IN_NAMES.sub("-", name)).strip("-_") or SCORER
