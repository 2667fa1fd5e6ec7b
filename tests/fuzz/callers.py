"""The callers of the fuzzer: with keys that grant much or little, with invalid keys, or without a key."""

import base64
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, Final, Self

from stores import times
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.fuzz import damage, texts
from tests.fuzz.second_caller import SECOND_PROJECT
from tests.fuzz.values import DEMO, OWN_PROJECTS

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATOR: Final = "operator"
WRITER: Final = "writer"
READER: Final = "reader"
EXPIRED: Final = "expired"
STRANGE: Final = "strange"
NOBODY: Final = "nobody"
SECOND: Final = "second"
"""Name of the second caller, whose answers are timed; the fuzzer itself never uses this key."""

_GRANTS: Final = {
    OPERATOR: [Grant("*", Role.ADMIN)],
    WRITER: [*(Grant(project, Role.WRITER) for project in OWN_PROJECTS), Grant(DEMO, Role.READER)],
    READER: [Grant(OWN_PROJECTS[0], Role.READER), Grant("demo/*", Role.READER)],
    EXPIRED: [Grant("*", Role.ADMIN)],
    SECOND: [Grant(SECOND_PROJECT, Role.READER)],
}
_READ: Final = {OPERATOR: ("*",), WRITER: (*OWN_PROJECTS, DEMO), READER: (OWN_PROJECTS[0], "demo/*")}
_WRITTEN: Final = {OPERATOR: ("*",), WRITER: OWN_PROJECTS}
"""Projects that each caller may change. `_GRANTS` is not the source of these tables, because they judge its effect."""

_WEIGHTS: Final = {OPERATOR: 50, WRITER: 25, READER: 15, EXPIRED: 1, STRANGE: 7, NOBODY: 2}
_STRANGE_INITS: Final = (
    "5", "[]", '""', "true", "{}", "null", '{"Authorization": 5}', '{"Authorization": null}', '{"apiKey": {"a": []}}',
    '{"apiKey": ""}', '{"apiKey": "\\u0000\\ud800"}', '{"authorization": ["Bearer x"]}', '{"Authorization": "Bearer"}',
    '{"headers": {"Authorization": "Bearer x"}}', '{"apiKey": 1e999}', '{"a": ' + "[" * 5000 + "]" * 5000 + "}",
)  # fmt: skip

Keys = dict[str, str]
"""Texts of keys, by the name of their owner."""


@dataclass(frozen=True)
class Caller:
    """A caller and the value of their `Authorization` header, which is None if they send none."""

    name: str
    authorization: str | None = None
    reads: tuple[str, ...] = ()
    """Patterns of the projects that the caller may read; empty if the server rejects the caller."""
    writes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, authorization: str, owner: str) -> Self:
        """Return a caller who sends the key of `owner`; an unknown owner grants nothing."""
        return cls(name, authorization, _READ.get(owner, ()), _WRITTEN.get(owner, ()))

    def may_read(self, project: str) -> bool:
        """Return whether the caller may read a project."""
        return any(fnmatchcase(project, pattern) for pattern in self.reads)

    def may_write(self, project: str) -> bool:
        """Return whether the caller may change a project."""
        return any(fnmatchcase(project, pattern) for pattern in self.writes)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The `Authorization` header as a tuple, empty if the caller sends none."""
        return () if self.authorization is None else (("Authorization", self.authorization),)


EVERYBODY: Final = Caller(NOBODY, reads=("*",), writes=("*",))
"""Any caller of a server without keys."""


async def make_keys(uri: str, name: str) -> Keys:
    """Create a key for each caller who has one, in a database that no server uses yet."""
    database = Database.open(uri, name)
    await database.ensure_indexes()
    store = KeysStore(database, settle_seconds=0)
    made = {caller: await store.create(grants, caller) for caller, grants in _GRANTS.items()}
    await database.api_keys.update_one({"_id": made[EXPIRED].key.id}, {"$set": {"expires_at": times.now() - 1}})
    database.close()
    return {caller: key.text for caller, key in made.items()}


def pick(random: Random, keys: Keys) -> Caller:
    """Pick a random caller, or `EVERYBODY` if the server has no keys."""
    if not keys:
        return EVERYBODY
    name = random.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
    if name == STRANGE:
        owner = random.choice((OPERATOR, READER))
        header = _strange(random, keys[owner])
        return Caller.of(name, header, owner if keys[owner] in header else STRANGE)
    if name == NOBODY:
        return Caller(name)
    return Caller.of(name, random.choice((bearer, bearer, bearer, basic))(keys[name]), name)


def operator(keys: Keys) -> Caller:
    """Return the caller who may do everything."""
    return Caller.of(OPERATOR, bearer(keys[OPERATOR]), OPERATOR) if keys else EVERYBODY


def second(keys: Keys) -> Caller:
    return Caller(SECOND, bearer(keys[SECOND])) if keys else EVERYBODY


def bearer(key: str) -> str:
    """Return the usual header value for a key."""
    return f"Bearer {key}"


def basic(key: str) -> str:
    """Return the header value that the Weave SDK sends: the key as the password of a user."""
    return f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}"


def _strange(random: Random, key: str) -> str:
    ways: tuple[Callable[[], str], ...] = (
        lambda: f"Token {key}",
        lambda: key,
        lambda: f"Bearer  {key}",
        lambda: f"Bearer {damage.of_text(random, key)}",
        lambda: f"Bearer loomql_{random.randbytes(8).hex()}_{random.randbytes(32).hex()}",
        lambda: f"Bearer {key}, Bearer {key}",
        lambda: (
            f"Basic {random.choice(('', '!', 'YQ', 'YTo=', '////', base64.b64encode(random.randbytes(40)).decode()))}"
        ),
        lambda: f"{random.choice(('Bearer', 'Basic', ''))} {random.choice(texts.HOSTILE)}",
        lambda: f"Bearer {random.randbytes(20).decode('latin-1')}",
        lambda: f"Bearer {'x' * 20_000}",
        lambda: "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.",
    )
    # A line break would end the header, and the rest of the text would be another header.
    return random.choice(ways)().replace("\r", "").replace("\n", "")


def init(random: Random, caller: Caller) -> str:
    """Return the first message of a WebSocket, which carries the caller's key."""
    if caller.name == STRANGE and random.random() < 0.7:
        payload = random.choice(_STRANGE_INITS)
    elif caller.authorization is None:
        return '{"type": "connection_init"}'
    elif caller.authorization.startswith("Bearer ") and random.random() < 0.5:
        payload = json.dumps({"apiKey": caller.authorization.removeprefix("Bearer ")})
    else:
        payload = json.dumps({random.choice(("Authorization", "authorization")): caller.authorization})
    return f'{{"type": "connection_init", "payload": {payload}}}'
