"""Mutation that generates images with models of providers."""

from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, json_field, optional_input, plain_field, resolved_field
from graphql_schema.fields.selection import selected_fields
from graphql_schema.files import file_url
from graphql_schema.scalars import BigInt
from stores.images import GeneratedImages, ImageInputs
from stores.json import codec
from stores.paging import Row
from stores.row_fields import JsonField

RESPONSE = JsonField("response")

User = Annotated[str | None, strawberry.argument(description="User who writes; the caller if omitted.")]
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
    """Result; the source is a row of `_row`."""

    response: JSON | None = json_field(
        RESPONSE,
        'Response of the provider; {"error": message} if there are no images. Each image in its data is replaced by '
        '{"_type": "CustomWeaveType", …} and the digests of its two files. If only some images are unusable, each '
        "of these is replaced by an error, which is also in error.",
    )
    images: list[GeneratedImage] = plain_field("Images in the order of the response; empty if there are none.")
    weave_call_id: strawberry.ID | None = plain_field(
        "Id of the call; null if none is stored, or if there are no images."
    )

    @resolved_field("Call of the generation; null if weaveCallId is null.", returns=CallSchema | None)
    async def call(self, info: Info, parent: strawberry.Parent[Row]) -> Row | None:
        """Load the call by its id."""
        if parent["weave_call_id"] is None:
            return None
        key, wanted = (parent["project_id"], parent["weave_call_id"]), frozenset(selected_fields(info))
        return await info.context.loaders.load(info.context.stores.calls.by_keys, key, wanted)


def _row(generated: GeneratedImages) -> dict[str, Any]:
    return {
        "project_id": generated.project_id,
        "json": {"response": codec.encode(generated.response)},
        "images": [
            {**picture, "url": file_url(generated.project_id, picture["digest"])} for picture in generated.pictures
        ],
        "weave_call_id": generated.call_id,
    }


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
    ) -> Row:
        """Generate images; return the response, the images and the id of the call."""
        generated = await info.context.stores.images.create(
            project_id,
            inputs.to_store(),
            is_tracked=track_llm_call is not False,
            wb_user_id=wb_user_id,
            max_file_bytes=info.context.max_file_bytes,
        )
        return _row(generated)
