"""The store of keys. What it answers is so in every process: see `TRUSTED_SECONDS`."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from stores import times
from stores.database import Database, Document, database_query, database_write
from stores.database.transactions import Session
from stores.errors import BadInputError, ConflictError, NotFoundError
from stores.keys.key import Key, MadeKey
from stores.keys.key_text import digest, new_id, new_key
from stores.security import audit
from stores.security.access import Grant

TRUSTED_SECONDS: Final = 1.0
"""How long a process may go by what it read of the keys, from before it read it.

Who changes keys waits for as long before it answers: by then nobody goes by what was before.
"""

MAX_KEYS: Final = 10_000
"""Keys that let anybody in, in one database: each process has all of them in memory."""

MAX_GRANTS: Final = 100
_MAX_NAME: Final = 200
_MARK: Final = "keys"


@dataclass(frozen=True, slots=True)
class LiveKeys:
    """The keys that let anybody in, by id, as they were at a mark; `ever` says whether there ever was a key."""

    mark: int = 0
    by_id: dict[str, Key] = field(default_factory=dict)

    @property
    def ever(self) -> bool:
        """Whether there ever was a key; from the first on they are required."""
        return self.mark > 0


class KeysStore:
    """Keys in MongoDB."""

    def __init__(self, database: Database, settle_seconds: float = TRUSTED_SECONDS) -> None:
        self.database = database
        self._settle_seconds = settle_seconds

    async def create(self, grants: Iterable[Grant], name: str | None = None, expires_at: int | None = None) -> MadeKey:
        """Make a key.

        Raises:
            BadInputError: there are no grants or too many, the name is too long, or its end is none to come.
            ConflictError: there are as many keys as there may be.
        """
        now = times.now()
        key = Key(new_id(), name, _checked(grants), now, audit.CALLER.get(), expires_at)
        _check_name(name)
        _check_end(expires_at, now)
        made = await self._keep(key)
        audit.record_action(
            "key.create", None, id=key.id, name=name, grants=_written(key.grants), expires_at=_moment(expires_at)
        )
        await self._settle()
        return made

    async def rotate(self, key_id: str, grace_seconds: float = 0, expires_at: int | None = None) -> MadeKey:
        """Make a key in the place of another, with the same name and grants, and end the other after a while.

        Without an end of its own it lasts as long as the other was made for.

        Raises:
            NotFoundError: there is no such key.
            BadInputError: the other has ended, or was rotated already, or the new one's end is none to come.
        """
        old = await self._one(key_id)
        now = times.now()
        if not old.is_live(now) or old.revoked_at is not None:
            raise await self._over(old.id)
        if expires_at is None and old.expires_at is not None:
            expires_at = min(now + old.expires_at - old.created_at, times.LAST)
        _check_end(expires_at, now)
        new = Key(new_id(), old.name, old.grants, now, audit.CALLER.get(), expires_at, replaces=old.id)
        grace = int(grace_seconds * times.SECOND)
        made = await self._keep(new, replace(old, revoked_at=min(now + grace, times.LAST)))
        audit.record_action(
            "key.rotate", None, id=old.id, by_id=new.id, grants=_written(new.grants), grace_seconds=grace_seconds
        )
        await self._settle()
        return made

    async def revoke(self, key_id: str) -> Key:
        """End a key; nobody comes in with it any more when this answers. One that is revoked stays as it is.

        Raises:
            NotFoundError: there is no such key.
        """
        key, now = await self._one(key_id), times.now()
        if key.revoked_at is None or now < key.revoked_at:
            key = replace(key, revoked_at=now)
            await self._write(key)
            audit.record_action("key.revoke", None, id=key.id, name=key.name)
            await self._settle()
        return key

    @database_query
    async def all(self) -> list[Key]:
        """All keys, those that have ended among them, the oldest first."""
        found = self.database.api_keys.find(sort=[("created_at", 1), ("_id", 1)])
        return [Key.of(document) async for document in found]

    @database_query
    async def mark(self) -> int:
        """A number that is another after every change."""
        found = await self.database.aside.find_all(self.database.api_key_changes.name, {"_id": _MARK}, 1)
        return found[0]["number"] if found else 0

    @database_query
    async def known(self, mark: int) -> LiveKeys:
        """All keys that let anybody in now, as they are at a mark or later."""
        found = await self.database.aside.find_all(self.database.api_keys.name, _live(times.now()), MAX_KEYS)
        return LiveKeys(mark, {document["_id"]: Key.of(document) for document in found})

    @database_query
    async def _one(self, key_id: str) -> Key:
        document = await self.database.api_keys.find_one({"_id": key_id})
        if document is None:
            raise NotFoundError(f"there is no key {key_id[:64]!r}", "id")
        return Key.of(document)

    @database_query
    async def _over(self, key_id: str | None) -> BadInputError:
        """Why a key is not rotated: it has ended, or another is in its place."""
        new = await self.database.api_keys.find_one({"replaces": key_id}, {"_id": 1})
        if new is None:
            return BadInputError("the key has ended; make a new one instead", "id")
        return BadInputError(f"the key was rotated already, and {new['_id']} is in its place; rotate that one", "id")

    async def _keep(self, key: Key, old: Key | None = None) -> MadeKey:
        text = new_key(key.id)
        if not await self._write(old, replace(key, hash=digest(text))):
            raise await self._over(key.replaces)  # by somebody else, since it was read
        return MadeKey(key, text)

    async def _settle(self) -> None:
        """Wait until all processes go by what was changed; that it was is told before."""
        await asyncio.sleep(self._settle_seconds)

    @database_write
    async def _write(self, ended: Key | None = None, made: Key | None = None) -> bool:
        """End a key, and make the one in its place, all at once with the mark; False, and nothing, if it has one."""
        keys, changes = self.database.api_keys, self.database.api_key_changes

        async def work(session: Session) -> bool:
            if ended:
                match = {"_id": ended.id} | ({"revoked_at": None} if made else {})
                end = {"$set": {"revoked_at": ended.revoked_at}}
                if not (await keys.update_one(match, end, session=session)).matched_count:
                    return False
            if made:
                if await keys.count_documents(_live(times.now()), session=session) >= MAX_KEYS:
                    raise ConflictError(f"there are {MAX_KEYS:,} keys already; revoke those that nobody needs")
                await keys.insert_one(made.document(), session=session)
            await changes.update_one({"_id": _MARK}, {"$inc": {"number": 1}}, upsert=True, session=session)
            return True

        return await self.database.transaction(work)


def _written(grants: Iterable[Grant]) -> list[str]:
    return [f"{grant.role} in {grant.projects}" for grant in grants]


def _moment(micros: int | None) -> str | None:
    return None if micros is None else times.to_text(micros)


def _live(now: int) -> Document:
    return {"$and": [{"$or": [{end: None}, {end: {"$gt": now}}]} for end in ("expires_at", "revoked_at")]}


def _checked(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    found: Sequence[Grant] = sorted(set(grants))
    if not found or len(found) > MAX_GRANTS:
        raise BadInputError(f"a key takes 1 to {MAX_GRANTS} grants, not {len(found)}", "grants")
    return tuple(found)


def _check_name(name: str | None) -> None:
    if name is not None and not (0 < len(name) <= _MAX_NAME and name.isprintable()):
        raise BadInputError(f"the name of a key must be 1 to {_MAX_NAME} printable characters", "name")


def _check_end(expires_at: int | None, now: int) -> None:
    if expires_at is not None and not now < expires_at <= times.LAST:
        raise BadInputError("a key must end at a time to come, and before the year 10000", "expires_at")
