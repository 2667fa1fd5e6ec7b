"""Extraction of images from a provider's response, as URL, data URL or Base64."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from stores.files import NewFile, strict_base64
from stores.files.content_types import SNIFFED_BYTES, content_type
from stores.files.weave_content import WeaveContent, value_of
from stores.json import AnyJson
from stores.paging import Row
from stores.providers import JsonObject, ProviderError

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
_THREAD_CHARACTERS: Final = 256 * 1024
"""Base64 with more characters than this is decoded in a thread."""

Download = Callable[[str, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class ExtractedImage:
    """An image file, and the file with its metadata."""

    media_type: str
    content: NewFile
    metadata: NewFile

    @property
    def value(self) -> JsonObject:
        """The JSON value that replaces the image in a call."""
        return value_of(self.content, self.metadata)

    @property
    def row(self) -> Row:
        """The row that describes the image file."""
        return {
            "digest": self.content.digest,
            "name": self.content.name,
            "content_type": self.media_type,
            "size_bytes": self.content.size_bytes,
        }


async def extract_image(
    entry: AnyJson,
    index: int,
    max_bytes: int,
    download: Download,
) -> tuple[ExtractedImage, JsonObject]:
    """Extract the image of entry `index` of a response's `data`; return it and the entry with its replacement value.

    Raises:
        ProviderError: the entry has no image, or the image cannot be downloaded, is too large or is not an image.
    """
    key = next((key for key in IMAGE_KEYS if isinstance(entry, dict) and isinstance(entry.get(key), str)), None)
    if key is None or not entry[key]:
        raise ProviderError("the provider's response has neither b64_json nor url for it")
    content = await _read_content(entry[key], key, min(max_bytes, MAX_BYTES), download)
    image = await asyncio.to_thread(_make_image, content, index, key)
    return image, {**entry, key: image.value}


async def _read_content(text: str, key: str, max_bytes: int, download: Download) -> bytes:
    data_url = _DATA_URL.match(text)
    if key == "url" and not data_url:
        return await download(text, max_bytes)
    encoded = text[data_url.end() :] if data_url else text
    if len(encoded) * 3 // 4 - 2 > max_bytes:
        raise ProviderError(f"it is larger than {max_bytes:,} bytes; see LOOMQL_MAX_FILE_BYTES on the server")
    is_large = len(encoded) > _THREAD_CHARACTERS
    content = await asyncio.to_thread(strict_base64.decode, encoded) if is_large else strict_base64.decode(encoded)
    if content is None:
        raise ProviderError("the provider returned an image that is not valid Base64; retry or use another model")
    return content


def _make_image(content: bytes, index: int, key: str) -> ExtractedImage:
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
    return ExtractedImage(media_type, *files)
