"""Everything that calls and feedback refer to: ops with code, prompts, models, a dataset, an evaluation, forms, files.

Digests depend on content only, so refs are known before anything is written.
"""

from typing import Final

from app.demo import dataset, models, op_code, reviews, vocabulary
from app.demo.span import Json
from graphql_schema.context import Stores
from stores import digests, refs
from stores.files import NewFile
from stores.objects import ObjectVersion
from stores.objects.classes import kind_of
from stores.refs import Ref

ASSISTANT: Final = "support-assistant"
PROMPT: Final = "support-prompt"
JUDGE_PROMPT: Final = "judge-prompt"
JUDGE: Final = "helpfulness"
EVALUATION: Final = "support-quality"
SAMPLE: Final = 40
"""Number of dataset rows that an evaluation run uses."""

JUDGED_BY: Final = "2.3.1"
"""Release of the judge that grades the answers of every run."""

_FIRST: Final = "2.1.0"
_OF_ASSISTANT: Final = ("2.2.0", "2.3.1", "2.4.0")
"""Releases that changed the assistant."""


class Library:
    """The objects, rows and files of a project; each object version is in use from a certain release on."""

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id
        self.versions: dict[str, ObjectVersion] = {}
        self.rows = dataset.rows()
        self.files: list[NewFile] = []
        self._refs: dict[str, dict[str, str]] = {}
        self._add_ops()
        self._add_assistant()
        self._add_evaluation()
        self._add_review_forms()

    def ref(self, name: str, release: str) -> str:
        """Return the ref of the object or op version that a release uses."""
        since = self._refs[name]
        return since[max(first for first in since if first <= release)]

    def row_refs(self) -> list[str]:
        """Return the refs of the dataset's rows, in order."""
        whole = refs.parse(self.ref(dataset.NAME, _FIRST))
        return [
            str(Ref(whole.project_id, whole.kind, whole.name, whole.version, (("attr", "rows"), ("id", digest))))
            for digest in map(digests.object_digest, self.rows)
        ]

    async def write(self, stores: Stores) -> None:
        """Store all objects, rows and files that do not exist yet."""
        await stores.files.create_all(self.project_id, self.files)
        await stores.tables.create(self.project_id, self.rows)
        there = await stores.objects.by_refs([(self.project_id, ref) for ref in self.versions], frozenset())
        # If a version is missing, write all versions of the name in order, so that the last one is the latest.
        lacking = {self.versions[ref].object_id for (_, ref), row in there.items() if row is None}
        for version in self.versions.values():
            if version.object_id in lacking:
                await stores.objects.create(version)

    def _add(self, name: str, since: str, value: Json) -> None:
        ref = str(Ref(self.project_id, kind_of(value), name, digests.object_digest(value)))
        self.versions[ref] = ObjectVersion(self.project_id, name, value, wb_user_id=vocabulary.DEVELOPERS[0])
        self._refs.setdefault(name, {})[since] = ref

    def _add_ops(self) -> None:
        for name, releases in op_code.CODE.items():
            for since, code in releases.items():
                file = NewFile.of(code.encode(), op_code.OBJ_FILE)
                self.files.append(file)
                op = {"weave_type": {"type": "Op"}, "files": {op_code.OBJ_FILE: file.digest}}
                self._add(name, since, {"_type": "CustomWeaveType", **op})

    def _add_assistant(self) -> None:
        for since, text in vocabulary.SYSTEM_PROMPTS.items():
            self._add(PROMPT, since, _prompt(PROMPT, "What the assistant is told of its task.", text))
        for since in _OF_ASSISTANT:
            value = {
                "model": models.LARGE.name,
                "fallback": models.OPEN.name,
                "temperature": 0.2,
                "max_tokens": 800,
                "prompt": self.ref(PROMPT, since),
            }
            about = f"The assistant of {vocabulary.COMPANY}, release {since}."
            self._add(ASSISTANT, since, _instance("SupportAssistant", "Model", ASSISTANT, about, value))

    def _add_evaluation(self) -> None:
        for since, text in vocabulary.JUDGE_PROMPTS.items():
            self._add(JUDGE_PROMPT, since, _prompt(JUDGE_PROMPT, "How a model grades an answer.", text))
        judge = {
            "model": models.SMALL.name,
            "prompt": self.ref(JUDGE_PROMPT, JUDGED_BY),
            "score": self.ref("HelpfulnessScorer.score", JUDGED_BY),
        }
        about = "Grades how helpful an answer is."
        self._add(JUDGE, _FIRST, _instance("HelpfulnessScorer", "Scorer", JUDGE, about, judge))
        table = Ref(self.project_id, "table", digests.table_digest(map(digests.object_digest, self.rows)))
        about = "Questions of customers, with the answers that are hoped for."
        self._add(dataset.NAME, _FIRST, _instance("Dataset", None, dataset.NAME, about, {"rows": str(table)}))
        evaluation = {
            "dataset": self.ref(dataset.NAME, _FIRST),
            "scorers": [self.ref("answer_overlap", _FIRST), self.ref(JUDGE, _FIRST)],
            "preprocess_model_input": None,
            "trials": 1,
            "metadata": {"sample": SAMPLE},
            "evaluation_name": None,
            **{step: self.ref(f"Evaluation.{step}", _FIRST) for step in ("evaluate", "predict_and_score", "summarize")},
        }
        about = "How well the assistant answers."
        self._add(EVALUATION, _FIRST, _instance("Evaluation", None, EVALUATION, about, evaluation))

    def _add_review_forms(self) -> None:
        for name, spec in reviews.specs(list(self._refs["assistant.answer"].values())).items():
            self._add(name, _FIRST, spec)


def _prompt(name: str, description: str, text: str) -> Json:
    return _instance("StringPrompt", "Prompt", name, description, {"content": text})


def _instance(kind: str, base: str | None, name: str, description: str, fields: Json) -> Json:
    """Return a value with the structure that Weave's client uses for an instance of its own or the user's class."""
    bases = [*([base] if base else []), "Object", "BaseModel"]
    named = {"_type": kind, "name": name, "description": description}
    return {**named, **fields, "_class_name": kind, "_bases": bases}
