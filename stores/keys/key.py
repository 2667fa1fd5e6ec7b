"""An API key without its secret."""

from dataclasses import dataclass, field
from functools import cached_property

from stores.database import Document
from stores.security.access import Caller, Grant, Role


@dataclass(frozen=True)
class Key:
    """An API key. Times are in microseconds since the epoch.

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
        known = {name: document.get(name) for name in ("expires_at", "revoked_at", "replaces")}
        return cls(
            document["_id"],
            document.get("name"),
            grants,
            document["created_at"],
            document["created_by"],
            **known,
            hash=document["hash"],
        )

    def to_document(self) -> Document:
        """Return the document to store."""
        stored = {
            "_id": self.id,
            "name": self.name,
            "grants": [{"projects": grant.projects, "role": str(grant.role)} for grant in self.grants],
            "created_at": self.created_at,
            "created_by": self.created_by,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "replaces": self.replaces,
            "hash": self.hash,
        }
        return {name: value for name, value in stored.items() if value is not None}

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
