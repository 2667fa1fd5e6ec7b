"""Store of images: it requests images from providers and stores them as files."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from stores import refs, times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.completions.endpoint_resolution import EndpointResolver
from stores.costs import defaults
from stores.database.project_registry import RegisteredProjects
from stores.errors import BadInputError, PayloadTooLargeError
from stores.files import MAX_FILE_BYTES, FilesStore, NewFile
from stores.files.data_urls import WeaveContent, content_value, decode_base64
from stores.files.uploads import SNIFFED_BYTES, content_type
from stores.ids import check_project_id, new_id
from stores.input_checks import MAX_NAME, check_length
from stores.json import AnyJson
from stores.paging import Row
from stores.providers import JsonObject, ProviderError, Providers

MAX_IMAGES: Final = 10
"""Limit on the images of one request; no provider makes more."""

MAX_PROMPT: Final = 100_000
"""Limit on the characters of a prompt. Providers accept fewer; OpenAI at most 32,000."""

_SIZE: Final = "1024x1024"

_DESCRIPTIONS: Final = {
    "model": "the name of a model, such as openai/gpt-image-1",
    "prompt": "a description of the image",
}

MAX_BYTES: Final = 32 * 1024 * 1024
"""Limit on one image, which is in memory as a whole; providers' largest are a few megabytes."""

_EXTENSIONS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
}
IMAGE_KEYS: Final = ("b64_json", "url")
"""Keys of an entry that may hold the image."""

_DATA_URL: Final = re.compile(r"data:[^,]{0,256};base64,")
Download = Callable[[str, int], Awaitable[bytes]]

OP_NAME: Final = "weave.image_generation_create"

_COUNTS: Final = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "total_tokens": ("total_tokens",),
}
"""Usage keys of calls, and the providers' names for them."""

_DETAILS: Final = ("input_tokens_details", "output_tokens_details")
"""Counts of image tokens, which have their own prices."""

MAX_CONCURRENT: Final = 4
"""Concurrent image requests of one process; each response is in memory as a whole."""


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """A prompt for an image model, and the number of images."""

    model: str
    prompt: str
    n: int | None = None

    def check(self) -> None:
        """Check the rules that apply to all models.

        Raises:
            BadInputError: an input is invalid; the argument is `inputs.<name>`.
        """
        for name, limit in (("model", MAX_NAME), ("prompt", MAX_PROMPT)):
            text: str = getattr(self, name)
            if not text:
                raise BadInputError(f"is required: {_DESCRIPTIONS[name]}", f"inputs.{name}")
            check_length(text, limit, f"inputs.{name}")
            refs.check_external(text, f"inputs.{name}")
        if self.n is not None and not 1 <= self.n <= MAX_IMAGES:
            raise BadInputError(f"{self.n} images are not allowed; request 1 to {MAX_IMAGES}", "inputs.n")

    @property
    def given(self) -> JsonObject:
        """The inputs as stored in the call."""
        return {"model": self.model, "prompt": self.prompt} | ({} if self.n is None else {"n": self.n})

    def request(self, model: str) -> JsonObject:
        """Build the provider request; `model` is the provider's name for the model.

        Models not made by OpenAI get only the prompt and the number, the only parameters known to work.

        Raises:
            BadInputError: the model does not make that many images.
        """
        body: JsonObject = {"model": model, "prompt": self.prompt, "n": self.n or 1}
        if model == "dall-e-3":
            if body["n"] > 1:
                raise BadInputError(f"{model} makes one image per request; leave out n", "inputs.n")
            return body | {"quality": "standard", "style": "natural", "size": _SIZE, "response_format": "b64_json"}
        if model.startswith("dall-e-"):
            return body | {"size": _SIZE, "response_format": "b64_json"}
        if model.startswith("gpt-image-"):
            # These models reject response_format; they always return Base64.
            return body | {"quality": "high", "size": _SIZE}
        return body


async def extract_image(
    entry: AnyJson, index: int, max_bytes: int, download: Download
) -> tuple[list[NewFile], Row, JsonObject]:
    """Extract the image of entry `index` of a response's `data`.

    Returns the files of the image and its metadata, the row that describes the image, and the entry with a value for
    the files in place of the image.

    Raises:
        ProviderError: the entry has no image, or the image cannot be downloaded, is too large or is not an image.
    """
    key = next((key for key in IMAGE_KEYS if isinstance(entry, dict) and isinstance(entry.get(key), str)), None)
    if key is None or not entry[key]:
        raise ProviderError("the provider's response has neither b64_json nor url for it")
    source = await _read_source(entry[key], key, min(max_bytes, MAX_BYTES), download)
    media_type, image, metadata = await asyncio.to_thread(_make_files, source, index, key)
    row = {"name": image.name, "digest": image.digest, "content_type": media_type, "size_bytes": image.size_bytes}
    return [image, metadata], row, {**entry, key: content_value(image, metadata)}


async def _read_source(text: str, key: str, max_bytes: int, download: Download) -> str | bytes:
    """Return an image as Base64, or its content if the provider names a URL."""
    data_url = _DATA_URL.match(text)
    if key == "url" and not data_url:
        return await download(text, max_bytes)
    encoded = text[data_url.end() :] if data_url else text
    if len(encoded) * 3 // 4 - 2 > max_bytes:
        raise ProviderError(f"it is larger than {max_bytes:,} bytes; see LOOMQL_MAX_FILE_BYTES on the server")
    return encoded


def _make_files(source: str | bytes, index: int, key: str) -> tuple[str, NewFile, NewFile]:
    content = decode_base64(source) if isinstance(source, str) else source
    if content is None:
        raise ProviderError("the provider returned an image that is not valid Base64; retry or use another model")
    media_type = content_type(content[:SNIFFED_BYTES])
    extension = _EXTENSIONS.get(media_type)
    if extension is None:
        kinds = ", ".join(kind.removeprefix("image/").upper() for kind in _EXTENSIONS)
        raise ProviderError(f"the provider returned no image of a supported type ({kinds})")
    name = f"image-{index + 1}{extension}"
    files = WeaveContent(
        NewFile.of(content, name),
        media_type,
        filename=name,
        extension=extension,
        content_type="bytes",
        input_type="bytes",
        encoding="utf-8",
        metadata={"source_index": index, "_original_schema": key},
    ).files()
    return media_type, *files


def _images_of(entry: JsonObject) -> JsonObject:
    return {form: entry[form] for form in IMAGE_KEYS if isinstance(entry.get(form), dict)}


def _usage(usage: AnyJson) -> JsonObject:
    """Convert a provider's usage to the names that calls use."""
    counts = usage if isinstance(usage, dict) else {}
    values = {name: _first_count(counts, names) for name, names in _COUNTS.items()}
    given = {name: counts[name] for name in _DETAILS if isinstance(counts.get(name), dict)}
    details = {name: {part: n for part, n in parts.items() if type(n) is int} for name, parts in given.items()}
    return {"requests": 1} | {name: count for name, count in values.items() if count is not None} | details


def _first_count(counts: JsonObject, names: Sequence[str]) -> int | None:
    whole = (counts.get(name) for name in names)
    return next((count for count in whole if isinstance(count, int) and not isinstance(count, bool)), None)


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
            fields = project_id, OP_NAME, started_at, dict[str, Any](), inputs.given
            start = CallStart(*fields, id=new_id(), wb_user_id=wb_user_id)
            return replace(result, call_id=await self._store_call(start, usage_name, result))

    async def _store_call(self, start: CallStart, usage_name: str, result: GeneratedImages) -> str:
        """Store a request as a call that has ended; return the call's id.

        If no call can hold the response, the call gets the replacement values of the images and the reason.
        """

        def end(output: JsonObject, exception: str | None) -> CallEnd:
            summary = {"usage": {usage_name: _usage(output.get("usage"))}}
            return CallEnd(start.project_id, str(start.id), times.now(), summary, exception, output, is_large=True)

        try:
            await self._calls.write([start, end(result.response, result.error)])
        except (BadInputError, PayloadTooLargeError) as refused:
            reason = f"The response cannot be stored: {refused.message}"
            reduced = {"data": [_images_of(entry) for entry in result.response["data"]], "error": reason}
            await self._calls.write([start, end(reduced, reason)])
        return str(start.id)

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
                files, row, data[index] = await extract_image(entry, index, max_bytes, download)
            except ProviderError as error:
                data[index] = {"error": error.message}
                errors.append(f"Image {index + 1} of {len(data)} failed: {error.message}")
                continue
            await self._check_not_purged(project_id, listed)
            await self._files.create_all(project_id, files)
            pictures.append(row)
        if not pictures:
            raise ProviderError(errors[0])
        lost = "; ".join(errors) or None
        error_field = {"error": lost} if lost else {}
        return GeneratedImages(project_id, {**response, "data": data, **error_field}, pictures, lost)
