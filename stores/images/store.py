"""Store of images: it requests images from providers and stores them as files."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from stores import times
from stores.calls import CallsStore
from stores.completions.endpoint_resolution import EndpointResolver
from stores.costs import defaults
from stores.database.project_registry import RegisteredProjects
from stores.files import MAX_FILE_BYTES, FilesStore
from stores.ids import check_project_id
from stores.images.image_extraction import Download, extract_image
from stores.images.inputs import MAX_IMAGES, ImageInputs
from stores.images.tracking import TrackedRequest
from stores.input_checks import MAX_NAME, check_length
from stores.paging import Row
from stores.providers import JsonObject, ProviderError, Providers

MAX_CONCURRENT: Final = 4
"""Concurrent image requests of one process; each response is in memory as a whole."""


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """Result of an image request: the response, with each image replaced by the value for its two files.

    If no image was made, the response is `{"error": message}` and there is no call. `pictures` has a row per image:
    `digest`, `name`, `content_type` and `size_bytes` of its file.
    """

    project_id: str
    response: JsonObject
    pictures: list[Row] = field(default_factory=list)
    error: str | None = None
    call_id: str | None = None


class ImagesStore:
    """Generates images with models."""

    def __init__(self, calls: CallsStore, files: FilesStore, endpoints: EndpointResolver, providers: Providers) -> None:
        self.database = files.database
        self._calls, self._files, self._endpoints, self._providers = calls, files, endpoints, providers
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def create(
        self,
        project_id: str,
        inputs: ImageInputs,
        *,
        is_tracked: bool = True,
        wb_user_id: str | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> GeneratedImages:
        """Generate images, store them as files, and store the request as a call if `is_tracked`.

        Errors of the provider or its configuration are in the response. An image that failed has its error in its entry
        and in the response's `error`; the other images are returned.

        Raises:
            BadInputError: an input is invalid, or the model does not make that many images.
            UnavailableError: the database is unreachable, or the project is being or was purged.
        """
        check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        inputs.check()
        async with self._slots:
            started_at, listed = times.now(), await self.database.query(self.database.ensure_not_purging(project_id))
            try:
                model = await self._endpoints.resolve(project_id, inputs.model)
                response = await self._providers.generate_images(model.endpoint, inputs.request(model.model))
                download = partial(self._providers.download, model.endpoint)
                result = await self._store_images(project_id, response, max_file_bytes, download, listed)
            except ProviderError as error:
                return GeneratedImages(project_id, {"error": error.message}, error=error.message)
            if not is_tracked:
                return result
            usage_name = defaults.priced_name(inputs.model, model.model)
            await self._check_not_purged(project_id, listed)
            tracked = TrackedRequest(project_id, inputs, started_at, usage_name, wb_user_id)
            return replace(result, call_id=await tracked.store(self._calls, result.response, result.error))

    async def _check_not_purged(self, project_id: str, listed: RegisteredProjects) -> None:
        """Check that the project was not purged since `listed`, before something is stored in it."""
        await self.database.run(self.database.ensure_projects_listed([project_id], listed))

    async def _store_images(
        self, project_id: str, response: JsonObject, max_bytes: int, download: Download, listed: RegisteredProjects
    ) -> GeneratedImages:
        """Store the images of a response as files and replace them in it.

        Raises:
            ProviderError: no image could be stored.
        """
        data: list[Any] = response.pop("data")
        if not 1 <= len(data) <= MAX_IMAGES:
            raise ProviderError(f"The provider returned {len(data):,} images; expected 1 to {MAX_IMAGES}.")
        pictures: list[Row] = []
        errors: list[str] = []
        for index, entry in enumerate(data):
            try:
                picture, data[index] = await extract_image(entry, index, max_bytes, download)
            except ProviderError as error:
                data[index] = {"error": error.message}
                errors.append(f"Image {index + 1} of {len(data)} failed: {error.message}")
                continue
            await self._check_not_purged(project_id, listed)
            await self._files.create_all(project_id, [picture.content, picture.metadata])
            pictures.append(picture.row)
        if not pictures:
            raise ProviderError(errors[0])
        lost = "; ".join(errors) or None
        error_field = {"error": lost} if lost else {}
        return GeneratedImages(project_id, {**response, "data": data, **error_field}, pictures, lost)
