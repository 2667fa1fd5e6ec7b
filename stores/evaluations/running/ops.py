"""Ops of the calls of runs: the objects' own ops, or else the server's."""

from dataclasses import dataclass
from typing import Final, Self

from stores import digests, refs
from stores.evaluations.running.definitions import Definition, Judge
from stores.files import FilesStore, NewFile
from stores.objects import ObjectsStore, ObjectVersion
from stores.objects.classes import OP
from stores.refs import Ref

EVALUATE: Final = "Evaluation.evaluate"
PREDICT_AND_SCORE: Final = "Evaluation.predict_and_score"
SUMMARIZE: Final = "Evaluation.summarize"
PREDICT: Final = "LLMStructuredCompletionModel.predict"
SCORE: Final = "LLMAsAJudgeScorer.score"
COMPLETION: Final = "weave.completions_create"
"""Op name of every completion that the server makes; a plain name without versions."""

_OWN: Final = (EVALUATE, PREDICT_AND_SCORE, SUMMARIZE, PREDICT, SCORE)
_FILE: Final = "obj.py"


@dataclass(frozen=True, slots=True)
class RunOps:
    """The names or refs of the ops of one run."""

    evaluate: str
    predict_and_score: str
    summarize: str
    predict: str
    score: dict[str, str]
    """Op of each scorer, by the scorer's name."""

    @classmethod
    def choose(cls, project_id: str, definition: Definition) -> Self:
        """Choose the ops of a run: an object's own op if it has one in this project, otherwise the server's."""

        def op(name: str, given: object) -> str:
            return given if isinstance(given, str) and _is_op(project_id, name, given) else server_op(project_id, name)

        def score(judge: Judge) -> str:
            return op(SCORE, judge.score_op)

        return cls(
            op(EVALUATE, definition.ops.get("evaluate")),
            op(PREDICT_AND_SCORE, definition.ops.get("predict_and_score")),
            op(SUMMARIZE, definition.ops.get("summarize")),
            op(PREDICT, definition.model.predict_op),
            {judge.name: score(judge) for judge in definition.judges},
        )


def server_op(project_id: str, name: str) -> str:
    """Return the ref of one of the server's ops."""
    return str(Ref(project_id, OP, name, digests.object_digest(_value(name))))


async def ensure_server_ops(objects: ObjectsStore, files: FilesStore, project_id: str) -> None:
    """Store the server's ops that the project lacks."""
    versions = await objects.by_refs([(project_id, server_op(project_id, name)) for name in _OWN], frozenset())
    missing = [name for name in _OWN if versions[project_id, server_op(project_id, name)] is None]
    if missing:
        await files.create_all(project_id, [_file(name) for name in missing])
    for name in missing:
        await objects.create(ObjectVersion(project_id, name, _value(name), kind=OP))


def _is_op(project_id: str, name: str, text: str) -> bool:
    if not text.startswith(f"{refs.SCHEME}{project_id}/") or not refs.is_ref(text):
        return False
    ref = refs.parse(text)
    return (ref.kind, ref.name, ref.steps) == (OP, name, ())


def _file(name: str) -> NewFile:
    return NewFile.of(f"# {name} as LoomQL's server runs it; there is no program behind it.\n".encode(), _FILE)


def _value(name: str) -> dict[str, object]:
    return {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}, "files": {_FILE: _file(name).digest}}
