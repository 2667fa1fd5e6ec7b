"""Models that consist of a prompt and parameters, so the server can run them."""

from typing import Literal

from pydantic import Field

from stores.objects.builtin.base import JsonObject, Strict


class Message(Strict):
    """One message of a conversation."""

    role: str
    content: str | list[JsonObject] | None = None
    name: str | None = None
    function_call: JsonObject | None = None
    tool_call_id: str | None = None


class LLMStructuredCompletionModelDefaultParams(Strict):
    """Default parameters of a completion."""

    messages_template: list[Message] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None
    n_times: int | None = None
    functions: list[JsonObject] | None = None
    response_format: Literal["json_object", "json_schema", "text"] | None = None


class Object(Strict):
    """Base class in Weave's client, by its name in `_bases`."""

    name: str | None = None
    description: str | None = None
    ref: None = None
    """Null in stored values: Weave's client sets its ref after publishing the object."""


class Model(Object):
    """Base class of models in Weave's client."""


class LLMStructuredCompletionModel(Model):
    """A model of a provider, named as provider/model or by a ref, with its parameters."""

    llm_model_id: str
    default_params: LLMStructuredCompletionModelDefaultParams = Field(
        default_factory=LLMStructuredCompletionModelDefaultParams
    )
