"""Sharded clusters: which collections are sharded, what is missing, and the user's rights."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from stores.database.shard_keys import SHARD_KEYS, SUPPORTING_INDEX, ShardKey
from stores.errors import StoreError

Client = MongoClient[dict[str, Any]]

UNAUTHORIZED: Final = 13
MANAGER: Final = "clusterManager"
"""MongoDB's role with the rights to shard collections."""

MONITOR: Final = "clusterMonitor"
"""MongoDB's role with the rights to read which collections are sharded, and to see all operations."""


class ShardingError(StoreError):
    """The cluster cannot be sharded or read; the message says what to change."""

    code = "BAD_USER_INPUT"


@dataclass(frozen=True)
class Need:
    """A collection that should be sharded, and what it lacks.

    Args:
        wanted: its shard key.
        lacks_index: True if no index supports the key.
        current: the key by which it is sharded; None if it is not.
    """

    wanted: ShardKey
    lacks_index: bool
    current: dict[str, Any] | None

    @property
    def is_met(self) -> bool:
        """True if nothing is left to do; a collection with another key stays as it is."""
        return self.has_other_key or not (self.current is None or self.lacks_index)

    @property
    def has_other_key(self) -> bool:
        """True if the collection is sharded by another key."""
        return self.current is not None and list(self.current.items()) != list(self.wanted.key.items())

    def apply(self, client: Client, database: str) -> None:
        """Build the index and shard the collection; what is done already costs nothing."""
        if self.lacks_index:
            client[database][self.wanted.collection].create_index(self.wanted.index_keys, name=SUPPORTING_INDEX)
        if self.current is None:
            client.admin.command("shardCollection", f"{database}.{self.wanted.collection}", key=self.wanted.key)

    def text(self) -> str:
        """Describe the state of the collection in one line."""
        key = keys_text(self.wanted.key)
        if self.has_other_key:
            return (
                f"stays sharded by {keys_text(self.current or {})}, not {key}: `loomql doctor` shows how to change it"
            )
        if self.is_met:
            return f"is sharded by {key}"
        index = f"index {keys_text(dict(self.wanted.index_keys))}" if self.lacks_index else ""
        return " and ".join(filter(None, [index, f"shard key {key}" if self.current is None else ""]))


def keys_text(key: dict[str, Any]) -> str:
    """Return a key as the MongoDB shell takes it."""
    return "{ " + ", ".join(f"{_name(path)}: {kind if kind == 1 else repr(kind)}" for path, kind in key.items()) + " }"


def _name(path: str) -> str:
    return path if path.isidentifier() else f'"{path}"'


def is_cluster(client: Client) -> bool:
    """Return True if the server is a router of a sharded cluster."""
    return client.admin.command("hello").get("msg") == "isdbgrid"


def sharded_collections(client: Client, database: str) -> dict[str, dict[str, Any]]:
    """Return the shard keys of the sharded collections of a database, by collection.

    Raises:
        ShardingError: the user may not read it.
    """
    # MongoDB 8 lists unsharded collections, too.
    match = {"_id": {"$regex": f"^{re.escape(database)}\\."}, "unsplittable": {"$ne": True}, "dropped": {"$ne": True}}
    with explained_rights(client, MONITOR):
        listed = client["config"]["collections"].find(match, {"key": 1}).to_list()
    return {each["_id"].removeprefix(f"{database}."): dict(each["key"]) for each in listed}


def needs(client: Client, database: str) -> Iterator[Need]:
    """Yield what each collection needs, in the order of `SHARD_KEYS`."""
    sharded = sharded_collections(client, database)
    for wanted in SHARD_KEYS:
        indexes = client[database][wanted.collection].list_indexes()
        is_supported = any(supports(index, wanted.index_keys) for index in indexes)
        yield Need(wanted, not is_supported, sharded.get(wanted.collection))


def supports(index: Mapping[str, Any], keys: Sequence[tuple[str, Any]]) -> bool:
    """Return True if an index begins with some keys and has all documents in their binary order."""
    is_partial = not index.keys().isdisjoint({"partialFilterExpression", "sparse", "collation"})
    return not is_partial and list(index["key"].items())[: len(keys)] == [*keys]


@contextmanager
def explained_rights(client: Client, role: str) -> Iterator[None]:
    """Translate a refusal for lack of rights in the block; `role` has them.

    Raises:
        ShardingError: it names the user and the command that grants the rights.
    """
    try:
        yield
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        user = User.of(client)
        verb = "read" if role == MONITOR else "change"
        raise ShardingError(
            f"the {user.text} may not {verb} how collections are sharded: in mongosh, "
            f"run {user.grant(role, 'admin')}, or set LOOMQL_MONGODB_URI to another user for this command"
        ) from error


@dataclass(frozen=True)
class User:
    """The authenticated user of a connection; `name` is empty if there is none, as without access control."""

    name: str
    database: str
    privileges: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, client: Client) -> Self:
        """Read the user of a client."""
        found = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
        user = next(iter(found["authenticatedUsers"]), {"user": "", "db": "admin"})
        return cls(user["user"], user["db"], found.get("authenticatedUserPrivileges", []))

    @property
    def text(self) -> str:
        """The user for messages."""
        return f"user {self.name!r}" if self.name else "connection without a user"

    def grant(self, role: str, database: str) -> str:
        """Return the MongoDB shell's command that grants a role on a database."""
        name = self.name or "USER"
        granted = f'[{{ role: "{role}", db: "{database}" }}]'
        return f'db.getSiblingDB("{self.database}").grantRolesToUser("{name}", {granted})'

    def create(self, role: str) -> str:
        """Return the MongoDB shell's command that creates this user on another server, with a role on `admin`."""
        # MongoDB keeps no password of a user that logs in by a certificate or by LDAP.
        password = "" if self.database == "$external" else "pwd: passwordPrompt(), "
        return (
            f'db.getSiblingDB("{self.database}").createUser({{ user: "{self.name or "USER"}", {password}'
            f'roles: [{{ role: "{role}", db: "admin" }}] }})'
        )

    def lacks(self, actions: Iterable[str], database: str | None = None) -> list[str]:
        """Return the actions that the user may not do in a whole database, or on the cluster."""
        if not self.name:
            return []
        allowed = {
            action for each in self.privileges if _covers(each["resource"], database) for action in each["actions"]
        }
        return [action for action in actions if not allowed & {action, "anyAction"}]


def _covers(resource: Mapping[str, Any], database: str | None) -> bool:
    if resource.get("anyResource"):
        return True
    if database is None:
        return bool(resource.get("cluster"))
    return resource.get("db") in {"", database} and resource.get("collection") == ""
