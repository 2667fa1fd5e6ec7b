"""Extraction of long data URLs from a call's JSON into files.

Each is replaced by Weave's Content type, whose second file describes the first, so Weave's client restores the content.
"""

import mimetypes
import re
from functools import partial
from typing import Any, Final

from stores.files import NewFile, strict_base64
from stores.files.weave_content import WeaveContent, value_of

MAX_INLINE_LENGTH: Final = 1024
"""Data URLs with at most this many characters stay in the JSON."""

_DATA_URL: Final = re.compile(r"data:([\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127});base64,", re.ASCII)
_MEDIA_TYPES: Final = mimetypes.MimeTypes()  # built-in types only, so that every machine gives the same result


def _files_of(text: str) -> tuple[NewFile, NewFile] | None:
    """Return the content of a data URL and its metadata as files; equal data URLs give equal files.

    The result is None if the text is no data URL, is too short, or is not strict Base64.
    """
    match = _DATA_URL.match(text) if len(text) > MAX_INLINE_LENGTH else None
    content = match and strict_base64.decode(text[match.end() :])
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
            elif isinstance(member, str) and (new := _files_of(member)):
                container[key] = value_of(*new)
                files += new
    return root[0], files
