"""Everything that calls and feedback refer to: ops with code, prompts, models, a dataset, an evaluation, forms, files.

Digests depend on content only, so refs are known before anything is written.
"""

from random import Random
from typing import Final, cast

from app.demo.company import COMPANY, TOPICS, Json, draw_case
from graphql_schema.context import Stores
from stores import digests, refs
from stores.files import NewFile
from stores.objects import ObjectVersion, builtin
from stores.objects.classes import kind_of
from stores.refs import Ref

ASSISTANT: Final = "support-assistant"
PROMPT: Final = "support-prompt"
JUDGE_PROMPT: Final = "judge-prompt"
JUDGE: Final = "helpfulness"
DATASET: Final = "support-questions"
EVALUATION: Final = "support-quality"
SAMPLE: Final = 40
"""Number of dataset rows that an evaluation run uses."""

JUDGED_BY: Final = "2.3.1"
"""Release of the judge that grades the answers of every run."""

_FIRST: Final = "2.1.0"
_OF_ASSISTANT: Final = ("2.2.0", "2.3.1", "2.4.0")
"""Releases that changed the assistant."""

_ROWS: Final = 200
_CODE_FILE: Final = "obj.py"
"""File name of an op's code in Weave's client."""


class Library:
    """The objects, rows and files of a project; each object version is in use from a certain release on."""

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id
        self.versions: dict[str, ObjectVersion] = {}
        self.rows = _dataset_rows()
        self.files: list[NewFile] = []
        self._refs: dict[str, dict[str, str]] = {}
        self._add_ops()
        self._add_assistant()
        self._add_evaluation()
        self._add_review_forms()

    def __contains__(self, name: str) -> bool:
        return name in self._refs

    def ref(self, name: str, release: str) -> str:
        """Return the ref of the object or op version that a release uses."""
        since = self._refs[name]
        return since[max(first for first in since if first <= release)]

    def row_refs(self) -> list[str]:
        """Return the refs of the dataset's rows, in order."""
        whole = refs.parse(self.ref(DATASET, _FIRST))
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
        self.versions[ref] = ObjectVersion(self.project_id, name, value, wb_user_id=COMPANY["developers"][0])
        self._refs.setdefault(name, {})[since] = ref

    def _add_instance(self, name: str, since: str, classes: list[str], description: str, fields: Json) -> None:
        """Add a value with the structure that Weave's client uses for an instance of its own or the user's class.

        The first of `classes` is that of the instance, the others are its bases.
        """
        named = {"_type": classes[0], "name": name, "description": description}
        marks = {"_class_name": classes[0], "_bases": [*classes[1:], "Object", "BaseModel"]}
        self._add(name, since, {**named, **fields, **marks})

    def _add_prompt(self, name: str, description: str) -> None:
        for since, text in COMPANY["prompts"][name].items():
            self._add_instance(name, since, ["StringPrompt", "Prompt"], description, {"content": text})

    def _add_ops(self) -> None:
        for name, releases in COMPANY["ops"].items():
            for since, code in releases.items():
                file = NewFile.of(code.encode(), _CODE_FILE)
                self.files.append(file)
                op = {"weave_type": {"type": "Op"}, "files": {_CODE_FILE: file.digest}}
                self._add(name, since, {"_type": "CustomWeaveType", **op})

    def _add_assistant(self) -> None:
        self._add_prompt(PROMPT, "What the assistant is told of its task.")
        models = COMPANY["models"]
        for since in _OF_ASSISTANT:
            fields = {
                "model": models["large"]["name"],
                "fallback": models["open"]["name"],
                "temperature": 0.2,
                "max_tokens": 800,
                "prompt": self.ref(PROMPT, since),
            }
            about = f"The assistant of {COMPANY['name']}, release {since}."
            self._add_instance(ASSISTANT, since, ["SupportAssistant", "Model"], about, fields)

    def _add_evaluation(self) -> None:
        self._add_prompt(JUDGE_PROMPT, "How a model grades an answer.")
        judge = {
            "model": COMPANY["models"]["small"]["name"],
            "prompt": self.ref(JUDGE_PROMPT, JUDGED_BY),
            "score": self.ref("HelpfulnessScorer.score", JUDGED_BY),
        }
        self._add_instance(JUDGE, _FIRST, ["HelpfulnessScorer", "Scorer"], "Grades how helpful an answer is.", judge)
        rows = Ref(self.project_id, "table", digests.table_digest(map(digests.object_digest, self.rows)))
        about = "Questions of customers, with the answers that are hoped for."
        self._add_instance(DATASET, _FIRST, ["Dataset"], about, {"rows": str(rows)})
        evaluation = {
            "dataset": self.ref(DATASET, _FIRST),
            "scorers": [self.ref("answer_overlap", _FIRST), self.ref(JUDGE, _FIRST)],
            "preprocess_model_input": None,
            "trials": 1,
            "metadata": {"sample": SAMPLE},
            "evaluation_name": None,
            **{step: self.ref(f"Evaluation.{step}", _FIRST) for step in ("evaluate", "predict_and_score", "summarize")},
        }
        self._add_instance(EVALUATION, _FIRST, ["Evaluation"], "How well the assistant answers.", evaluation)

    def _add_review_forms(self) -> None:
        ops = list(self._refs["assistant.answer"].values())
        for name, form in COMPANY["forms"].items():
            spec = builtin.completed({"name": name, **form, "op_scope": ops}, "AnnotationSpec", "val")
            self._add(name, _FIRST, cast("Json", spec))


def _dataset_rows() -> list[Json]:
    """Return the dataset's rows, identical in every project; questions of different areas alternate."""
    rng = Random(DATASET)  # noqa: S311 -- demo data, not a secret
    rows = []
    for number in range(_ROWS):
        case, topic = draw_case(rng), TOPICS[number % len(TOPICS)]
        question, expected = rng.choice(topic.exchanges)
        row = {
            "id": f"q-{number + 1:03}",
            "area": topic.area,
            "intent": topic.intent,
            "question": question.format_map(case),
            "expected": expected.format_map(case),
            "customer": {"tier": case["tier"], "country": case["country"]},
        }
        rows.append(row)
    return rows
