"""Helpers to start evaluation runs: objects to run, a provider's answers, and the calls of a run."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql_schema.context import Stores
from stores.calls import CallsFilter
from stores.objects import ObjectVersion
from stores.paging import PageRequest, Row
from stores.refs import Ref
from tests.stand_in_provider import Body

PROJECT: Final = "acme/support"
WANTED: Final = {"id", "parent_id", "trace_name", "op_name", "display_name", "status", "exception", "wb_user_id"}
"""Names of the fields that are read of calls, besides their JSON, times and total tokens."""
ROWS: Final[list[Body]] = [
    {"question": "What is a weft?", "expected": "A thread."},
    {"question": "What is a warp?", "expected": "A thread, too."},
    {"question": "What is a loom?", "expected": "A frame."},
]
PROMPT: Final = "Grade {output} as an answer to {question}, for which {expected} is hoped."


async def create(stores: Stores, name: str, kind: str, bases: list[str], value: Mapping[str, object]) -> str:
    """Store an object as Weave's client does and return its ref."""
    whole = {"_type": kind, "name": name, **value, "_class_name": kind, "_bases": [*bases, "Object", "BaseModel"]}
    digest = await stores.objects.create(ObjectVersion(PROJECT, name, whole))
    return str(Ref(PROJECT, "object", name, digest))


async def dataset(stores: Stores, rows: Sequence[Body] = ROWS) -> str:
    """Store a dataset with these rows and return its ref."""
    table, _ = await stores.tables.create(PROJECT, rows)
    return await create(stores, "questions", "Dataset", [], {"rows": str(Ref(PROJECT, "table", table))})


async def model(stores: Stores, llm_model_id: str = "small", name: str = "answerer", **params: object) -> str:
    """Store a model that gets a row's question, and return its ref."""
    template = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "{question}"}]
    value = {"llm_model_id": llm_model_id, "default_params": {"messages_template": template, **params}}
    return await create(stores, name, "LLMStructuredCompletionModel", ["Model"], value)


async def judge(stores: Stores, llm_model_id: str = "judge", name: str = "helpfulness", prompt: str = PROMPT) -> str:
    """Store a scorer whose model answers in JSON, and return its ref."""
    params = {"response_format": "json_object", "temperature": 0.0}
    value = {"llm_model_id": llm_model_id, "default_params": params}
    model_ref = await create(stores, f"{name}-model", "LLMStructuredCompletionModel", ["Model"], value)
    return await create(stores, name, "LLMAsAJudgeScorer", ["Scorer"], {"model": model_ref, "scoring_prompt": prompt})


async def evaluation(stores: Stores, scorers: object, rows: Sequence[Body] = ROWS, **value: object) -> str:
    """Store an evaluation over these rows and return its ref."""
    whole = {"dataset": await dataset(stores, rows), "scorers": scorers, "trials": 1, **value}
    return await create(stores, "quality", "Evaluation", [], whole)


async def run(stores: Stores, evaluation_ref: str, model_ref: str, wb_user_id: str | None = None) -> str:
    """Start a run, execute it to its end, and return the id of its call."""
    call_id = await stores.evaluation_runs.start(PROJECT, evaluation_ref, model_ref, wb_user_id)
    await stores.evaluation_runs.execute(PROJECT, call_id)
    return call_id


@dataclass
class Grader:
    """A provider that answers briefly as a model, and with the next of `grades` as a judge.

    A request that contains a key of `fails` gets the value of that key as its answer.
    """

    grades: list[Any] = field(default_factory=list)
    fails: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Body], None] = lambda _: None

    def __call__(self, body: Body) -> Any:
        self.before(body)
        prompt = body["messages"][-1]["content"]
        for words, answer in self.fails.items():
            if words in prompt:
                return answer
        if body["model"] == "judge":
            return json.dumps(self.grades.pop(0) if self.grades else {"grade": len(prompt), "passed": True})
        return f"Of {prompt}"


@dataclass
class Tree:
    """The calls of a run, with their JSON decoded."""

    root: Row
    children: dict[str | None, list[Row]]

    def below(self, call: Row, op: str | None = None) -> list[Row]:
        """Return the children of a call, oldest first, optionally of one op only."""
        return [child for child in self.children[call["id"]] if op in (None, child["trace_name"])]

    def every(self) -> list[Row]:
        """Return all calls."""
        return [call for calls in self.children.values() for call in calls]

    def rows(self) -> list[Row]:
        """Return the call of each row, in the order of the dataset's rows."""
        return sorted(self.below(self.root, "Evaluation.predict_and_score"), key=lambda call: call["inputs"]["example"])


async def tree(stores: Stores, call_id: str) -> Tree:
    """Return the calls of a run as a tree."""
    wanted = WANTED | {"started_at", "ended_at", "inputs", "output", "attributes", "summary", "total_tokens"}
    root = await stores.calls.one(PROJECT, call_id, ["trace_id"])
    assert root
    request = PageRequest(10_000)
    page = await stores.calls.page(PROJECT, request, wanted, CallsFilter(trace_ids=[root["trace_id"]]))
    children: dict[str | None, list[Row]] = defaultdict(list)
    for row in page.rows:
        texts = row.pop("json")
        call = {**row, **{name: json.loads(text) for name, text in texts.items()}}
        children[call.get("parent_id")].append(call)
    [whole] = children[None]
    return Tree(whole, children)
