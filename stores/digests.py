"""Content digests: SHA-256 of canonical content, independent of storage and of the order of keys."""

import base64
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from stores.json import codec

if TYPE_CHECKING:
    from hashlib import _Hash

_TO_LETTERS: Final = str.maketrans("-_", "XY", "=")


def text_digest(text: str) -> str:
    """Return the digest of a text, encoded as UTF-8: 43 letters and digits."""
    return bytes_digest(text.encode())


def object_digest(value: object) -> str:
    """Return the digest of a JSON value or table row, from its canonical JSON text; 1 and 1.0 differ."""
    return text_digest(codec.canonical(value))


def bytes_digest(content: bytes) -> str:
    """Return the digest of a file's content."""
    return sha256_digest(hashlib.sha256(content))


def sha256_digest(content: "_Hash") -> str:
    """Return the digest of content that was fed to a SHA-256 hash in pieces."""
    # Plain letters need no escaping in refs and URLs. Mapping - and _ to X and Y loses under two bits of the hash.
    return base64.urlsafe_b64encode(content.digest()).decode().translate(_TO_LETTERS)


def table_digest(row_digests: Iterable[str]) -> str:
    """Return the digest of a table from its rows' digests in order: 64 hexadecimal digits."""
    content = hashlib.sha256()
    for digest in row_digests:
        content.update(digest.encode())
    return content.hexdigest()
