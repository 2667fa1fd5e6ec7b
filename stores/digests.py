"""Digests: what content is called by, the same wherever it is stored and however its keys were ordered."""

import base64
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from stores.json import codec

if TYPE_CHECKING:
    from hashlib import _Hash

_LETTERS: Final = str.maketrans("-_", "XY", "=")


def text_digest(text: str) -> str:
    """The digest of a text, of its UTF-8: 43 letters and digits."""
    return bytes_digest(text.encode())


def object_digest(value: object) -> str:
    """The digest of a JSON value, or of a table's row: that of its canonical text, so 1 and 1.0 differ."""
    return text_digest(codec.canonical(value))


def bytes_digest(content: bytes) -> str:
    """The digest of a file's content."""
    return finished(hashlib.sha256(content))


def finished(content: "_Hash") -> str:
    """The digest of content that went through a SHA-256 bit by bit."""
    # Base64 with letters that need no escape anywhere; two contents cannot meet by that in practice.
    return base64.urlsafe_b64encode(content.digest()).decode().translate(_LETTERS)


def table_digest(row_digests: Iterable[str]) -> str:
    """The digest of a table, of its rows' digests in order: 64 hexadecimal digits."""
    content = hashlib.sha256()
    for digest in row_digests:
        content.update(digest.encode())
    return content.hexdigest()
