"""The files that are imported, line by line, or as one document where their JSON spreads over lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stores.errors import BadInputError

MAX_LINE: Final = 64 * 1024 * 1024
MAX_DOCUMENT: Final = 256 * 1024 * 1024

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""What some editors begin a text in UTF-8 with."""

_LOOKED_AT: Final = 64 * 1024
_SPANS: Final = re.compile(rb'\{\s*"resource_?[sS]pans"\s*:')
_WHOLE_LINE: Final = re.compile(rb"\{.*\}\s*\Z", re.DOTALL)

_OTHER_FORMATS: Final = {
    b"PAR1": "is a Parquet file; export NDJSON instead, which can be imported",
    b"\x1f\x8b": "is compressed; unpack it first (gunzip -k)",
    b"PK\x03\x04": "is a ZIP archive; unpack it first",
    b"[": "is one JSON array; write one object a line instead (jq -c '.[]')",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line, its number from 1 and where in the file it ends; `is_cut` where the file ends without ending it.

    One of more than `MAX_LINE` bytes has lost its content, and `is_too_long`.
    """

    number: int
    content: bytes
    end: int
    is_cut: bool = False
    is_too_long: bool = False


def lines_of(path: Path, offset: int = 0, number: int = 0) -> Iterator[Line]:
    """The lines of a file after an offset, before which there are so many; a document of spans is a single line.

    Raises:
        BadInputError: the file is of a kind that cannot be imported.
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
    """Whether a file is one request of spans whose JSON spreads over lines."""
    with path.open("rb") as file:
        beginning = file.read(_LOOKED_AT).removeprefix(_BYTE_ORDER_MARK).lstrip()
        size = file.seek(0, 2)
    for mark, problem in _OTHER_FORMATS.items():
        if beginning.startswith(mark):
            raise BadInputError(f"{path} {problem}")
    first, newline, _ = beginning.partition(b"\n")
    if not _SPANS.match(beginning) or not newline or _WHOLE_LINE.fullmatch(first):
        return False
    if size > MAX_DOCUMENT:
        raise BadInputError(
            f"{path} is one JSON document of {size:,} bytes; the limit is {MAX_DOCUMENT:,}. Write one request a line"
        )
    return True
