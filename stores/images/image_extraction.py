"""The pictures in what a provider answers: taken out of it, in whichever form they are there, and described."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from stores import strict_base64
from stores.files import NewFile
from stores.files.content_types import SNIFFED_BYTES, content_type
from stores.files.weave_content import WeaveContent, value_of
from stores.paging import Row
from stores.providers import JsonObject, ProviderError

MAX_BYTES: Final = 32 * 1024 * 1024
"""Of one picture, which is in memory as a whole; the largest that providers make are a few megabytes."""

_EXTENSIONS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
}
FORMS: Final = ("b64_json", "url")
"""The keys under which an entry may have its picture."""

_DATA_URL: Final = re.compile(r"data:[^,]{0,256};base64,")
_LARGE: Final = 256 * 1024
"""Characters of Base64 that take so long to decode that a thread does it."""

Download = Callable[[str, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, and the file that says what it is."""

    media_type: str
    content: NewFile
    metadata: NewFile

    @property
    def value(self) -> JsonObject:
        """What stands for it in a call."""
        return value_of(self.content, self.metadata)

    @property
    def row(self) -> Row:
        """What is known of its file."""
        return {
            "digest": self.content.digest,
            "name": self.content.name,
            "content_type": self.media_type,
            "size_bytes": self.content.size_bytes,
        }


async def extract_image(entry: Any, index: int, max_bytes: int, download: Download) -> tuple[Picture, JsonObject]:  # noqa: ANN401 -- any JSON
    """The picture of one entry of an answer's `data`, the index-th, and the entry with what stands for it instead.

    Raises:
        ProviderError: there is none, it cannot be had, or it is too large or no picture.
    """
    form = next((form for form in FORMS if isinstance(entry, dict) and isinstance(entry.get(form), str)), None)
    if form is None or not entry[form]:
        raise ProviderError("the provider's answer has neither b64_json nor url of it")
    content = await _content(entry[form], form, min(max_bytes, MAX_BYTES), download)
    picture = await asyncio.to_thread(_picture, content, index, form)
    return picture, {**entry, form: picture.value}


async def _content(text: str, form: str, max_bytes: int, download: Download) -> bytes:
    inner = _DATA_URL.match(text)
    if form == "url" and not inner:
        return await download(text, max_bytes)
    encoded = text[inner.end() :] if inner else text
    if len(encoded) * 3 // 4 - 2 > max_bytes:
        raise ProviderError(f"it has more than {max_bytes:,} bytes; see LOOMQL_MAX_FILE_BYTES on the server")
    is_large = len(encoded) > _LARGE
    content = await asyncio.to_thread(strict_base64.decode, encoded) if is_large else strict_base64.decode(encoded)
    if content is None:
        raise ProviderError("what the provider answered is no Base64")
    return content


def _picture(content: bytes, index: int, form: str) -> Picture:
    media_type = content_type(content[:SNIFFED_BYTES])
    extension = _EXTENSIONS.get(media_type)
    if extension is None:
        kinds = ", ".join(kind.removeprefix("image/").upper() for kind in _EXTENSIONS)
        raise ProviderError(f"what the provider answered is no picture of a known kind ({kinds})")
    name = f"image-{index + 1}{extension}"
    files = WeaveContent(
        NewFile.of(content, name),
        media_type,
        filename=name,
        extension=extension,
        content_type="bytes",
        input_type="bytes",
        encoding="utf-8",
        metadata={"source_index": index, "_original_schema": form},
    ).files()
    return Picture(media_type, *files)
