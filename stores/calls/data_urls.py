"""Content that comes inside a call's JSON as a data URL, kept as files instead.

What takes its place, and what the second of the two files says about the first, is Weave's type Content, so that its
client gets the content back.
"""

import mimetypes
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stores import strict_base64
from stores.files import NewFile
from stores.files.weave_content import WeaveContent, value_of

LONGEST_KEPT: Final = 1024
"""Characters of a data URL that stays where it is."""

_DATA_URL: Final = re.compile(r"data:([\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127});base64,", re.ASCII)
_MEDIA_TYPES: Final = mimetypes.MimeTypes()  # Python's own list, the same on every machine


@dataclass(frozen=True, slots=True)
class DataUrl:
    """A data URL in Base64."""

    media_type: str
    content: NewFile

    @classmethod
    def of(cls, text: str) -> "DataUrl | None":
        """The data URL that a text is; None where it is none, is short, or where its Base64 is not strict."""
        match = _DATA_URL.match(text) if len(text) > LONGEST_KEPT else None
        content = match and strict_base64.decode(text[match.end() :])
        if match is None or content is None:
            return None
        # The text is in memory anyway; what it decodes to is made again when it is written.
        load = partial(_content, text, match.end())
        return cls(match[1], NewFile(NewFile.of(content).digest, len(content), load, "content"))

    def files(self) -> tuple[NewFile, NewFile]:
        """The content, and what describes it; the same for the same data URL."""
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
    """Whether it is worth a look: false for nearly every JSON text, and found out fast."""
    # One letter is found at forty times the speed of several.
    return len(text) > LONGEST_KEPT and ";" in text and ";base64" in text and '"data:' in text


def extract_data_urls(value: object) -> tuple[object, list[NewFile]]:
    """The value with the long data URLs in it replaced, and the files to write for them, two for each."""
    files: list[NewFile] = []
    root: list[Any] = [value]
    waiting: list[Any] = [root]
    while waiting:
        container = waiting.pop()
        for key, inner in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(inner, dict | list):
                container[key] = inner.copy()
                waiting.append(container[key])
            elif isinstance(inner, str) and (data_url := DataUrl.of(inner)):
                container[key] = _replacement(data_url, files)
    return root[0], files


def _replacement(data_url: DataUrl, files: list[NewFile]) -> dict[str, object]:
    content, metadata = data_url.files()
    files += (content, metadata)
    return value_of(content, metadata)
