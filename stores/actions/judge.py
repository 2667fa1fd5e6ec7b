"""Letting a model judge calls: what it is asked, and what is made of its answer."""

import asyncio
from typing import Any, Final, Protocol

from stores.errors import BadInputError, PayloadTooLargeError
from stores.json import codec
from stores.json_schema import JsonSchema, SchemaFaultError, bounded_time
from stores.objects.builtin.actions import LlmJudgeActionConfig
from stores.paging import Row
from stores.providers import JsonObject, ProviderError
from stores.row_fields import JsonField

MAX_JUDGED: Final = 1024 * 1024
"""Characters of the JSON of a call's inputs and output: more than any model reads at once."""

MAX_JUDGEMENT: Final = 64 * 1024
"""Characters of the JSON of what a model answers."""

_WRAP: Final = "response"
"""The key under which a model answers what is no object, since providers take schemas of objects only."""
_NAME: Final = "response_format"
_DEFINITIONS: Final = ("$defs", "definitions")
_SHOWN: Final = 100
_INPUTS, _OUTPUT = JsonField("inputs"), JsonField("output")


class Completions(Protocol):
    """What answers messages."""

    async def answer(self, project_id: str, inputs: JsonObject) -> JsonObject:
        """The chat completion of OpenAI's API that answers a request.

        Raises:
            ProviderError: there is none.
        """


class Judge:
    """A model with a prompt, which answers by a JSON Schema."""

    def __init__(self, project_id: str, config: LlmJudgeActionConfig, completions: Completions) -> None:
        """Get the schema ready; this may take a while, so that it is for a thread.

        Raises:
            BadInputError: values cannot be checked by the schema.
        """
        self._project_id, self._config, self._completions = project_id, config, completions
        self._is_wrapped = config.response_schema.get("type") != "object"
        with bounded_time():
            try:
                self._schema = JsonSchema(config.response_schema)
            except SchemaFaultError as error:
                raise BadInputError(f"leads to a spec whose response_schema {error.message}", "action_ref") from None

    async def judgement(self, row: Row) -> object:
        """What the model says of a call, of which the inputs and the output are given: a value of the schema.

        Raises:
            PayloadTooLargeError: the call, or the answer, is too large.
            ProviderError: there is no answer, or none that the schema allows.
        """
        completion = await self._completions.answer(self._project_id, self._request(row))
        return await asyncio.to_thread(self._read, _content(completion))

    def _request(self, row: Row) -> JsonObject:
        inputs, output = _INPUTS.text(row) or "{}", _OUTPUT.text(row) or "null"
        size = len(inputs) + len(output)
        if size > MAX_JUDGED:
            message = f"its inputs and output have {size:,} characters as JSON; a judge reads at most {MAX_JUDGED:,}"
            raise PayloadTooLargeError(message)
        return {
            "model": self._config.model,
            "messages": [
                {"role": "system", "content": self._config.prompt},
                {"role": "user", "content": f'{{"inputs": {inputs}, "output": {output}}}'},
            ],
            "response_format": {"type": "json_schema", "json_schema": {"name": _NAME, "schema": self._asked_schema()}},
        }

    def _asked_schema(self) -> JsonObject:
        schema: JsonObject = dict(self._config.response_schema)
        if not self._is_wrapped:
            return schema
        # What refers to definitions does so from the root.
        definitions: JsonObject = {name: schema.pop(name) for name in _DEFINITIONS if name in schema}
        return {
            "type": "object",
            "properties": {_WRAP: schema},
            "required": [_WRAP],
            "additionalProperties": False,
            **definitions,
        }

    def _read(self, content: str) -> object:
        """The value that a model's text is."""
        if len(content) > MAX_JUDGEMENT:
            raise PayloadTooLargeError(
                f"the model's answer has {len(content):,} characters; the limit is {MAX_JUDGEMENT:,}"
            )
        try:
            value: Any = codec.loads(content.encode(errors="surrogatepass"))
        except BadInputError as error:
            raise ProviderError(f"the model's answer is {error.message}: {content[:_SHOWN]!r}") from None
        if self._is_wrapped:
            if not isinstance(value, dict) or _WRAP not in value:
                raise ProviderError(f"the model's answer lacks the key {_WRAP!r} of its schema: {content[:_SHOWN]!r}")
            value = value[_WRAP]
        try:
            with bounded_time():
                self._schema.check(value)
        except SchemaFaultError as error:
            raise BadInputError(f"the spec's response_schema {error.message}") from None
        except BadInputError as error:
            at = f" at {error.argument}" if error.argument else ""
            raise ProviderError(f"the model's answer {error.message}{at}") from None
        return value


def _content(completion: JsonObject) -> str:
    """The text of a completion.

    Raises:
        ProviderError: there is none.
    """
    match completion:
        case {"choices": [{"message": {"content": str(content)}}, *_]} if content:
            return content
        case {"choices": [{"message": {"refusal": str(refusal)}}, *_]} if refusal:
            raise ProviderError(f"the model refuses to judge: {refusal[:_SHOWN]!r}")
        case _:
            raise ProviderError("the model's answer has no text")
