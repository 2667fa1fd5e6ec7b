"""Everything that calls and feedback refer to: ops with code, prompts, models, a dataset, an evaluation, forms, files.

`company.toml` and `conversations.toml` contain the data, and describe it. Digests depend on content only, so refs are
known before anything is written.
"""

import tomllib
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from graphql_schema.context import Stores
from stores import digests
from stores.files import NewFile
from stores.objects import ObjectVersion, classes
from stores.objects.classes import kind_of
from stores.refs import Ref

Json = dict[str, Any]


def _read(name: str) -> Json:
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


COMPANY: Final = _read("company.toml")
CHANCES: Final[dict[str, float]] = COMPANY["chances"]

_CONVERSATIONS: Final = _read("conversations.toml")
TOPICS: Final[list[Json]] = [{**_CONVERSATIONS["english"], **topic} for topic in _CONVERSATIONS["topics"]]
FOREIGN_TOPICS: Final[list[Json]] = [
    {**_CONVERSATIONS["foreign"], "follow_ups": topic["exchanges"], **topic}
    for topic in _CONVERSATIONS["foreign_topics"]
]


def draw_case(rng: Random) -> Json:
    """Draw a customer's case: facts that fill the placeholders of texts.

    `amount` is in euros; `days` is small enough to be used as months or pieces too.
    """
    customer = rng.choice(COMPANY["customers"])
    city, country = rng.choice(COMPANY["cities"])
    product, other_product = rng.sample(COMPANY["products"], 2)
    return {
        "customer": customer,
        "first_name": customer.split()[0],
        "tier": rng.choice(COMPANY["tiers"]),
        "city": city,
        "country": country,
        "order": f"LQ-{rng.randint(100_000, 999_999)}",
        "case_number": f"C-{rng.randint(10_000, 99_999)}",
        "product": product,
        "other_product": other_product,
        "carrier": rng.choice(COMPANY["carriers"]),
        "reason": rng.choice(COMPANY["reasons"]),
        "days": rng.randint(2, 9),
        "amount": rng.randint(790, 28_900) / 100,
    }


ASSISTANT: Final = "support-assistant"
PROMPT: Final = "support-prompt"
JUDGE_PROMPT: Final = "judge-prompt"
JUDGE: Final = "helpfulness"
DATASET: Final = "support-questions"
EVALUATION: Final = "support-quality"
SAMPLE: Final = 40
"""Number of dataset rows that an evaluation run uses."""

_ROWS: Final = 200
_RELEASE: Final = "2.3.1"
"""Release that introduced the evaluation with its dataset, and the review forms."""

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
        for op, codes in COMPANY["ops"].items():
            for since, code in codes.items():
                self._add_op(op, since, code)
        for name, versions in COMPANY["objects"].items():
            for since, fields in versions["versions"].items():
                linked = {field: self.ref(other, since) for field, other in versions["refs"].items()}
                description = versions["description"].format(release=since)
                self._add_instance(name, since, versions["classes"], description, {**fields, **linked})
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
        dataset = self.ref(DATASET, _RELEASE)
        return [f"{dataset}/attr/rows/id/{digests.object_digest(row)}" for row in self.rows]

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

    def _add_op(self, name: str, since: str, code: str) -> None:
        file = NewFile.of(code.encode(), _CODE_FILE)
        self.files.append(file)
        op = {"weave_type": {"type": "Op"}, "files": {_CODE_FILE: file.digest}}
        self._add(name, since, {"_type": "CustomWeaveType", **op})

    def _add_instance(self, name: str, since: str, classes: list[str], description: str, fields: Json) -> None:
        """Add a value with the structure that Weave's client uses for an instance of its own or the user's class.

        The first of `classes` is that of the instance, the others are its bases.
        """
        kind, *bases = classes
        marks = {"_class_name": kind, "_bases": [*bases, "Object", "BaseModel"]}
        self._add(name, since, {"_type": kind, "name": name, "description": description, **fields, **marks})

    def _add_evaluation(self) -> None:
        table = digests.table_digest(map(digests.object_digest, self.rows))
        dataset = {"rows": str(Ref(self.project_id, "table", table))}
        about = "Questions of customers, with the answers that are hoped for."
        self._add_instance(DATASET, _RELEASE, ["Dataset"], about, dataset)
        steps = ("evaluate", "predict_and_score", "summarize")
        evaluation = {
            "dataset": self.ref(DATASET, _RELEASE),
            "scorers": [self.ref("answer_overlap", _RELEASE), self.ref(JUDGE, _RELEASE)],
            "preprocess_model_input": None,
            "trials": 1,
            "metadata": {"sample": SAMPLE},
            "evaluation_name": None,
            **{step: self.ref(f"Evaluation.{step}", _RELEASE) for step in steps},
        }
        self._add_instance(EVALUATION, _RELEASE, ["Evaluation"], "How well the assistant answers.", evaluation)

    def _add_review_forms(self) -> None:
        ops = list(self._refs["assistant.answer"].values())
        for name, form in COMPANY["forms"].items():
            spec = classes.completed({"name": name, **form, "op_scope": ops}, "AnnotationSpec", "val")
            self._add(name, _RELEASE, cast("Json", spec))


def _dataset_rows() -> list[Json]:
    """Return the dataset's rows, identical in every project; questions of different areas alternate."""
    rng = Random(DATASET)  # noqa: S311 -- demo data, not a secret
    rows = []
    for number in range(_ROWS):
        case, topic = draw_case(rng), TOPICS[number % len(TOPICS)]
        question, expected = (text.format_map(case) for text in rng.choice(topic["exchanges"]))
        kind = {"id": f"q-{number + 1:03}", "area": topic["area"], "intent": topic["intent"]}
        customer = {"tier": case["tier"], "country": case["country"]}
        rows.append({**kind, "question": question, "expected": expected, "customer": customer})
    return rows
