"""What clients ask of models."""

from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from graphql_schema.scalars import BigInt


@strawberry.input(
    description="What a model is asked, by the names of OpenAI's API. What is left out or null is not sent."
)
class CompletionsCreateRequestInputs:
    """The inputs of a completion."""

    model: str = plain_field(
        "The model: provider/model such as openai/gpt-4o, its own name such as gpt-4o where that tells whose it is, "
        "or custom::<provider>::<model> for a Provider and a ProviderModel among the project's objects."
    )
    messages: list[JSON] = strawberry.field(
        description='The conversation so far: JSON objects such as {"role": "user", "content": "Hello"}.',
        default_factory=list,
    )
    timeout: JSON | None = optional_input(
        "Seconds that the provider may take, as a number or a string; at most LOOMQL_COMPLETION_TIMEOUT_SECONDS. Of a "
        "stream, those between two chunks."
    )
    temperature: float | None = optional_input("How much chance there is in the choice of tokens.")
    top_p: float | None = optional_input("The share of probability among which tokens are chosen.")
    n: int | None = optional_input("How many choices to answer with.")
    stop: JSON | None = optional_input("A string, or a list of strings, at which the answer ends.")
    max_completion_tokens: int | None = optional_input("Most tokens of the answer, reasoning included.")
    max_tokens: int | None = optional_input("Most tokens of the answer, as older models take it.")
    modalities: list[str] | None = optional_input("What the answer may be made of, such as text and audio.")
    presence_penalty: float | None = optional_input("How much tokens that are there already are avoided.")
    frequency_penalty: float | None = optional_input("How much tokens that are there often are avoided.")
    stream: bool | None = optional_input(
        "Not needed: completionsCreateStream streams whatever this says, and completionsCreate does not take true."
    )
    logit_bias: JSON | None = optional_input("A JSON object of tokens and what is added to their likelihood.")
    user: str | None = optional_input("Who asks, for the provider.")
    response_format: JSON | None = optional_input(
        'The form of the answer: a JSON object such as {"type": "json_object"}, or one with a JSON Schema.'
    )
    seed: BigInt | None = optional_input("A number with which the same is answered again, as far as the provider can.")
    tools: list[JSON] | None = optional_input("Tools that the model may call: JSON objects.")
    tool_choice: JSON | None = optional_input("Which tool it calls: a string such as auto, or a JSON object.")
    logprobs: bool | None = optional_input("Whether to answer with how likely each token was.")
    top_logprobs: int | None = optional_input("How many likely tokens to tell at each place.")
    parallel_tool_calls: bool | None = optional_input("Whether it may call several tools at once.")
    extra_headers: JSON | None = optional_input(
        "More headers for the provider: a JSON object of names and strings. They are not kept. api_key among them is "
        "taken as the key, in place of the server's."
    )
    functions: list[JSON] | None = optional_input("Functions that the model may call, as older models take tools.")
    function_call: str | None = optional_input("Which function it calls, as older models take it.")
    api_version: str | None = optional_input("The version of the API, added to the URL as api-version.")

    def to_store(self) -> dict[str, Any]:
        """The inputs as the store takes them."""
        return dict(vars(self))


Inputs = Annotated[CompletionsCreateRequestInputs, strawberry.argument(description="What the model is asked.")]

Tracked = Annotated[
    bool | None, strawberry.argument(description="Whether to keep it as a call, with usage and so its costs.")
]
