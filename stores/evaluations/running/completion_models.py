"""Models that consist of a prompt and parameters: build requests from rows, and read outputs from responses.

Texts of messages are templates with placeholders such as {question}, filled in from a row. Their syntax is a subset of
Python's format strings: {name}, {name.key} and {name[key]}, with {{ and }} for braces. Keys only select JSON values;
Python attributes and format specifications are not supported.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import ValidationError

from stores.errors import BadInputError, StoreError
from stores.json import AnyJson, codec
from stores.objects.classes import LLMStructuredCompletionModelDefaultParams as Params
from stores.objects.classes import without_type_marks
from stores.providers import JsonObject

CLASS: Final = "LLMStructuredCompletionModel"

USER_INPUT: Final = "user_input"
CONFIG: Final = "config"
"""Row columns that fill no placeholders: USER_INPUT has messages, CONFIG has parameters."""

_AS_JSON: Final = ("json_object", "json_schema")
_MAX_SHOWN: Final = 200
_UNCHANGED: Final = ("temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty")

MAX_CHARACTERS: Final = 10_000_000
"""Limit on a filled-in text, because a placeholder may repeat and its value may be long."""

MAX_PIECES: Final = 20_000
"""Limit on the placeholders, doubled braces and texts of one template."""

_PIECE: Final = re.compile(
    r"(?P<text>[^{}]+)|(?P<brace>\{\{|\}\})|\{(?P<name>[^{}\[\].!:\"'\s][^{}\[\].!:\"']*)(?P<steps>(?:\.[^{}\[\].!:]+|\[[^{}\[\]]+\])*)\}"
)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([^\[\]]+)\]")
_MAX_LISTED: Final = 20
_MAX_SHOWN_STEP: Final = 40


class RowError(Exception):
    """A row, model or scorer failed for one row; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text with placeholders.

    A piece is a text, or the path of a placeholder: the name of a value, then the keys and indexes that select a value
    inside it.
    """

    pieces: tuple[str | tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Parse a template.

        Raises:
            BadInputError: a brace is neither part of a placeholder nor doubled, or there are too many pieces.
        """
        pieces: list[str | tuple[str, ...]] = []
        position = 0
        while position < len(text):
            match = _PIECE.match(text, position)
            if not match:
                raise BadInputError(
                    f"{text[position : position + _MAX_SHOWN_STEP]!r} is not a placeholder such as {{question}}; "
                    "double a literal brace, {{ or }}"
                )
            if len(pieces) == MAX_PIECES:
                raise BadInputError(f"it has more than {MAX_PIECES:,} placeholders, braces and texts between them")
            if match["name"]:
                steps = (key or index for key, index in _STEP.findall(match["steps"]))
                pieces.append((match["name"], *steps))
            else:
                pieces.append(match["text"] or match["brace"][0])
            position = match.end()
        return cls(tuple(pieces))

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the text with the placeholders replaced by values: a string unchanged, any other value as JSON.

        Raises:
            RowError: a value is missing, or the text is longer than `MAX_CHARACTERS`.
        """
        texts: list[str] = []
        remaining = MAX_CHARACTERS
        for piece in self.pieces:
            value = piece if isinstance(piece, str) else _value_at(values, *piece)
            text = value if isinstance(value, str) else codec.encode(value)
            remaining -= len(text)
            if remaining < 0:
                raise RowError(f"The filled-in message is longer than {MAX_CHARACTERS:,} characters")
            texts.append(text)
        return "".join(texts)


def _value_at(values: Mapping[str, Any], name: str, *steps: str) -> AnyJson:
    if name not in values:
        raise _no_value(name, *steps, reason=f"; the row has {', '.join(list(values)[:_MAX_LISTED]) or 'none'}")
    value = values[name]
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and len(step) < _MAX_LISTED and int(step) < len(value):
            value = value[int(step)]
        else:
            raise _no_value(name, *steps, reason=f": nothing is at {step[:_MAX_SHOWN_STEP]!r}")
    return value


def _no_value(name: str, *steps: str, reason: str) -> RowError:
    path = "".join([name, *(f"[{step}]" for step in steps)])[: 2 * _MAX_SHOWN_STEP]
    return RowError(f"There is no value for the placeholder {{{path}}}{reason}")


@dataclass(frozen=True, slots=True)
class CompletionModel:
    """A model object: its ref, the model id for requests, its messages and its parameters.

    Each message is paired with the template of its content; None if the content is not a string.
    """

    ref: str
    llm_model_id: str
    messages: tuple[tuple[JsonObject, Template | None], ...]
    params: Params

    @classmethod
    def from_value(cls, ref: str, value: Mapping[str, Any]) -> Self:
        """Parse an object's value.

        Raises:
            BadInputError: the value is not a valid model; the message says why.
        """
        name = value.get("llm_model_id")
        if not isinstance(name, str) or not name:
            raise BadInputError("has no model name; set llm_model_id, such as gpt-4o-mini")
        try:
            params = _params(value.get("default_params"))
        except ValueError as error:
            raise BadInputError(f"has invalid default_params: {error}") from None
        messages = [message.model_dump(exclude_none=True) for message in params.messages_template or ()]
        templates = [_template(message, position) for position, message in enumerate(messages)]
        return cls(ref, name, tuple(zip(messages, templates, strict=True)), params)

    def request_for_row(self, row: Mapping[str, Any]) -> JsonObject:
        """Build the request for a row: the messages filled in from its columns, then the row's own messages.

        Raises:
            RowError: a column is missing or invalid, or there is no message at all.
        """
        config = row.get(CONFIG)
        try:
            own = None if config is None else _params(config)
        except ValueError as error:
            raise RowError(f"The row's column {CONFIG} has invalid model parameters: {error}") from None
        filled = [
            {**message, "content": template.fill(row)} if template else message for message, template in self.messages
        ]
        return self._request([*filled, *_messages(row.get(USER_INPUT))], own)

    def request_for_text(self, text: str) -> JsonObject:
        """Build a request of the model's own messages, unchanged, followed by `text` as a user message."""
        return self._request([*(message for message, _ in self.messages), {"role": "user", "content": text}])

    def _request(self, messages: Sequence[JsonObject], own: Params | None = None) -> JsonObject:
        if not messages:
            raise RowError(
                f"The request has no messages: set messages_template in the model, or a column {USER_INPUT} in the rows"
            )
        return {"model": self.llm_model_id, "messages": list(messages), **_request_params(self.params, own)}


def output_of(request: JsonObject, response: JsonObject) -> object:
    """Read the output from a response: its text, or the parsed JSON if the request asked for JSON.

    A message with a tool call but without text is returned whole.

    Raises:
        RowError: the response has no message or text, or its JSON is invalid.
    """
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        raise RowError("The model's response has no message")
    content = message.get("content")
    if content is None and (message.get("function_call") or message.get("tool_calls")):
        return message
    if not isinstance(content, str):
        refusal = message.get("refusal")
        reason = refusal if isinstance(refusal, str) else f"finish_reason is {first.get('finish_reason')!r}"
        raise RowError(f"The model's response has no text: {reason[:_MAX_SHOWN]}")
    response_format = request.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    return _parsed(content) if kind in _AS_JSON else content


def _parsed(content: str) -> object:
    try:
        return codec.loads(content.encode())
    except (StoreError, UnicodeEncodeError):
        raise RowError(f"The model was to return JSON but returned {content[:_MAX_SHOWN]!r}") from None


def _params(value: object) -> Params:
    """Parse parameters, with or without the type marks of Weave's client.

    Raises:
        ValueError: they are invalid; the message names the field.
    """
    params = _unmarked(value or {})
    if isinstance(params, dict) and isinstance(params.get("messages_template"), list):
        params["messages_template"] = [_unmarked(message) for message in params["messages_template"]]
    try:
        return Params.model_validate(params)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(step) for step in fault["loc"])[:_MAX_SHOWN]
        raise ValueError(f"{path}: {fault['msg']}" if path else fault["msg"]) from None


def _unmarked(value: object) -> AnyJson:
    """Remove type marks and nulls, because newer clients write more fields, most of them null."""
    found = without_type_marks(value)
    return {key: inner for key, inner in found.items() if inner is not None} if isinstance(found, dict) else found


def _template(message: JsonObject, position: int) -> Template | None:
    content = message.get("content")
    try:
        return Template.parse(content) if isinstance(content, str) else None
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
            raise RowError(f"The row's column {USER_INPUT} must be a string, a message, or a list of these")


def _request_params(params: Params, own: Params | None) -> JsonObject:
    """Build the parameters of a request, with OpenAI's names."""
    settings = params.model_dump(exclude_none=True) | (own.model_dump(exclude_none=True) if own else {})
    request: JsonObject = {name: settings[name] for name in _UNCHANGED if name in settings}
    request |= {name: settings[name] for name in ("stop", "functions") if settings.get(name)}
    if "n_times" in settings:
        request["n"] = settings["n_times"]
    if kind := settings.get("response_format"):
        # The class has no field for a schema, so json_schema becomes plain JSON mode.
        request["response_format"] = {"type": "json_object" if kind in _AS_JSON else kind}
    return request
