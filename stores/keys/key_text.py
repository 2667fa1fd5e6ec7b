"""The text of a key: `loomql_<id>_<secret>`, of which only a hash is kept.

The secret has 256 random bits, so a plain SHA-256 is as good as a slow hash: there is nothing to guess.
"""

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "loomql_"
"""What every key begins with, so that people and scanners of secrets know one when they see it."""

_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


def new_id() -> str:
    """A public id, by which a key is listed and revoked."""
    return secrets.token_hex(_ID_BYTES)


def new_key(key_id: str) -> str:
    """A key of an id, with a secret of its own."""
    return f"{PREFIX}{key_id}_{secrets.token_hex(_SECRET_BYTES)}"


def key_id_of(text: str) -> str | None:
    """The public id in the text of a key; None where it is none."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def digest(text: str) -> bytes:
    """What is kept of a key, and what one that comes is compared with."""
    return hashlib.sha256(text.encode()).digest()
