"""Mutation that generates images with models of providers."""

from operator import attrgetter
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import (
    ProjectId,
    User,
    computed_field,
    json_field,
    optional_input,
    plain_field,
    resolved_field,
)
from graphql_schema.fields.connections import to_one
from graphql_schema.files import file_url
from graphql_schema.scalars import BigInt
from stores.images import GeneratedImages, ImageInputs
from stores.row_fields import ValueField

Track = Annotated[
    bool | None,
    strawberry.argument(description="True if the result is stored as a call; files are stored in any case."),
]


@strawberry.input(description="Parameters of an image generation.")
class ImageGenerationRequestInputs:
    """Parameters of an image generation."""

    model: str = plain_field(
        "Model, named as in completionsCreate: gpt-image-1, openai/dall-e-3, custom::<provider>::<model>, or the ref "
        "of a ProviderModel."
    )
    prompt: str = plain_field("Prompt of 1 to 100,000 characters; providers accept fewer.")
    n: int | None = optional_input("Number of images, from 1 to 10; 1 if omitted. dall-e-3 generates only one.")

    def to_store(self) -> ImageInputs:
        """Convert to the inputs of `stores.images`."""
        return ImageInputs(self.model, self.prompt, self.n)


@strawberry.type(description="Generated image, stored as a file of the project.")
class GeneratedImage:
    """Image; the source is a row of `stores.images`."""

    digest: str = plain_field("Digest of the content, by which file finds it.")
    name: str = plain_field("Name of the file, such as image-1.png.")
    content_type: str = plain_field("Media type, such as image/png.")
    size_bytes: BigInt = plain_field("Size of the content in bytes.")
    url: str = plain_field("Path on this server from which GET downloads the image.")


@strawberry.type(description="Result of an image generation: images or an error.")
class ImageGenerationCreateRes:
    """Result; the source is `stores.images.GeneratedImages`."""

    response: JSON | None = json_field(
        ValueField("response"),
        'Response of the provider; {"error": message} if there are no images. Each image in its data is replaced by '
        '{"_type": "CustomWeaveType", …} and the digests of its two files. If only some images are unusable, each '
        "of these is replaced by an error, which is also in error.",
    )
    images: list[GeneratedImage] = computed_field(
        "Images in the order of the response; empty if there are none.",
        lambda made: [{**row, "url": file_url(made.project_id, row["digest"])} for row in made.pictures],
    )
    weave_call_id: strawberry.ID | None = computed_field(
        "Id of the call; null if none is stored, or if there are no images.", attrgetter("call_id")
    )

    call = to_one(
        "Call of the generation; null if weaveCallId is null.",
        CallSchema | None,
        lambda stores: stores.calls.by_keys,
        lambda made: made.call_id and (made.project_id, made.call_id),
    )


@strawberry.type
class ImageMutations:
    """Mutation fields that generate images."""

    @resolved_field(
        "Generation of images by a model. Each image is stored as files of the project, and the request as a call, "
        "weave.image_generation_create. An error of the provider, or a missing API key, is part of the response; then "
        "no call is stored.",
        ImageGenerationCreateRes,
    )
    async def image_create(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: Annotated[
            ImageGenerationRequestInputs, strawberry.argument(description="Parameters of the generation.")
        ],
        wb_user_id: User = None,
        track_llm_call: Track = True,  # noqa: FBT002 -- a field's argument, which is named
    ) -> GeneratedImages:
        """Generate images; return the response, the images and the id of the call."""
        return await info.context.stores.images.create(
            project_id,
            inputs.to_store(),
            is_tracked=track_llm_call is not False,
            wb_user_id=wb_user_id,
            max_file_bytes=info.context.max_file_bytes,
        )
