"""The store of images: models paint, and what they painted is kept as files."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.inputs import MAX_NAME, check_length
from stores.completions.endpoints import Endpoints
from stores.costs import defaults
from stores.files import MAX_FILE_BYTES, FilesStore
from stores.ids import check_project_id, new_id
from stores.images.inputs import MAX_IMAGES, ImageInputs
from stores.images.pictures import taken_out
from stores.paging import Row
from stores.providers import JsonObject, ProviderError, Providers

OP_NAME: Final = "weave.image_generation_create"

AT_ONCE: Final = 4
"""Requests for images that one process has under way at once: the answer to each is in memory as a whole."""

_COUNTS: Final = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "total_tokens": ("total_tokens",),
}
"""What usage is called in calls, and by providers."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What came of a request: the provider's answer, each picture in it replaced by what stands for its two files.

    Where nothing came of it the response is `{"error": message}`, and there is no call. Of each picture a row has the
    `digest`, `name`, `content_type` and `size_bytes` of its file.
    """

    project_id: str
    response: JsonObject
    pictures: list[Row] = field(default_factory=list)
    call_id: str | None = None


class ImagesStore:
    """Images of models."""

    def __init__(self, calls: CallsStore, files: FilesStore, endpoints: Endpoints, providers: Providers) -> None:
        self._calls, self._files, self._endpoints, self._providers = calls, files, endpoints, providers
        self._places = asyncio.Semaphore(AT_ONCE)

    async def create(
        self,
        project_id: str,
        inputs: ImageInputs,
        *,
        is_tracked: bool = True,
        wb_user_id: str | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> Generated:
        """Let a model paint; the pictures are kept as files, and all of it as a call unless it is not to be.

        What a provider or the set-up does wrong is told in the response. A picture that cannot be had is told in its
        place and in the response's `error`, beside those that can.

        Raises:
            BadInputError: an input breaks a rule, or the model does not make so many.
            UnavailableError: the database is away.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        inputs.check()
        async with self._places:
            began = times.now()
            try:
                reached = await self._endpoints.reach(project_id, inputs.model)
                answer = await self._providers.generate_images(reached.endpoint, inputs.request(reached.model))
                made = await self._kept(project_id, answer, max_file_bytes)
            except ProviderError as error:
                return Generated(project_id, {"error": error.message})
            if not is_tracked:
                return made
            counted_as = defaults.priced_name(inputs.model, reached.model)
            call_id = await self._track(made, inputs, counted_as, began, wb_user_id)
            return Generated(project_id, made.response, made.pictures, call_id)

    async def _kept(self, project_id: str, answer: JsonObject, max_bytes: int) -> Generated:
        """An answer whose pictures are files.

        Raises:
            ProviderError: there is none in it that can be had.
        """
        data: list[Any] = answer.pop("data")
        if not 1 <= len(data) <= MAX_IMAGES:
            raise ProviderError(f"The provider answered with {len(data):,} images; there may be 1 to {MAX_IMAGES}.")
        pictures: list[Row] = []
        errors: list[str] = []
        for index, entry in enumerate(data):
            try:
                picture, data[index] = await taken_out(entry, index, max_bytes, self._providers.download)
            except ProviderError as error:
                data[index] = {"error": error.message}
                errors.append(f"Image {index + 1} of {len(data)} is lost: {error.message}")
                continue
            await self._files.create_all(project_id, [picture.content, picture.metadata])
            pictures.append(picture.row)
        if not pictures:
            raise ProviderError(errors[0])
        told = {"error": "; ".join(errors)} if errors else {}
        return Generated(project_id, {**answer, "data": data, **told}, pictures)

    async def _track(
        self, made: Generated, inputs: ImageInputs, counted_as: str, began: int, wb_user_id: str | None
    ) -> str:
        call_id = new_id()
        start = CallStart(
            project_id=made.project_id,
            id=call_id,
            op_name=OP_NAME,
            started_at=began,
            attributes={},
            inputs=inputs.given,
            wb_user_id=wb_user_id,
        )
        end = CallEnd(
            project_id=made.project_id,
            id=call_id,
            ended_at=times.now(),
            summary={"usage": {counted_as: _usage(made.response.get("usage"))}},
            exception=made.response.get("error"),
            output=made.response,
        )
        await self._calls.write([start, end])
        return call_id


def _usage(told: Any) -> JsonObject:  # noqa: ANN401 -- any JSON
    """What a request used, by the names that calls have for it."""
    counts = told if isinstance(told, dict) else {}
    found = {name: _first(counts, names) for name, names in _COUNTS.items()}
    return {"requests": 1} | {name: count for name, count in found.items() if count is not None}


def _first(counts: JsonObject, names: Sequence[str]) -> int | None:
    whole = (counts.get(name) for name in names)
    return next((count for count in whole if isinstance(count, int) and not isinstance(count, bool)), None)
