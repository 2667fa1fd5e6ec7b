"""Definition of a run, read from its objects: an Evaluation with dataset and scorers, and a model.

The objects are those of Weave's client. They refer to one another by refs, or contain one another. The calls of a run
have the objects' own ops, or else the server's.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from stores import digests, refs
from stores.database import Database
from stores.errors import BadInputError, StoreError
from stores.evaluations.logged_runs import EVALUATE
from stores.evaluations.running import completion_models
from stores.evaluations.running.completion_models import CompletionModel, Template
from stores.files import FilesStore, NewFile
from stores.json import codec
from stores.objects import ObjectsStore, ObjectVersion
from stores.objects.classes import OBJECT, OP
from stores.refs import Ref
from stores.tables import TablesStore

EVALUATION: Final = "Evaluation"
SCORER: Final = "LLMAsAJudgeScorer"
DATASET: Final = "Dataset"

PREDICT_AND_SCORE: Final = "Evaluation.predict_and_score"
SUMMARIZE: Final = "Evaluation.summarize"
PREDICT: Final = "LLMStructuredCompletionModel.predict"
SCORE: Final = "LLMAsAJudgeScorer.score"

_OWN: Final = (EVALUATE, PREDICT_AND_SCORE, SUMMARIZE, PREDICT, SCORE)
_FILE: Final = "obj.py"

MAX_SCORERS: Final = 50
MAX_TRIALS: Final = 1_000

_NOT_IN_NAMES: Final = re.compile(r"[^\w._]+")
_MEDIA: Final = re.compile("enable_[a-z]+_input_scoring")
_REPEATED_PUNCTUATION: Final = re.compile(r"[._-]{2,}")


@dataclass(frozen=True, slots=True)
class Judge:
    """A scorer: a model that judges outputs."""

    name: str
    ref: str
    model: CompletionModel
    prompt: Template
    columns: Mapping[str, str]
    """Placeholder name to row column, if the names differ."""
    op: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table of examples, and the ref of the object that refers to it."""

    ref: str
    table: str
    count: int

    def row_ref(self, digest: str) -> str:
        """Return the ref of an example, in the format of Weave's client."""
        return _ref_inside(self.ref, ("attr", "rows"), ("id", digest))


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything a run needs: dataset, scorers, trials, model and ops."""

    evaluation_ref: str
    name: str | None
    dataset: Dataset
    judges: tuple[Judge, ...]
    trials: int
    model: CompletionModel
    ops: Mapping[str, str]
    """Name to ref of each op but the scorers': the object's own if it has one in the project, otherwise the server's.
    """

    @property
    def rows(self) -> int:
        """Number of rows of the run: one per example and trial."""
        return self.dataset.count * self.trials


@dataclass(frozen=True, slots=True)
class _LoadedObject:
    """An object's value, and its ref."""

    ref: str
    value: Mapping[str, Any]


class Definitions:
    """Reads the evaluation objects of one project."""

    def __init__(self, database: Database, project_id: str) -> None:
        self._objects = ObjectsStore(database)
        self._tables = TablesStore(database)
        self._project_id = project_id

    async def read(self, evaluation_ref: str, model_ref: str) -> Definition:
        """Read the definition of a run.

        Raises:
            StoreError: a ref leads to a missing or invalid object; the error names the argument and the path below it.
        """
        with _argument("evaluation_ref"):
            evaluation = await self._object(evaluation_ref, EVALUATION)
            dataset = await self._dataset(evaluation)
            judges = await self._judges(evaluation)
            trials = _trials(evaluation.value)
            if evaluation.value.get("preprocess_model_input") is not None:
                raise BadInputError(
                    "has a preprocess_model_input, which the server cannot run because it is code; rename the columns "
                    "of its dataset instead"
                )
        with _argument("model_ref"):
            loaded_model = await self._object(model_ref, completion_models.CLASS)
            model = await _completion_model(loaded_model)
        own = {name: evaluation.value.get(name.rpartition(".")[2]) for name in (EVALUATE, PREDICT_AND_SCORE, SUMMARIZE)}
        own[PREDICT] = loaded_model.value.get("predict")
        ops = {name: self._op(name, op) for name, op in own.items()}
        return Definition(evaluation.ref, _run_name(evaluation.value), dataset, tuple(judges), trials, model, ops)

    def _op(self, name: str, own: object) -> str:
        if isinstance(own, str) and own.startswith(f"{refs.SCHEME}{self._project_id}/") and refs.is_ref(own):
            ref = refs.parse(own)
            if (ref.kind, ref.name, ref.steps) == (OP, name, ()):
                return own
        return server_op(self._project_id, name)

    async def _object(self, text: str, kind: str) -> _LoadedObject:
        ref = refs.parse(text)
        if ref.kind != OBJECT or ref.version is None or ref.steps:
            raise BadInputError(f"must be the ref of an object of class {kind}, not of a value inside one")
        if ref.project_id != self._project_id:
            raise BadInputError(f"is in another project, {ref.project_id}; copy the object into this project")
        row = await self._objects.one(self._project_id, ref.name, ref.version, ["val"], OBJECT)
        value = await asyncio.to_thread(codec.loads, row["json"]["val"].encode())
        return _loaded(refs.object_ref(row), value, kind)

    async def _object_at(self, parent: _LoadedObject, kind: str, *edges: tuple[str, str]) -> _LoadedObject:
        """Return the value at `edges` of an object, or the object that a ref there leads to."""
        value: Any = parent.value
        for _, step in edges:
            value = value[int(step)] if isinstance(value, list) else value.get(step)
        if isinstance(value, str):
            return await self._object(value, kind)
        return _loaded(_ref_inside(parent.ref, *edges), value, kind)

    async def _dataset(self, evaluation: _LoadedObject) -> Dataset:
        with _subject("its dataset"):
            loaded = await self._object_at(evaluation, DATASET, ("attr", "dataset"))
            text = loaded.value.get("rows")
            table = refs.parse(text) if isinstance(text, str) else None
            if table is None or table.kind != "table" or table.project_id != self._project_id:
                raise BadInputError("has rows that are not a table of this project; create a table and refer to it")
            stats = await self._tables.stats_of_one(self._project_id, table.name, ["count"])
            if not stats["count"]:
                raise BadInputError("has no rows; add rows and evaluate the new version")
            return Dataset(loaded.ref, table.name, stats["count"])

    async def _judges(self, evaluation: _LoadedObject) -> list[Judge]:
        scorers = evaluation.value.get("scorers") or []
        if not isinstance(scorers, list) or len(scorers) > MAX_SCORERS:
            raise BadInputError(f"its scorers must be a list of at most {MAX_SCORERS}")
        judges: dict[str, Judge] = {}
        for position in range(len(scorers)):
            with _subject(f"its scorers.{position}"):
                judge = await self._judge(evaluation, position)
                if judge.name in judges:
                    raise BadInputError(f"has the name {judge.name} of another scorer; give it a unique name")
                judges[judge.name] = judge
        return list(judges.values())

    async def _judge(self, evaluation: _LoadedObject, position: int) -> Judge:
        scorer = await self._object_at(evaluation, SCORER, ("attr", "scorers"), ("index", str(position)))
        prompt = scorer.value.get("scoring_prompt")
        if not isinstance(prompt, str):
            raise BadInputError("has no scoring_prompt; set it to the string that is sent to its model")
        if media := [name for name, value in scorer.value.items() if _MEDIA.fullmatch(name) and value]:
            raise BadInputError(f"sets {media[0]}, but the server scores only text; turn it off")
        try:
            template = await asyncio.to_thread(Template.parse, prompt)
        except StoreError as error:
            raise BadInputError(f"has a scoring_prompt in which {error.message}") from None
        with _subject("its model"):
            model = await self._object_at(scorer, completion_models.CLASS, ("attr", "model"))
            completion_model = await _completion_model(model)
        columns = scorer.value.get("column_map") or {}
        if not isinstance(columns, dict) or not all(isinstance(column, str) for column in columns.values()):
            raise BadInputError("has an invalid column_map; it must map placeholders to column names")
        op = self._op(SCORE, scorer.value.get("score"))
        return Judge(_scorer_name(scorer), scorer.ref, completion_model, template, columns, op)


@contextmanager
def _subject(subject: str) -> Iterator[None]:
    """Prefix the messages of store errors in the block with their subject."""
    try:
        yield
    except StoreError as error:
        error.message = f"{subject}: {error.message}"
        raise


@contextmanager
def _argument(argument: str) -> Iterator[None]:
    """Raise store errors of the block with `argument` as their argument, whichever they had."""
    try:
        yield
    except StoreError as error:
        raise error.relative_to(error.argument or "").prefixed(argument) from None


async def _completion_model(loaded: _LoadedObject) -> CompletionModel:
    return await asyncio.to_thread(CompletionModel.from_value, loaded.ref, loaded.value)


def _loaded(ref: str, value: object, kind: str) -> _LoadedObject:
    class_name = (value.get("_class_name") or value.get("_type")) if isinstance(value, dict) else None
    if not isinstance(value, dict) or class_name != kind:
        problem = "is an object without a class"
        if isinstance(class_name, str):
            problem = f"has the class {class_name[:100]}"
        raise BadInputError(f"{problem}; the server only runs objects of class {kind}")
    return _LoadedObject(ref, value)


def _ref_inside(ref: str, *edges: tuple[str, str]) -> str:
    """Return the ref of the value at `edges` below `ref`."""
    whole = refs.parse(ref)
    return str(Ref(whole.project_id, whole.kind, whole.name, whole.version, (*whole.steps, *edges)))


def _run_name(evaluation: Mapping[str, Any]) -> str | None:
    """Return the name for the run; None if unset, or if an op computes it, which the server cannot run."""
    name = evaluation.get("evaluation_name")
    return name if isinstance(name, str) and name and not name.startswith(refs.SCHEME) else None


def _trials(evaluation: Mapping[str, Any]) -> int:
    trials = evaluation.get("trials", 1)
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MAX_TRIALS:
        raise BadInputError(f"its trials must be a whole number from 1 to {MAX_TRIALS:,}")
    return trials


def _scorer_name(scorer: _LoadedObject) -> str:
    """Return the scorer's name without the characters that Weave's client removes from names."""
    stored_name = scorer.value.get("name")
    name = stored_name if isinstance(stored_name, str) and stored_name else SCORER
    return _REPEATED_PUNCTUATION.sub("-", _NOT_IN_NAMES.sub("-", name)).strip("-_") or SCORER


def server_op(project_id: str, name: str) -> str:
    """Return the ref of one of the server's ops."""
    return str(Ref(project_id, OP, name, digests.object_digest(_value(name))))


async def ensure_server_ops(database: Database, project_id: str) -> None:
    """Store the server's ops that the project lacks."""
    objects = ObjectsStore(database)
    versions = await objects.by_refs([(project_id, server_op(project_id, name)) for name in _OWN], frozenset())
    missing = [name for name in _OWN if versions[project_id, server_op(project_id, name)] is None]
    if missing:
        await FilesStore(database).create_all(project_id, [_file(name) for name in missing])
    for name in missing:
        await objects.create(ObjectVersion(project_id, name, _value(name), kind=OP))


def _file(name: str) -> NewFile:
    return NewFile.of(f"# {name} as LoomQL's server runs it; there is no program behind it.\n".encode(), _FILE)


def _value(name: str) -> dict[str, object]:
    return {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}, "files": {_FILE: _file(name).digest}}
