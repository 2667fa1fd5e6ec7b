"""Imported files, read line by line, or as one document if a JSON request spans lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stores.errors import BadInputError

MAX_LINE: Final = 64 * 1024 * 1024
MAX_DOCUMENT: Final = 256 * 1024 * 1024

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Byte order mark that some editors write at the start of UTF-8 text."""

_PREFIX_BYTES: Final = 64 * 1024
_SPANS: Final = re.compile(rb'\{\s*"resource_?[sS]pans"\s*:')
_WHOLE_LINE: Final = re.compile(rb"\{.*\}\s*\Z", re.DOTALL)

_OTHER_FORMATS: Final = {
    b"PAR1": "is a Parquet file, which cannot be imported; export NDJSON instead",
    b"\x1f\x8b": "is compressed; decompress it first (gunzip -k)",
    b"PK\x03\x04": "is a ZIP archive; unpack it first",
    b"[": "is a JSON array; write one object per line instead (jq -c '.[]')",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its number from 1 and the offset of its end; `is_cut` if the file ends without a newline.

    A line of more than `MAX_LINE` bytes has `is_too_long` and no content.
    """

    number: int
    content: bytes
    end: int
    is_cut: bool = False
    is_too_long: bool = False


def lines_of(path: Path, offset: int = 0, number: int = 0) -> Iterator[Line]:
    """Yield the lines of a file after an offset, at the end of line `number`; a document of spans is one line.

    Raises:
        BadInputError: the file has an unsupported format.
        OSError: it cannot be read.
    """
    if _is_document(path):
        if offset == 0:
            content = path.read_bytes()
            yield Line(1, content.removeprefix(_BYTE_ORDER_MARK), len(content))
        return
    with path.open("rb") as file:
        file.seek(offset)
        while content := file.readline(MAX_LINE + 1):
            number += 1
            offset += len(content)
            content = content.removeprefix(_BYTE_ORDER_MARK) if number == 1 else content
            is_too_long = len(content) > MAX_LINE
            while is_too_long and not content.endswith(b"\n") and (content := file.readline(MAX_LINE)):
                offset += len(content)
            yield Line(number, b"" if is_too_long else content, offset, not content.endswith(b"\n"), is_too_long)


def _is_document(path: Path) -> bool:
    """Return True if a file is one request of spans whose JSON spans lines."""
    with path.open("rb") as file:
        prefix = file.read(_PREFIX_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip()
        size = file.seek(0, 2)
    for mark, problem in _OTHER_FORMATS.items():
        if prefix.startswith(mark):
            raise BadInputError(f"{path} {problem}")
    first, newline, _ = prefix.partition(b"\n")
    if not _SPANS.match(prefix) or not newline or _WHOLE_LINE.fullmatch(first):
        return False
    if size > MAX_DOCUMENT:
        raise BadInputError(
            f"{path} is one JSON document of {size:,} bytes; the limit is {MAX_DOCUMENT:,}. Write one request per line"
        )
    return True
