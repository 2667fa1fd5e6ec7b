"""API keys, and their texts: `loomql_<id>_<secret>`, of which only a hash is stored.

The secret has 256 random bits and cannot be guessed, so plain SHA-256 is as safe as a slow hash.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from stores.database import Document
from stores.security.access import Caller, Grant, Role

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


@dataclass(frozen=True)
class Key:
    """An API key without its secret. Times are in microseconds since the epoch.

    It ends at `expires_at`, set on creation, or at `revoked_at`, which lies in the future during a rotation.
    """

    id: str
    name: str | None
    grants: tuple[Grant, ...]
    created_at: int
    created_by: str
    expires_at: int | None = None
    revoked_at: int | None = None
    replaces: str | None = None
    """The id of the key that it replaces."""
    hash: bytes = field(default=b"", repr=False)

    @classmethod
    def from_document(cls, document: Document) -> "Key":
        """Create a key from its stored document."""
        grants = tuple(Grant(each["projects"], Role[each["role"].upper()]) for each in document["grants"])
        known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        return cls(**{"name": None, **known, "id": document["_id"], "grants": grants})

    def to_document(self) -> Document:
        """Return the document to store."""
        stored = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None}
        grants = [{"projects": grant.projects, "role": str(grant.role)} for grant in self.grants]
        return {"_id": stored.pop("id"), **stored, "grants": grants}

    @property
    def ends_at(self) -> int | None:
        """Time from which the key is invalid; None if open-ended."""
        return min((end for end in (self.expires_at, self.revoked_at) if end is not None), default=None)

    def is_live(self, now: int) -> bool:
        """True if the key is valid at `now`."""
        return self.ends_at is None or now < self.ends_at

    @cached_property
    def caller(self) -> Caller:
        """The caller that the key authenticates."""
        return Caller(self.id, self.grants)


@dataclass(frozen=True)
class MadeKey:
    """A new key with its text, which is returned only once."""

    key: Key
    text: str = field(repr=False)
