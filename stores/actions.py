"""Store of actions: it reads an ActionSpec by its ref, and executes it on calls.

An action looks for words in outputs, or asks a model to judge calls (an LLM judge).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import ValidationError

from stores import refs
from stores.calls import CallsStore
from stores.concurrency.time_slices import cooperative
from stores.database.content_store import batches
from stores.database.paced_steps import weighted_batches
from stores.database.project_registry import RegisteredProjects
from stores.errors import BadInputError, ErrorsAt, NotFoundError, PayloadTooLargeError, StoreError
from stores.feedback import FeedbackStore, NewFeedback
from stores.feedback.inputs import RUNNABLE
from stores.ids import check_call_id, check_project_id
from stores.input_checks import MAX_NAME, check_count, check_length
from stores.json import AnyJson, codec
from stores.json.paths import iter_strings
from stores.json_schema import JsonSchema, SchemaFaultError, bounded_time
from stores.objects import ObjectsStore
from stores.objects.classes import (
    OBJECT,
    ActionSpec,
    ContainsWordsActionConfig,
    LlmJudgeActionConfig,
    read_spec,
    without_type_marks,
)
from stores.objects.documents import named
from stores.paging import JsonField, Row
from stores.providers import JsonObject, ProviderError

MAX_CALL_CHARACTERS: Final = 1024 * 1024
"""Limit on the JSON characters of a call's inputs and output; more than any model accepts."""

MAX_RESPONSE_CHARACTERS: Final = 64 * 1024
"""Limit on the characters of a model's response."""

_WRAPPER_KEY: Final = "response"
"""Key that wraps a response that is not an object, because providers only accept object schemas."""

_MAX_SHOWN: Final = 100

_INPUTS, _OUTPUT = JsonField("inputs"), JsonField("output")

MAX_WORDS: Final = 1_000
"""Limit on the words of a spec, because each output is scanned once per word."""

MAX_OUTPUT_CHARACTERS: Final = 32 * 1024 * 1024
"""Limit on the JSON characters of all outputs of a batch, which stay in memory until the response is sent."""

MAX_CALLS: Final = 10_000

CONCURRENT_JUDGEMENTS: Final = 8
"""Calls judged concurrently in one process, over all requests. Waiting calls hold no content in memory."""

_SEARCH_BATCH_BYTES: Final = 8 * 1024 * 1024
"""JSON bytes read and searched together; a larger call is processed alone."""

_ACCESS_DENIED: Final = (401, 403)
"""HTTP statuses that mean that the provider will refuse every other request, too."""


@dataclass(frozen=True, slots=True)
class Action:
    """An ActionSpec with its ref and the name of its object."""

    ref: str
    name: str
    spec: ActionSpec


async def read_action(objects: ObjectsStore, project_id: str, ref: str) -> Action:
    """Read the action that a ref leads to.

    Raises:
        BadInputError: it is not the ref of an object version of this project, or the object is not an ActionSpec.
        NotFoundError: there is no such version.
        ObjectDeletedError: the version is deleted.
    """
    name, digest = _parse_action_ref(project_id, ref)
    try:
        row = await objects.one(project_id, name, digest, {"val"}, OBJECT)
    except StoreError as error:
        raise error.relative_to(error.argument or "").prefixed("action_ref") from None
    with ErrorsAt("action_ref"):
        value = read_spec(JsonField("val").text(row) or "", ActionSpec.__name__)
    try:
        spec = ActionSpec.model_validate(_fields(value) | {"config": _fields(value.get("config"))})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(map(str, fault["loc"]))[:200]
        reason = fault["msg"].removeprefix("Value error, ")[:300]
        raise BadInputError(f"leads to an invalid ActionSpec, at {path}: {reason}", "action_ref") from None
    return Action(ref, name, spec)


def _parse_action_ref(project_id: str, text: str) -> tuple[str, str]:
    """Return the object name and the digest of an action ref."""
    with ErrorsAt("action_ref"):
        refs.check_external(text)
        ref = refs.parse(text)
    if ref.kind != OBJECT or ref.steps or named(str(ref.version)) != {"digest": ref.version}:
        example = f"{refs.SCHEME}entity/project/object/name:digest"
        raise BadInputError(f"must be the ref of one version of an object, such as {example}", "action_ref")
    if ref.project_id != project_id:
        message = f"leads into the project {ref.project_id}; use an action of the calls' project, {project_id}"
        raise BadInputError(message, "action_ref")
    return ref.name, str(ref.version)


def _fields(value: AnyJson) -> AnyJson:
    """Remove the keys that Weave's client and LoomQL add to the fields of a value."""
    fields = without_type_marks(value)
    return {name: inner for name, inner in fields.items() if name != "ref"} if isinstance(fields, dict) else fields


class ChatCompletions(Protocol):
    """Interface of a store that answers chat requests."""

    async def complete(self, project_id: str, inputs: JsonObject) -> JsonObject:
        """Return the chat completion, in the format of OpenAI's API.

        Raises:
            ProviderError: the provider or its configuration failed.
        """


class Judge:
    """A model with a prompt whose responses follow a JSON Schema."""

    def __init__(self, project_id: str, config: LlmJudgeActionConfig, completions: ChatCompletions) -> None:
        """Compile the schema; call this in a thread, because it may be slow.

        Raises:
            BadInputError: the schema is invalid or too complex.
        """
        self._project_id, self._config, self._completions = project_id, config, completions
        self._is_wrapped = config.response_schema.get("type") != "object"
        with bounded_time():
            try:
                self._schema = JsonSchema(config.response_schema)
            except SchemaFaultError as error:
                raise BadInputError(f"leads to a spec whose response_schema {error.message}", "action_ref") from None

    async def judgement(self, row: Row) -> object:
        """Return the model's judgement of a call, a value that the schema allows; `row` has `inputs` and `output`.

        Raises:
            PayloadTooLargeError: the call or the response is too large.
            ProviderError: there is no response, or the schema does not allow it.
        """
        completion = await self._completions.complete(self._project_id, self._request(row))
        return await asyncio.to_thread(self._parse, _content(completion))

    def _request(self, row: Row) -> JsonObject:
        inputs, output = _INPUTS.text(row) or "{}", _OUTPUT.text(row) or "null"
        size = len(inputs) + len(output)
        if size > MAX_CALL_CHARACTERS:
            message = f"the inputs and output have {size:,} characters of JSON; the limit is {MAX_CALL_CHARACTERS:,}"
            raise PayloadTooLargeError(message)
        return {
            "model": self._config.model,
            "messages": [
                {"role": "system", "content": self._config.prompt},
                {"role": "user", "content": f'{{"inputs": {inputs}, "output": {output}}}'},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "response_format", "schema": self._request_schema()},
            },
        }

    def _request_schema(self) -> JsonObject:
        schema: JsonObject = dict(self._config.response_schema)
        if not self._is_wrapped:
            return schema
        # References to definitions start at the root of the schema.
        definitions: JsonObject = {name: schema.pop(name) for name in ("$defs", "definitions") if name in schema}
        return {
            "type": "object",
            "properties": {_WRAPPER_KEY: schema},
            "required": [_WRAPPER_KEY],
            "additionalProperties": False,
            **definitions,
        }

    def _parse(self, content: str) -> object:
        """Parse and validate the text of a response."""
        if len(content) > MAX_RESPONSE_CHARACTERS:
            raise PayloadTooLargeError(
                f"the model's response has {len(content):,} characters; the limit is {MAX_RESPONSE_CHARACTERS:,}"
            )
        try:
            value: Any = codec.loads(content.encode(errors="surrogatepass"))
        except BadInputError as error:
            raise ProviderError(f"the model's response is {error.message}: {content[:_MAX_SHOWN]!r}") from None
        if self._is_wrapped:
            if not isinstance(value, dict) or _WRAPPER_KEY not in value:
                raise ProviderError(
                    f"the model's response lacks the key {_WRAPPER_KEY!r} of its schema: {content[:_MAX_SHOWN]!r}"
                )
            value = value[_WRAPPER_KEY]
        try:
            with bounded_time():
                self._schema.check(value)
        except SchemaFaultError as error:
            raise BadInputError(f"the spec's response_schema {error.message}") from None
        except BadInputError as error:
            at = f" at {error.argument}" if error.argument else ""
            raise ProviderError(f"the model's response {error.message}{at}") from None
        return value


def _content(completion: JsonObject) -> str:
    """Return the text of a completion.

    Raises:
        ProviderError: it has no text.
    """
    match completion:
        case {"choices": [{"message": {"content": str(content)}}, *_]} if content:
            return content
        case {"choices": [{"message": {"refusal": str(refusal)}}, *_]} if refusal:
            raise ProviderError(f"the model refused to judge: {refusal[:_MAX_SHOWN]!r}")
        case _:
            raise ProviderError("the model's response has no text")


class WordSearch:
    """Tests whether an output contains any word, in its compact JSON text or in a string inside it.

    Matching is case-sensitive and ignores word boundaries: `art` matches `Start`. A call without output counts as null.
    """

    def __init__(self, config: ContainsWordsActionConfig) -> None:
        """Read the words from a spec.

        Raises:
            BadInputError: there are more than `MAX_WORDS`.
        """
        count = len(config.target_words)
        if count > MAX_WORDS:
            raise BadInputError(f"has a spec with {count:,} target_words; the limit is {MAX_WORDS:,}", "action_ref")
        self._words = config.target_words
        self._escaped = [word for word in self._words if codec.encode(word) != f'"{word}"']

    def matches(self, row: Row) -> bool:
        """Return True if the output of a call contains a word."""
        text = _OUTPUT.text(row) or "null"
        if _has_any(text, self._words):
            return True
        # Words without JSON escapes appear in the text exactly as in the strings.
        if not self._escaped or "\\" not in text:
            return False
        parts = iter_strings(codec.loads(text.encode()), with_keys=True)
        return any(_has_any(part, self._escaped) for part in parts)


def _has_any(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


@dataclass(frozen=True, slots=True)
class ActionResults:
    """Results of an action, one row per requested call, in request order.

    A row has `call_id`, and either the action's output as `json.output` with the `feedback` that stores it, or `error`
    with `code` and `message`.
    """

    results: list[Row]

    @property
    def num_failed(self) -> int:
        """Number of rows with an error."""
        return sum("error" in row for row in self.results)


@dataclass(slots=True)
class ActionRun:
    """One action on calls of one project; repeated call ids are processed once."""

    project_id: str
    action: Action
    wb_user_id: str | None
    listed: RegisteredProjects
    """Registration of the project at the start. If it is purged meanwhile, no feedback is stored."""
    results: dict[str, Row] = field(default_factory=dict)
    characters: int = 0
    """JSON characters of all outputs so far."""

    def check_size(self) -> None:
        """Check that another output may be added.

        Raises:
            PayloadTooLargeError: the outputs have reached `MAX_OUTPUT_CHARACTERS`.
        """
        if self.characters >= MAX_OUTPUT_CHARACTERS:
            raise PayloadTooLargeError(
                f"the outputs of the batch have {self.characters:,} characters of JSON; the limit is "
                f"{MAX_OUTPUT_CHARACTERS:,}, so send the remaining calls in another request"
            )

    def feedback(self, call_id: str, output: object) -> NewFeedback:
        """Build the feedback that stores an output."""
        return NewFeedback(
            project_id=self.project_id,
            weave_ref=refs.call_ref({"project_id": self.project_id, "id": call_id}),
            feedback_type=f"{RUNNABLE}.{self.action.name}",
            payload={"output": output},
            runnable_ref=self.action.ref,
            wb_user_id=self.wb_user_id,
        )

    def record(self, call_id: str, output: object, feedback: Row) -> None:
        """Record the output of a call and its feedback."""
        texts = {"output": codec.encode(output)}
        self.characters += len(texts["output"])
        self.results[call_id] = {"call_id": call_id, "json": texts, "feedback": feedback}

    def record_error(self, call_id: str, error: StoreError) -> None:
        """Record the error of a call."""
        self.results[call_id] = {"call_id": call_id, "error": {"code": error.code, "message": error.message}}

    def record_missing(self, call_id: str) -> None:
        """Record that a call does not exist."""
        self.record_error(
            call_id, NotFoundError(f"there is no call {call_id!r} in {self.project_id}, or it is deleted")
        )

    @contextmanager
    def recording_errors(self, call_ids: Iterable[str]) -> Iterator[None]:
        """Record a store error raised in the block as the error of all `call_ids`."""
        try:
            yield
        except StoreError as error:
            for call_id in call_ids:
                self.record_error(call_id, error)


class ActionsStore:
    """Executes actions on calls. Repeating an action adds another feedback and deletes none."""

    def __init__(
        self, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, completions: ChatCompletions
    ) -> None:
        self.database = feedback.database
        self._calls, self._objects, self._feedback, self._completions = calls, objects, feedback, completions
        self._judges = asyncio.Semaphore(CONCURRENT_JUDGEMENTS)

    async def execute(
        self, project_id: str, action_ref: str, call_ids: Sequence[str], wb_user_id: str | None = None
    ) -> ActionResults:
        """Execute an action on calls. An error is recorded for its call, and the other calls continue.

        Each result is stored at once, so it survives if the request is interrupted.

        Raises:
            BadInputError: a call id is invalid, there are more than `MAX_CALLS`, or the ref leads to no action.
            NotFoundError, ObjectDeletedError: the ref leads to a missing object.
            UnavailableError: the database is unreachable, or the project is being purged.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        check_count(len(call_ids), MAX_CALLS, "ids", "call_ids")
        async for position, call_id in cooperative(enumerate(call_ids)):
            check_call_id(call_id, f"call_ids.{position}")
        action = await read_action(self._objects, project_id, action_ref)
        run = ActionRun(
            project_id, action, wb_user_id, await self.database.query(self.database.ensure_not_purging(project_id))
        )
        await self._execute(run, list(dict.fromkeys(call_ids)))
        return ActionResults([run.results[call_id] for call_id in call_ids])

    async def _execute(self, run: ActionRun, call_ids: list[str]) -> None:
        match run.action.spec.config:
            case ContainsWordsActionConfig() as config:
                search = WordSearch(config)
                async for group in self._groups(run, call_ids):
                    with run.recording_errors(group):
                        await self._search(run, search, group)
            case LlmJudgeActionConfig() as config:
                judge = await asyncio.to_thread(Judge, run.project_id, config, self._completions)
                await self._judge_all(run, judge, call_ids)

    async def _groups(self, run: ActionRun, call_ids: list[str]) -> AsyncIterator[list[str]]:
        """Yield groups of existing calls that fit into memory together."""
        for batch in batches(call_ids, 200):
            rows: Mapping[tuple[str, str], Row | None] = {}
            with run.recording_errors(batch):
                keys = [(run.project_id, call_id) for call_id in batch]
                rows = await self._calls.by_keys(keys, frozenset({"id", "storage_size_bytes"}))
            for (_, call_id), row in rows.items():
                if row is None:
                    run.record_missing(call_id)
            found = [row for row in rows.values() if row]
            for group in weighted_batches(found, "storage_size_bytes", _SEARCH_BATCH_BYTES):
                yield [row["id"] for row in group]

    async def _search(self, run: ActionRun, search: WordSearch, call_ids: list[str]) -> None:
        keys = [(run.project_id, call_id) for call_id in call_ids]
        rows = await self._calls.by_keys(keys, frozenset({"output"}))
        found_rows = {call_id: row for (_, call_id), row in rows.items() if row}
        outputs = await asyncio.to_thread(lambda: {call_id: search.matches(row) for call_id, row in found_rows.items()})
        stored = await self._store_feedback(run, outputs)
        for (call_id, output), feedback in zip(outputs.items(), stored, strict=True):
            run.record(call_id, output, feedback)
        for call_id in call_ids:
            if call_id not in found_rows:
                run.record_missing(call_id)

    async def _judge_all(self, run: ActionRun, judge: Judge, call_ids: list[str]) -> None:
        remaining = iter(call_ids)
        access_errors: list[ProviderError] = []

        async def work() -> None:
            for call_id in remaining:
                with run.recording_errors([call_id]):
                    if access_errors:
                        raise access_errors[0]
                    try:
                        await self._judge(run, judge, call_id)
                    except ProviderError as error:
                        if error.status in _ACCESS_DENIED:
                            access_errors.append(error)
                        raise

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(CONCURRENT_JUDGEMENTS, len(call_ids))):
                workers.create_task(work())

    async def _judge(self, run: ActionRun, judge: Judge, call_id: str) -> None:
        async with self._judges:
            run.check_size()
            row = await self._calls.one(run.project_id, call_id, {"inputs", "output"})
            if row is None:
                run.record_missing(call_id)
                return
            output = await judge.judgement(row)
            [feedback] = await self._store_feedback(run, {call_id: output})
            run.record(call_id, output, feedback)

    async def _store_feedback(self, run: ActionRun, outputs: Mapping[str, object]) -> list[Row]:
        """Store outputs as feedback on their calls."""
        await self.database.run(self.database.ensure_projects_listed([run.project_id], run.listed))
        return await self._feedback.create([run.feedback(*each) for each in outputs.items()])
