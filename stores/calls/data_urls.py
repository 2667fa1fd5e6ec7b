"""Extraction of long data URLs from a call's JSON into files.

Each is replaced by Weave's Content type, whose second file describes the first, so Weave's client restores the content.
"""

import mimetypes
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stores.files import NewFile, strict_base64
from stores.files.weave_content import WeaveContent, value_of

MAX_INLINE_LENGTH: Final = 1024
"""Data URLs with at most this many characters stay in the JSON."""

_DATA_URL: Final = re.compile(r"data:([\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127});base64,", re.ASCII)
_MEDIA_TYPES: Final = mimetypes.MimeTypes()  # built-in types only, so that every machine gives the same result


@dataclass(frozen=True, slots=True)
class DataUrl:
    """A parsed Base64 data URL."""

    media_type: str
    content: NewFile

    @classmethod
    def parse(cls, text: str) -> "DataUrl | None":
        """Parse a data URL; None if the text is none, is too short, or is not strict Base64."""
        match = _DATA_URL.match(text) if len(text) > MAX_INLINE_LENGTH else None
        content = match and strict_base64.decode(text[match.end() :])
        if match is None or content is None:
            return None
        # The text stays in memory anyway; its content is decoded again when the file is written.
        load = partial(_content, text, match.end())
        return cls(match[1], NewFile(NewFile.of(content).digest, len(content), load, "content"))

    def files(self) -> tuple[NewFile, NewFile]:
        """Return the content and its metadata as files; equal data URLs give equal files."""
        extension = _MEDIA_TYPES.guess_extension(self.media_type) or ""
        return WeaveContent(
            self.content,
            self.media_type,
            filename=f"{self.content.digest[:8]}{extension}",
            extension=extension,
            content_type="data_url:base64",
            input_type="str",
            encoding="base64",
        ).files()


def _content(text: str, start: int) -> bytes:
    return strict_base64.decode(text[start:]) or b""


def may_hold_data_urls(text: str) -> bool:
    """Return False if a JSON text certainly has no long data URL; fast, and false for nearly every text."""
    # Searching for a single character is forty times faster than for several.
    return len(text) > MAX_INLINE_LENGTH and ";" in text and ";base64" in text and '"data:' in text


def extract_data_urls(value: object) -> tuple[object, list[NewFile]]:
    """Replace the long data URLs in a JSON value; return the new value and two files for each."""
    files: list[NewFile] = []
    root: list[Any] = [value]
    pending: list[Any] = [root]
    while pending:
        container = pending.pop()
        for key, member in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(member, dict | list):
                container[key] = member.copy()
                pending.append(container[key])
            elif isinstance(member, str) and (data_url := DataUrl.parse(member)):
                container[key] = _replacement(data_url, files)
    return root[0], files


def _replacement(data_url: DataUrl, files: list[NewFile]) -> dict[str, object]:
    content, metadata = data_url.files()
    files += (content, metadata)
    return value_of(content, metadata)
