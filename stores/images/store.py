"""The store of images: models paint, and what they painted is kept as files."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from stores import times
from stores.calls import CallsStore
from stores.completions.endpoint_resolution import Endpoints
from stores.costs import defaults
from stores.database.project_registry import RegisteredProjects
from stores.files import MAX_FILE_BYTES, FilesStore
from stores.ids import check_project_id
from stores.images.image_extraction import Download, extract_image
from stores.images.inputs import MAX_IMAGES, ImageInputs
from stores.images.tracking import Painting
from stores.input_checks import MAX_NAME, check_length
from stores.paging import Row
from stores.providers import JsonObject, ProviderError, Providers

AT_ONCE: Final = 4
"""Requests for images that one process has under way at once: the answer to each is in memory as a whole."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What came of a request: the provider's answer, each picture in it replaced by what stands for its two files.

    Where nothing came of it the response is `{"error": message}`, and there is no call. Of each picture a row has the
    `digest`, `name`, `content_type` and `size_bytes` of its file.
    """

    project_id: str
    response: JsonObject
    pictures: list[Row] = field(default_factory=list)
    error: str | None = None
    call_id: str | None = None


class ImagesStore:
    """Images of models."""

    def __init__(self, calls: CallsStore, files: FilesStore, endpoints: Endpoints, providers: Providers) -> None:
        self.database = files.database
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
            UnavailableError: the database is away, or the project is being purged or was meanwhile.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        inputs.check()
        async with self._places:
            began, listed = times.now(), await self.database.query(self.database.ensure_not_purging(project_id))
            try:
                reached = await self._endpoints.reach(project_id, inputs.model)
                answer = await self._providers.generate_images(reached.endpoint, inputs.request(reached.model))
                download = partial(self._providers.download, reached.endpoint)
                made = await self._kept(project_id, answer, max_file_bytes, download, listed)
            except ProviderError as error:
                return Generated(project_id, {"error": error.message}, error=error.message)
            if not is_tracked:
                return made
            counted_as = defaults.priced_name(inputs.model, reached.model)
            await self._enter(project_id, listed)
            painting = Painting(project_id, inputs, began, counted_as, wb_user_id)
            return replace(made, call_id=await painting.kept(self._calls, made.response, made.error))

    async def _enter(self, project_id: str, listed: RegisteredProjects) -> None:
        """See that the project was not purged since it was listed so, before something is stored in it."""
        await self.database.run(self.database.ensure_projects_listed([project_id], listed))

    async def _kept(
        self, project_id: str, answer: JsonObject, max_bytes: int, download: Download, listed: RegisteredProjects
    ) -> Generated:
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
                picture, data[index] = await extract_image(entry, index, max_bytes, download)
            except ProviderError as error:
                data[index] = {"error": error.message}
                errors.append(f"Image {index + 1} of {len(data)} is lost: {error.message}")
                continue
            await self._enter(project_id, listed)
            await self._files.create_all(project_id, [picture.content, picture.metadata])
            pictures.append(picture.row)
        if not pictures:
            raise ProviderError(errors[0])
        lost = "; ".join(errors) or None
        told = {"error": lost} if lost else {}
        return Generated(project_id, {**answer, "data": data, **told}, pictures, lost)
