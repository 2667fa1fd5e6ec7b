"""Twin projects: their entities have the same ids, names and refs, and equal digests where possible."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

from graphql_schema.context import Stores
from stores.calls import CallEnd, CallStart
from stores.costs.price_timeline import RATE_FIELDS
from stores.costs.store import NewCost
from stores.feedback import NewFeedback
from stores.objects import ObjectVersion
from stores.retention import Rule
from tests.stores.actions.specs import looking_for
from tests.stores.calls.builders import call_id, end, start, trace_id

RUNS = (10, 20)
"""Numbers of the calls that are runs of an evaluation."""

_OP = {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}
_MEDIA = [
    {"type": kind, "data": "AAAA", "name": "a", "media_type": "text/plain"} for kind in ("image", "audio", "document")
]
_MESSAGES = {
    "messages": [
        {"role": "user", "content": _MEDIA},
        {"role": "assistant", "tool_calls": [{"id": "1", "name": "tool", "arguments": {"a": 1}}]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
}
"""A message with each type of part that has edges."""

_USED = {"usage": {"priced": {"prompt_tokens": 5, "completion_tokens": 2, "requests": 1}}}
_COLUMNS = {"kind": "llm", "time_to_first_token_ms": 5}
_PROMPT = {"otel_span": {"attributes": {"gen_ai": {"prompt": {"name": "thing"}}}}}
_COLUMNS_OF_WORDS = ("provider", "user_id", "tags", "environment", "release", "error.type", "llm.finish_reason")


class Twin(NamedTuple):
    """The digests of a twin's entities, and the refs in its values."""

    file: str
    table: str
    row: str
    refs: dict[str, str]


class Builder:
    """Builds a twin with its own `words`, whose refs lead to the project `to`: itself or the other twin."""

    def __init__(self, stores: Stores, project_id: str, words: str, to: str) -> None:
        self.stores, self.project_id, self.words, self.to = stores, project_id, words, to
        self.refs: dict[str, str] = {}

    async def build(self) -> Twin:
        """Create an entity for every kind of edge."""
        file, _, _ = await self.stores.files.create(self.project_id, _content(), self.words)
        table, rows = await self.stores.tables.create(self.project_id, [{"q": "a"}, {"q": "b"}])
        await self.stores.tables.create(self.project_id, [{"words": self.words}])
        await self._objects(file, table)
        await self._calls(rows[0])
        await self._feedback()
        await self.stores.costs.create(
            self.project_id,
            [NewCost("priced", 0.5, 1.0, provider_id=self.words, rates=dict.fromkeys(RATE_FIELDS, 0.5))],
        )
        await self._upkeep()
        return Twin(file, table, rows[0], self.refs)

    async def _objects(self, file: str, table: str) -> None:
        await self._object("thing", {"x": 1})
        await self._object("data", {"rows": f"weave:///{self.to}/table/{table}"})
        await self._object("answer", _OP | {"files": {"obj.py": file}}, "op")
        await self._object("judge", {"class": "Judge"})
        await self._object("model", {"class": "Model"})
        quality = {"dataset": self.refs["data"], "scorers": [self.refs["judge"]], "trials": 1}
        await self._object("quality", quality)
        await self._object("words", {"words": self.words, "thing": self.refs["thing"]})
        await self._object("grade", {"field_schema": {"type": "integer"}}, built_in="AnnotationSpec")
        await self._object("check", {"name": "check", "config": looking_for("o")}, built_in="ActionSpec")

    async def _object(self, name: str, val: object, kind: str = "object", built_in: str | None = None) -> None:
        made = ObjectVersion(self.project_id, name, val, builtin_object_class=built_in, wb_user_id=self.words)
        self.refs[name] = f"weave:///{self.to}/{kind}/{name}:{await self.stores.objects.create(made)}"

    async def _calls(self, row: str) -> None:
        refs, parts = self.refs, [*self._call(1), *self._call(2, 1), *self._call(3, 2), *self._call(4, 1, exception="")]
        example = f"{refs['data']}/attr/rows/id/{row}"
        for run in RUNS:
            inputs = {"self": refs["quality"], "model": refs["model"]}
            parts += self._call(run, op="Evaluation.evaluate", inputs=inputs, output={"words": self.words})
            made = {"output": self.words, "scores": {"judge": {"grade": 1}}, "model_latency": 0.5}
            parts += self._call(
                run + 1, run, "Evaluation.predict_and_score", inputs=inputs | {"example": example}, output=made
            )
            parts += self._call(run + 2, run + 1, "Model.predict", inputs={"self": refs["model"]}, output=self.words)
            parts += self._call(run + 3, run + 1, "Judge.score", inputs={"self": refs["judge"]}, output={"grade": 1})
        await self.stores.calls.write(parts)

    def _call(
        self,
        number: int,
        parent: int | None = None,
        op: str | None = None,
        exception: str | None = None,
        **given: object,
    ) -> list[CallStart | CallEnd]:
        """Return a call in the trace of its ten; a root is a turn of the only thread."""
        root, words = number - number % 10 if number >= RUNS[0] else 1, {"words": self.words}
        refs = {"thing": self.refs["thing"], "data": self.refs["data"]}
        return [
            start(
                number,
                project_id=self.project_id,
                trace_id=trace_id(root),
                parent_id=parent and call_id(parent),
                thread_id="thread",
                turn_id=call_id(root),
                op_name=op or self.refs["answer"],
                display_name=self.words,
                attributes=words
                | _COLUMNS
                | (_PROMPT if number == 3 else {})
                | dict.fromkeys(_COLUMNS_OF_WORDS, self.words),
                inputs=given.get("inputs", words | refs | _MESSAGES),
                wb_user_id=self.words,
                wb_run_id=f"{self.project_id}/run",
                wb_run_step=1,
            ),
            end(
                number,
                project_id=self.project_id,
                output=given.get("output", words | refs),
                summary=_USED | words,
                exception=None if exception is None else self.words,
                wb_run_step_end=2,
            ),
        ]

    async def _feedback(self) -> None:
        call, payload = f"weave:///{self.to}/call/{call_id(1)}", {"words": self.words}
        about = [call, self.refs["thing"], f"weave:///{self.to}/trace/{trace_id(1)}"]
        plain = [NewFeedback(self.project_id, ref, "said", payload, creator=self.words) for ref in about]
        # The server accepts an annotation only if its spec is in the same project.
        spec = self.refs["grade"].replace(self.to, self.project_id)
        graded = NewFeedback(self.project_id, call, "wandb.annotation.grade", {"value": 1}, annotation_ref=spec)
        produced = NewFeedback(
            self.project_id,
            call,
            "wandb.runnable.answer",
            {"output": 1},
            runnable_ref=self.refs["answer"],
            call_ref=call,
            trigger_ref=call,
        )
        batch = [replace(new, id=call_id(900 + n)) for n, new in enumerate([*plain, graded, produced])]
        await self.stores.feedback.create(batch)

    async def _upkeep(self) -> None:
        await self.stores.text_search.set_index(self.project_id, is_on=True)
        await self.stores.text_search.work(self.project_id)
        await self.stores.retention.set_rule(self.project_id, Rule(keep_days=36_500))
        await self.stores.retention.sweep(self.project_id)


async def _content() -> AsyncIterator[bytes]:
    yield b"hello"
