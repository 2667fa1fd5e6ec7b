"""Inputs of completions."""

from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from graphql_schema.scalars import BigInt


@strawberry.input(
    description="Parameters of a completion, named as in OpenAI's API. Omitted and null parameters are not sent "
    "to the provider."
)
class CompletionsCreateRequestInputs:
    """Parameters of a completion."""

    model: str = plain_field(
        "Model: provider/model such as openai/gpt-4o, a name such as gpt-4o if it identifies the provider, or "
        "custom::<provider>::<model> for a Provider and a ProviderModel among the project's objects."
    )
    messages: list[JSON] = strawberry.field(
        description='Messages of the conversation: JSON objects such as {"role": "user", "content": "Hello"}.',
        default_factory=list,
    )
    timeout: JSON | None = optional_input(
        "Timeout of the provider in seconds, as a number or a string, at most LOOMQL_COMPLETION_TIMEOUT_SECONDS. For "
        "a stream, the timeout between two chunks."
    )
    temperature: float | None = optional_input(
        "Sampling temperature: higher values make the choice of tokens more random."
    )
    top_p: float | None = optional_input("Nucleus sampling: the probability mass of the tokens to choose from.")
    n: int | None = optional_input("Number of choices to generate.")
    stop: JSON | None = optional_input("Stop sequence, or a list of them, at which the completion ends.")
    max_completion_tokens: int | None = optional_input("Maximum number of generated tokens, including reasoning.")
    max_tokens: int | None = optional_input("Maximum number of generated tokens, for older models.")
    modalities: list[str] | None = optional_input("Output types, such as text and audio.")
    presence_penalty: float | None = optional_input("Penalty on tokens that have already occurred.")
    frequency_penalty: float | None = optional_input("Penalty on tokens, proportional to how often they have occurred.")
    stream: bool | None = optional_input(
        "Flag without effect: completionsCreateStream always streams, and completionsCreate rejects true."
    )
    logit_bias: JSON | None = optional_input("Bias per token, as a JSON object of token ids and numbers.")
    user: str | None = optional_input("Id of the end user, for the provider.")
    response_format: JSON | None = optional_input(
        'Format of the response: a JSON object such as {"type": "json_object"}, or one with a JSON Schema.'
    )
    seed: BigInt | None = optional_input("Seed for reproducible sampling, as far as the provider supports it.")
    tools: list[JSON] | None = optional_input("Tools that the model may call, as JSON objects.")
    tool_choice: JSON | None = optional_input("Choice of the tool: a string such as auto, or a JSON object.")
    logprobs: bool | None = optional_input("True if the response includes the log probability of each token.")
    top_logprobs: int | None = optional_input("Number of most likely tokens to return at each position.")
    parallel_tool_calls: bool | None = optional_input("True if the model may call several tools in parallel.")
    extra_headers: JSON | None = optional_input(
        "Additional headers for the provider: a JSON object of names and strings. They are not stored. The header "
        "api_key replaces the server's API key."
    )
    functions: list[JSON] | None = optional_input("Functions that the model may call, for older models.")
    function_call: str | None = optional_input("Choice of the function, for older models.")
    api_version: str | None = optional_input("Version of the provider's API, added to the URL as api-version.")

    def to_store(self) -> dict[str, Any]:
        """Return the parameters by their snake_case names."""
        return dict(vars(self))


Inputs = Annotated[CompletionsCreateRequestInputs, strawberry.argument(description="Parameters of the completion.")]

Tracked = Annotated[
    bool | None, strawberry.argument(description="True if the completion is stored as a call with usage and costs.")
]
