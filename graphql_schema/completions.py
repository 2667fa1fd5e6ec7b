"""Completions and images by models of providers: types, and the fields that request them."""

from collections.abc import AsyncGenerator
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import (
    ProjectId,
    User,
    argument,
    computed_field,
    json_field,
    resolved_field,
    subscription_field,
)
from graphql_schema.fields.connections import to_one
from graphql_schema.files import file_url
from stores.completions import Completion, CompletionEvent
from stores.images import GeneratedImages, ImageInputs
from stores.paging import ValueField

Tracked = Annotated[bool | None, argument("True if the completion is stored as a call with usage and costs.")]


@strawberry.input
class CompletionsCreateRequestInputs:
    """Parameters of a completion, named as in OpenAI's API.

    Omitted and null parameters are not sent to the provider.
    """

    model: str
    """Model: provider/model such as openai/gpt-4o, a name such as gpt-4o if it identifies the provider, or
    custom::<provider>::<model> for a Provider and a ProviderModel among the project's objects.
    """
    messages: list[JSON] = strawberry.field(default_factory=list)
    """Messages of the conversation: JSON objects such as {"role": "user", "content": "Hello"}."""
    timeout: JSON | None = None
    """Timeout of the provider in seconds, as a number or a string, at most LOOMQL_COMPLETION_TIMEOUT_SECONDS. For a
    stream, the timeout between two chunks.
    """
    temperature: float | None = None
    """Sampling temperature: higher values make the choice of tokens more random."""
    top_p: float | None = None
    """Nucleus sampling: the probability mass of the tokens to choose from."""
    n: int | None = None
    """Number of choices to generate."""
    stop: JSON | None = None
    """Stop sequence, or a list of them, at which the completion ends."""
    max_completion_tokens: int | None = None
    """Maximum number of generated tokens, including reasoning."""
    max_tokens: int | None = None
    """Maximum number of generated tokens, for older models."""
    modalities: list[str] | None = None
    """Output types, such as text and audio."""
    presence_penalty: float | None = None
    """Penalty on tokens that have already occurred."""
    frequency_penalty: float | None = None
    """Penalty on tokens, proportional to how often they have occurred."""
    stream: bool | None = None
    """Flag without effect: completionsCreateStream always streams, and completionsCreate rejects true."""
    logit_bias: JSON | None = None
    """Bias per token, as a JSON object of token ids and numbers."""
    user: str | None = None
    """Id of the end user, for the provider."""
    response_format: JSON | None = None
    """Format of the response: a JSON object such as {"type": "json_object"}, or one with a JSON Schema."""
    seed: BigInt | None = None
    """Seed for reproducible sampling, as far as the provider supports it."""
    tools: list[JSON] | None = None
    """Tools that the model may call, as JSON objects."""
    tool_choice: JSON | None = None
    """Choice of the tool: a string such as auto, or a JSON object."""
    logprobs: bool | None = None
    """True if the response includes the log probability of each token."""
    top_logprobs: int | None = None
    """Number of most likely tokens to return at each position."""
    parallel_tool_calls: bool | None = None
    """True if the model may call several tools in parallel."""
    extra_headers: JSON | None = None
    """Additional headers for the provider: a JSON object of names and strings. They are not stored. The header api_key
    replaces the server's API key.
    """
    functions: list[JSON] | None = None
    """Functions that the model may call, for older models."""
    function_call: str | None = None
    """Choice of the function, for older models."""
    api_version: str | None = None
    """Version of the provider's API, added to the URL as api-version."""

    def to_store(self) -> dict[str, Any]:
        """Return the parameters by their snake_case names."""
        return dict(vars(self))


Inputs = Annotated[CompletionsCreateRequestInputs, argument("Parameters of the completion.")]


def _call_key(made: Completion | CompletionEvent | GeneratedImages) -> tuple[str, str] | None:
    return (made.project_id, made.call_id) if made.call_id else None


@strawberry.type
class CompletionsCreateRes:
    """Result of a completion."""

    # The source is `stores.completions.Completion`.

    response: JSON | None = json_field(ValueField("response"))
    """Response of the provider, unchanged: a JSON object with choices and usage; or one whose error is a sentence that
    says what to change.
    """

    weave_call_id: strawberry.ID | None = computed_field(attrgetter("call_id"))
    """Id of the call that stores the completion; null if it is not stored, or if no request was sent. No request is
    sent if the model is unknown or its API key is missing.
    """

    call = to_one(CallSchema | None, lambda stores: stores.calls.by_keys, _call_key)
    """Call that stores the completion, with usage and costs; null if weaveCallId is null."""


@strawberry.enum
class CompletionEventType(Enum):
    """Kind of event of a streamed completion."""

    # The values are those of `stores.completions`.

    STARTED = "started"
    """Start: the call is stored, and the request to the provider is sent."""
    CHUNK = "chunk"
    """Chunk of the response from the provider."""
    FINISHED = "finished"
    """End: the response is complete or was interrupted, and the call has ended."""


@strawberry.type
class CompletionsCreateEvent:
    """Event of a streamed completion: one STARTED, then CHUNKs, then one FINISHED."""

    # The source is `stores.completions.CompletionEvent`.

    type: CompletionEventType
    """Kind of event."""

    chunk: JSON | None = json_field(ValueField("chunk"))
    """JSON object of a CHUNK as the provider sent it, with choices that each contain a delta; null in other events."""
    response: JSON | None = json_field(ValueField("response"))
    """Complete response of a FINISHED event, as completionsCreate returns it; null in other events. An interrupted one
    has the parts received so far and an error, a sentence that says what to change.
    """
    weave_call_id: strawberry.ID | None = computed_field(attrgetter("call_id"))
    """Id of the call that stores the completion, in every event; null if it is not stored, or if no request was sent.
    """
    text: str | None
    """Text that a CHUNK adds to the first choice; null if it adds none."""

    call = to_one(
        CallSchema | None,
        lambda stores: stores.calls.by_keys,
        lambda event: _call_key(event) if event.type == "finished" else None,
    )
    """Call that stores the completion, in a FINISHED event; null in other events, and if it is not stored."""


@strawberry.type
class CompletionMutations:
    """Mutation fields that request completions."""

    @resolved_field(returns=CompletionsCreateRes)
    async def completions_create(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: Inputs,
        wb_user_id: User = None,
        *,
        track_llm_call: Tracked = True,
    ) -> Completion:
        """Completion by a model, stored as a call.

        Errors of the provider are part of the response and are stored too.
        """
        store, is_tracked = info.context.stores.completions, track_llm_call is not False
        return await store.create(project_id, inputs.to_store(), is_tracked=is_tracked, wb_user_id=wb_user_id)


@strawberry.type
class CompletionSubscriptions:
    """Subscription fields that stream completions."""

    @subscription_field(of=CompletionsCreateEvent)
    def completions_create_stream(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: Inputs,
        wb_user_id: User = None,
        *,
        track_llm_call: Tracked = True,
    ) -> AsyncGenerator[CompletionEvent, None]:
        """Streamed completion by a model.

        The first event has the call's id, then the chunks follow, then the complete response as it is stored. If the
        client disconnects, the completion ends, and the call contains the chunks received so far.
        """
        store, is_tracked = info.context.stores.completions, track_llm_call is not False
        return store.stream(project_id, inputs.to_store(), is_tracked=is_tracked, wb_user_id=wb_user_id)


@strawberry.input
class ImageGenerationRequestInputs:
    """Parameters of an image generation."""

    model: str
    """Model, named as in completionsCreate: gpt-image-1, openai/dall-e-3, custom::<provider>::<model>, or the ref of a
    ProviderModel.
    """
    prompt: str
    """Prompt of 1 to 100,000 characters; providers accept fewer."""
    n: int | None = None
    """Number of images, from 1 to 10; 1 if omitted. dall-e-3 generates only one."""

    def to_store(self) -> ImageInputs:
        """Convert to the inputs of `stores.images`."""
        return ImageInputs(self.model, self.prompt, self.n)


@strawberry.type
class GeneratedImage:
    """Generated image, stored as a file of the project."""

    # The source is a row of `stores.images`.

    digest: str
    """Digest of the content, by which file finds it."""
    name: str
    """Name of the file, such as image-1.png."""
    content_type: str
    """Media type, such as image/png."""
    size_bytes: BigInt
    """Size of the content in bytes."""
    url: str
    """Path on this server from which GET downloads the image."""


@strawberry.type
class ImageGenerationCreateRes:
    """Result of an image generation: images or an error."""

    # The source is `stores.images.GeneratedImages`.

    response: JSON | None = json_field(ValueField("response"))
    """Response of the provider; {"error": message} if there are no images. Each image in its data is replaced by
    {"_type": "CustomWeaveType", …} and the digests of its two files. If only some images are unusable, each of these is
    replaced by an error, which is also in error.
    """
    images: list[GeneratedImage] = computed_field(
        lambda made: [{**row, "url": file_url(made.project_id, row["digest"])} for row in made.pictures]
    )
    """Images in the order of the response; empty if there are none."""
    weave_call_id: strawberry.ID | None = computed_field(attrgetter("call_id"))
    """Id of the call; null if none is stored, or if there are no images."""

    call = to_one(CallSchema | None, lambda stores: stores.calls.by_keys, _call_key)
    """Call of the generation; null if weaveCallId is null."""


@strawberry.type
class ImageMutations:
    """Mutation fields that generate images."""

    @resolved_field(returns=ImageGenerationCreateRes)
    async def image_create(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: ImageGenerationRequestInputs,
        wb_user_id: User = None,
        *,
        track_llm_call: bool | None = True,
    ) -> GeneratedImages:
        """Generation of images by a model.

        Each image is stored as files of the project, and the request as a call, weave.image_generation_create. An error
        of the provider, or a missing API key, is part of the response; then no call is stored.

        Args:
            inputs: Parameters of the generation.
            track_llm_call: True if the result is stored as a call; files are stored in any case.
        """
        return await info.context.stores.images.create(
            project_id,
            inputs.to_store(),
            is_tracked=track_llm_call is not False,
            wb_user_id=wb_user_id,
            max_file_bytes=info.context.max_file_bytes,
        )
