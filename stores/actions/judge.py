"""The LLM judge action: build the request about a call, and validate the model's response."""

import asyncio
from typing import Any, Final, Protocol

from stores.errors import BadInputError, PayloadTooLargeError
from stores.json import codec
from stores.json_schema import JsonSchema, SchemaFaultError, bounded_time
from stores.objects.builtin import LlmJudgeActionConfig
from stores.paging import JsonField, Row
from stores.providers import JsonObject, ProviderError

MAX_CALL_CHARACTERS: Final = 1024 * 1024
"""Limit on the JSON characters of a call's inputs and output; more than any model accepts."""

MAX_RESPONSE_CHARACTERS: Final = 64 * 1024
"""Limit on the characters of a model's response."""

_WRAPPER_KEY: Final = "response"
"""Key that wraps a response that is not an object, because providers only accept object schemas."""
_NAME: Final = "response_format"
_DEFINITIONS: Final = ("$defs", "definitions")
_MAX_SHOWN: Final = 100
_INPUTS, _OUTPUT = JsonField("inputs"), JsonField("output")


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
                "json_schema": {"name": _NAME, "schema": self._request_schema()},
            },
        }

    def _request_schema(self) -> JsonObject:
        schema: JsonObject = dict(self._config.response_schema)
        if not self._is_wrapped:
            return schema
        # References to definitions start at the root of the schema.
        definitions: JsonObject = {name: schema.pop(name) for name in _DEFINITIONS if name in schema}
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
