"""API keys and their store. Changes take effect in every process before they are confirmed: see `key_trusted_seconds`.

The text of a key is `loomql_<id>_<secret>`, of which only a hash is stored. The secret has 256 random bits and cannot
be guessed, so plain SHA-256 is as safe as a slow hash.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from stores import times
from stores.database import Database, Document, database_query, database_write
from stores.database.transactions import Session
from stores.errors import BadInputError, ConflictError, NotFoundError
from stores.security import audit
from stores.security.access import Caller, Grant, Role

PREFIX: Final = "loomql_"
"""Prefix of every key, by which people and secret scanners recognise one."""

_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


def new_id() -> str:
    """Create a random public id, which lists and revocations use."""
    return secrets.token_hex(_ID_BYTES)


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


MAX_KEYS: Final = 10_000
"""Maximum valid keys in one database: each process keeps all of them in memory."""

MAX_GRANTS: Final = 100
_MAX_NAME: Final = 200
_MARK: Final = "keys"


@dataclass(frozen=True, slots=True)
class LiveKeys:
    """The valid keys by id, as of a number of changes; from the first change on, keys are required."""

    change_number: int = 0
    by_id: dict[str, Key] = field(default_factory=dict)


class KeysStore:
    """API keys in MongoDB."""

    def __init__(self, database: Database, settle_seconds: float | None = None) -> None:
        self.database = database
        self._settle_seconds = database.timings.key_trusted_seconds if settle_seconds is None else settle_seconds

    async def create(self, grants: Iterable[Grant], name: str | None = None, expires_at: int | None = None) -> MadeKey:
        """Create a key.

        Raises:
            BadInputError: if there are no or too many grants, the name is too long, or the end is not in the future.
            ConflictError: if the maximum of keys is reached.
        """
        now = times.now()
        key = Key(new_id(), name, _check_grants(grants), now, audit.CALLER.get(), expires_at)
        if name is not None and not (0 < len(name) <= _MAX_NAME and name.isprintable()):
            raise BadInputError(f"the name of a key must have 1 to {_MAX_NAME} printable characters", "name")
        _check_end(expires_at, now)
        made = await self._insert(key)
        end = None if expires_at is None else times.to_text(expires_at)
        audit.record_action("key.create", None, id=key.id, name=name, grants=_texts(key.grants), expires_at=end)
        await self._wait_until_trusted()
        return made

    async def rotate(self, key_id: str, grace_seconds: float = 0, expires_at: int | None = None) -> MadeKey:
        """Replace a key by one with the same name and grants; the old one ends after `grace_seconds`.

        Without `expires_at` the new key gets the lifetime of the old one.

        Raises:
            NotFoundError: if there is no such key.
            BadInputError: if the old key has ended or was rotated already, or the new end is not in the future.
        """
        old = await self._find(key_id)
        now = times.now()
        if not old.is_live(now) or old.revoked_at is not None:
            raise await self._rotation_error(old.id)
        if expires_at is None and old.expires_at is not None:
            expires_at = min(now + old.expires_at - old.created_at, times.LAST)
        _check_end(expires_at, now)
        new = Key(new_id(), old.name, old.grants, now, audit.CALLER.get(), expires_at, replaces=old.id)
        grace = int(grace_seconds * times.SECOND)
        made = await self._insert(new, replace(old, revoked_at=min(now + grace, times.LAST)))
        audit.record_action(
            "key.rotate", None, id=old.id, by_id=new.id, grants=_texts(new.grants), grace_seconds=grace_seconds
        )
        await self._wait_until_trusted()
        return made

    async def revoke(self, key_id: str) -> Key:
        """End a key; when this returns, no server accepts it any more. A revoked key stays unchanged.

        Raises:
            NotFoundError: if there is no such key.
        """
        key, now = await self._find(key_id), times.now()
        if key.revoked_at is None or now < key.revoked_at:
            key = replace(key, revoked_at=now)
            await self._write(key)
            audit.record_action("key.revoke", None, id=key.id, name=key.name)
            await self._wait_until_trusted()
        return key

    @database_query
    async def all(self) -> list[Key]:
        """Return all keys, ended ones included, oldest first."""
        rows = self.database.api_keys.find(sort=[("created_at", 1), ("_id", 1)])
        return [Key.from_document(document) async for document in rows]

    @database_query
    async def change_number(self) -> int:
        """Return a number that grows with every change of keys."""
        rows = await self.database.control_client.find_all(self.database.api_key_changes.name, {"_id": _MARK}, 1)
        return rows[0]["number"] if rows else 0

    @database_query
    async def live_keys(self, change_number: int) -> LiveKeys:
        """Return all valid keys, as of `change_number` or later."""
        rows = await self.database.control_client.find_all(self.database.api_keys.name, _live(times.now()), MAX_KEYS)
        return LiveKeys(change_number, {document["_id"]: Key.from_document(document) for document in rows})

    @database_query
    async def _find(self, key_id: str) -> Key:
        document = await self.database.api_keys.find_one({"_id": key_id})
        if document is None:
            raise NotFoundError(f"key {key_id[:64]!r} does not exist", "id")
        return Key.from_document(document)

    @database_query
    async def _rotation_error(self, key_id: str | None) -> BadInputError:
        """Return the error of a rotation: the key has ended, or another replaced it."""
        new = await self.database.api_keys.find_one({"replaces": key_id}, {"_id": 1})
        if new is None:
            return BadInputError("the key has ended; create a new one instead", "id")
        return BadInputError(f"the key was already replaced by {new['_id']}; rotate that one", "id")

    async def _insert(self, key: Key, old: Key | None = None) -> MadeKey:
        text = f"{PREFIX}{key.id}_{secrets.token_hex(_SECRET_BYTES)}"
        if not await self._write(old, replace(key, hash=digest(text))):
            raise await self._rotation_error(key.replaces)  # another request rotated it after it was read
        return MadeKey(key, text)

    async def _wait_until_trusted(self) -> None:
        """Wait until all processes use the change; it is logged before."""
        await asyncio.sleep(self._settle_seconds)

    @database_write
    async def _write(self, ended: Key | None = None, made: Key | None = None) -> bool:
        """End a key and insert its replacement in one transaction; False, without a change, if it has a replacement."""
        keys, changes = self.database.api_keys, self.database.api_key_changes

        async def operation(session: Session) -> bool:
            if ended:
                match = {"_id": ended.id} | ({"revoked_at": None} if made else {})
                end = {"$set": {"revoked_at": ended.revoked_at}}
                if not (await keys.update_one(match, end, session=session)).matched_count:
                    return False
            if made:
                if await keys.count_documents(_live(times.now()), session=session) >= MAX_KEYS:
                    raise ConflictError(f"the maximum of {MAX_KEYS:,} keys is reached; revoke unused ones")
                await keys.insert_one(made.to_document(), session=session)
            await changes.update_one({"_id": _MARK}, {"$inc": {"number": 1}}, upsert=True, session=session)
            return True

        return await self.database.transaction(operation)


def _texts(grants: Iterable[Grant]) -> list[str]:
    return [f"{grant.role} in {grant.projects}" for grant in grants]


def _live(now: int) -> Document:
    return {"$and": [{"$or": [{end: None}, {end: {"$gt": now}}]} for end in ("expires_at", "revoked_at")]}


def _check_grants(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    unique: Sequence[Grant] = sorted(set(grants))
    if not unique or len(unique) > MAX_GRANTS:
        raise BadInputError(f"a key needs 1 to {MAX_GRANTS} grants, not {len(unique)}", "grants")
    return tuple(unique)


def _check_end(expires_at: int | None, now: int) -> None:
    if expires_at is not None and not now < expires_at <= times.LAST:
        raise BadInputError("a key must end in the future and before the year 10000", "expires_at")
