"""Models that are no more than a prompt and parameters: what a row makes them ask, and what they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import ValidationError

from stores.errors import BadInputError, StoreError
from stores.evaluations.running.templates import RowError, Template
from stores.json import codec
from stores.objects.builtin.models import LLMStructuredCompletionModelDefaultParams as Params
from stores.providers import JsonObject

CLASS: Final = "LLMStructuredCompletionModel"

USER_INPUT: Final = "user_input"
CONFIG: Final = "config"
"""The columns of a row that are no values for placeholders: messages of its own, and parameters of its own."""

_AS_JSON: Final = ("json_object", "json_schema")
_MARKS: Final = ("_type", "_class_name", "_bases")
_SHOWN: Final = 200
_AS_THEY_ARE: Final = ("temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty")


@dataclass(frozen=True, slots=True)
class CompletionModel:
    """A model: its ref, the name under which it is asked, its messages, and its parameters.

    Each message has the template of its content, None where that is no text.
    """

    ref: str
    llm_model_id: str
    messages: tuple[tuple[JsonObject, Template | None], ...]
    params: Params
    predict_op: object = None

    @classmethod
    def of(cls, ref: str, value: Mapping[str, Any]) -> Self:
        """The model that an object's value describes.

        Raises:
            BadInputError: it is none; the message says why.
        """
        name = value.get("llm_model_id")
        if not isinstance(name, str) or not name:
            raise BadInputError("names no model; set llm_model_id, such as gpt-4o-mini")
        try:
            params = _params(value.get("default_params"))
        except ValueError as error:
            raise BadInputError(f"has default_params that are none: {error}") from None
        messages = [message.model_dump(exclude_none=True) for message in params.messages_template or ()]
        templates = [_template(message, position) for position, message in enumerate(messages)]
        return cls(ref, name, tuple(zip(messages, templates, strict=True)), params, value.get("predict"))

    def about(self, row: Mapping[str, Any]) -> JsonObject:
        """What is asked about a row: the messages, filled in from its columns, then those that it has itself.

        Raises:
            RowError: the row has not what it takes.
        """
        config = row.get(CONFIG)
        try:
            own = None if config is None else _params(config)
        except ValueError as error:
            raise RowError(f"The row's column {CONFIG} are no parameters of a model: {error}") from None
        filled = [
            {**message, "content": template.fill(row)} if template else message for message, template in self.messages
        ]
        return self._request([*filled, *_messages(row.get(USER_INPUT))], own)

    def asked(self, text: str) -> JsonObject:
        """What is asked where its own messages, as they stand, are followed by one text."""
        return self._request([*(message for message, _ in self.messages), {"role": "user", "content": text}])

    def _request(self, messages: Sequence[JsonObject], own: Params | None = None) -> JsonObject:
        if not messages:
            raise RowError(
                f"There is nothing to ask: give the model a messages_template, or the rows a column {USER_INPUT}"
            )
        return {"model": self.llm_model_id, "messages": list(messages), **_asked_with(self.params, own)}


def answer_of(request: JsonObject, response: JsonObject) -> object:
    """The output in the answer to a request: its text, or the value of that where JSON was asked for.

    Where there is no text but a call of a tool, it is the whole message.

    Raises:
        RowError: there is none.
    """
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        raise RowError("The model's answer holds no message")
    content = message.get("content")
    if content is None and (message.get("function_call") or message.get("tool_calls")):
        return message
    if not isinstance(content, str):
        refusal = message.get("refusal")
        reason = refusal if isinstance(refusal, str) else f"finish_reason is {first.get('finish_reason')!r}"
        raise RowError(f"The model's answer holds no text: {reason[:_SHOWN]}")
    response_format = request.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    return _parsed(content) if kind in _AS_JSON else content


def _parsed(content: str) -> object:
    try:
        return codec.loads(content.encode())
    except (StoreError, UnicodeEncodeError):
        raise RowError(f"The model was asked for JSON and answered {content[:_SHOWN]!r}") from None


def _params(value: object) -> Params:
    """Parameters, as they come with or without the marks of Weave's client.

    Raises:
        ValueError: they are none; the message names the fault.
    """
    given = _unmarked(value or {})
    if isinstance(given, dict) and isinstance(given.get("messages_template"), list):
        given["messages_template"] = [_unmarked(message) for message in given["messages_template"]]
    try:
        return Params.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(step) for step in fault["loc"])[:_SHOWN]
        raise ValueError(f"{path}: {fault['msg']}" if path else fault["msg"]) from None


def _unmarked(value: object) -> Any:  # noqa: ANN401 -- any JSON
    """A value without marks, and without what is null: later versions of the client write more fields, mostly so."""
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if key not in _MARKS and inner is not None}


def _template(message: JsonObject, position: int) -> Template | None:
    content = message.get("content")
    try:
        return Template.of(content) if isinstance(content, str) else None
    except StoreError as error:
        raise BadInputError(f"has a messages_template.{position}.content in which {error.message}") from None


def _messages(value: object) -> list[JsonObject]:
    match value:
        case None:
            return []
        case str():
            return [{"role": "user", "content": value}]
        case dict() if isinstance(value.get("role"), str):
            return [value]
        case list():
            return [message for inner in value for message in _messages(inner)]
        case _:
            raise RowError(f"The row's column {USER_INPUT} is neither a text nor a message nor a list of them")


def _asked_with(params: Params, own: Params | None) -> JsonObject:
    """The parameters of a request, in OpenAI's names."""
    given = params.model_dump(exclude_none=True) | (own.model_dump(exclude_none=True) if own else {})
    asked: JsonObject = {name: given[name] for name in _AS_THEY_ARE if name in given}
    asked |= {name: given[name] for name in ("stop", "functions") if given.get(name)}
    if "n_times" in given:
        asked["n"] = given["n_times"]
    if kind := given.get("response_format"):
        # The class has no place for a schema: what is left of json_schema without one is to ask for JSON.
        asked["response_format"] = {"type": "json_object" if kind in _AS_JSON else kind}
    return asked
