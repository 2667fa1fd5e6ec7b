"""Strict Base64, and files in calls: long data URLs are extracted, and replaced by Content values of Weave's client.

A Content value refers to two files. The first has the content, the second the metadata that the client needs to restore
it.
"""

import binascii
import mimetypes
import re
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stores.files import NewFile
from stores.json import codec


def decode_base64(text: str) -> bytes | None:
    """Decode strict Base64 (RFC 4648, section 4), in which each content has one encoding.

    The result is None if the text is no Base64, lacks padding, has line breaks, or has non-zero trailing bits.
    """
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    whole = len(content) // 3
    return content if encode_base64(content[whole * 3 :]) == text[whole * 4 :] else None


def encode_base64(content: bytes) -> str:
    """Encode bytes without line breaks."""
    return binascii.b2a_base64(content, newline=False).decode()


WEAVE_CONTENT_TYPE: Final = "weave.type_wrappers.Content.content.Content"
"""Name of the type of Content values in Weave's client; no media type."""

METADATA_NAME: Final = "metadata.json"

_IDS: Final = uuid.UUID("0e7a3f52-6a3b-4d0e-9f0a-5d0b6f1c7a21")


@dataclass(frozen=True, slots=True)
class WeaveContent:
    """Content with the metadata of its origin: `content_type`, `input_type` and encoding."""

    content: NewFile
    media_type: str
    filename: str
    extension: str
    content_type: str
    input_type: str
    encoding: str
    metadata: dict[str, object] | None = None

    def files(self) -> tuple[NewFile, NewFile]:
        """Build both files; equal content and metadata give equal files."""
        metadata = {
            "id": str(uuid.uuid5(_IDS, f"{self.media_type} {self.content.digest}")),
            "size": self.content.size_bytes,
            "mimetype": self.media_type,
            "digest": self.content.digest,
            "filename": self.filename,
            "content_type": self.content_type,
            "input_type": self.input_type,
            "encoding": self.encoding,
            "metadata": self.metadata,
            "extension": self.extension,
        }
        return self.content, NewFile.of(codec.encode(metadata).encode(), METADATA_NAME)


def content_value(content: NewFile, metadata: NewFile) -> dict[str, object]:
    """Build the value that represents both files in a call."""
    return {
        "_type": "CustomWeaveType",
        "weave_type": {"type": WEAVE_CONTENT_TYPE},
        "files": {"content": content.digest, METADATA_NAME: metadata.digest},
    }


MAX_INLINE_LENGTH: Final = 1024
"""Data URLs with at most this many characters stay in the JSON."""

_DATA_URL: Final = re.compile(r"data:([\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127});base64,", re.ASCII)
_MEDIA_TYPES: Final = mimetypes.MimeTypes()  # built-in types only, so that every machine gives the same result


def _files_of(text: str) -> tuple[NewFile, NewFile] | None:
    """Return the content of a data URL and its metadata as files; equal data URLs give equal files.

    The result is None if the text is no data URL, is too short, or is not strict Base64.
    """
    match = _DATA_URL.match(text) if len(text) > MAX_INLINE_LENGTH else None
    content = match and decode_base64(text[match.end() :])
    if match is None or content is None:
        return None
    media_type = match[1]
    extension = _MEDIA_TYPES.guess_extension(media_type) or ""
    # The text stays in memory anyway; its content is decoded again when the file is written.
    file = NewFile(NewFile.of(content).digest, len(content), partial(_content, text, match.end()), "content")
    return WeaveContent(
        file,
        media_type,
        filename=f"{file.digest[:8]}{extension}",
        extension=extension,
        content_type="data_url:base64",
        input_type="str",
        encoding="base64",
    ).files()


def _content(text: str, start: int) -> bytes:
    return decode_base64(text[start:]) or b""


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
            elif isinstance(member, str) and (new := _files_of(member)):
                container[key] = content_value(*new)
                files += new
    return root[0], files
