"""Images that models of providers paint."""

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

User = Annotated[str | None, strawberry.argument(description="Who asks; the caller if left out.")]
Track = Annotated[
    bool | None, strawberry.argument(description="Whether it is kept as a call; the files are kept in any case.")
]


@strawberry.input(description="What is asked of a model that paints.")
class ImageGenerationRequestInputs:
    """A prompt for a model."""

    model: str = plain_field(
        "The model, named as in completionsCreate: gpt-image-1, openai/dall-e-3, custom::<provider>::<model>, or the "
        "ref of a ProviderModel."
    )
    prompt: str = plain_field("What is to be seen: 1 to 100,000 characters; providers take fewer.")
    n: int | None = optional_input("How many images, from 1 to 10; 1 if left out. dall-e-3 makes no more than one.")

    def to_store(self) -> ImageInputs:
        """The inputs as the stores take them."""
        return ImageInputs(self.model, self.prompt, self.n)


@strawberry.type(description="An image that was made, as a file of the project.")
class GeneratedImage:
    """A file; its source is a row of `stores.images`."""

    digest: str = plain_field("The digest of its content, by which file finds it.")
    name: str = plain_field("Its name, such as image-1.png.")
    content_type: str = plain_field("Its media type, such as image/png.")
    size_bytes: BigInt = plain_field("How many bytes it has.")
    url: str = plain_field("Where it can be had by GET, as a path on this server.")


@strawberry.type(description="Images that a model made, or why it made none.")
class ImageGenerationCreateRes:
    """What came of it; its source is a row of `_row`."""

    response: JSON | None = json_field(
        RESPONSE,
        'What the provider answered, each image in its data replaced by {"_type": "CustomWeaveType", …} with the '
        'digests of its two files; {"error": message} where nothing came of it. An image that is lost while others are '
        "not is an error in its place, and in error.",
    )
    images: list[GeneratedImage] = plain_field("The images, in their order; none where nothing came of it.")
    weave_call_id: strawberry.ID | None = plain_field("The id of its call; null if none is kept or nothing came of it.")

    @resolved_field("Its call; null as weaveCallId is.", returns=CallSchema | None)
    async def call(self, info: Info, parent: strawberry.Parent[Row]) -> Row | None:
        """Its call."""
        if parent["weave_call_id"] is None:
            return None
        key, wanted = (parent["project_id"], parent["weave_call_id"]), frozenset(selected_fields(info))
        return await info.context.loaders.load(info.context.stores.calls.by_keys, key, wanted)


def _row(made: GeneratedImages) -> dict[str, Any]:
    return {
        "project_id": made.project_id,
        "json": {"response": codec.encode(made.response)},
        "images": [{**picture, "url": file_url(made.project_id, picture["digest"])} for picture in made.pictures],
        "weave_call_id": made.call_id,
    }


@strawberry.type
class ImageMutations:
    """The fields of Mutation that let models paint."""

    @resolved_field(
        "Let a model paint. Each image is stored as files of the project, and all of it is kept as a call, "
        "weave.image_generation_create. What the provider does wrong, or a key that is missing, is told in the "
        "response, and there is no call then.",
        ImageGenerationCreateRes,
    )
    async def image_create(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: Annotated[ImageGenerationRequestInputs, strawberry.argument(description="What is asked.")],
        wb_user_id: User = None,
        track_llm_call: Track = True,  # noqa: FBT002 -- a field's argument, which is named
    ) -> Row:
        """Paint."""
        made = await info.context.stores.images.create(
            project_id,
            inputs.to_store(),
            is_tracked=track_llm_call is not False,
            wb_user_id=wb_user_id,
            max_file_bytes=info.context.max_file_bytes,
        )
        return _row(made)
