"""The text of a key: `loomql_<id>_<secret>`, of which only a hash is stored.

The secret has 256 random bits and cannot be guessed, so plain SHA-256 is as safe as a slow hash.
"""

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "loomql_"
"""Prefix of every key, by which people and secret scanners recognise one."""

_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


def new_id() -> str:
    """Create a random public id, which lists and revocations use."""
    return secrets.token_hex(_ID_BYTES)


def new_key(key_id: str) -> str:
    """Create the text of a key with a new secret."""
    return f"{PREFIX}{key_id}_{secrets.token_hex(_SECRET_BYTES)}"


def key_id_of(text: str) -> str | None:
    """Return the public id in the text of a key; None if the text is not a key."""
    match = _KEY.fullmatch(text)
    return match[1] if match else None


def digest(text: str) -> bytes:
    """Return the hash that is stored and compared."""
    return hashlib.sha256(text.encode()).digest()
