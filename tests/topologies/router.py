"""A stand-in for mongos, which no package on PyPI carries.

It speaks MongoDB's wire protocol to clients, and sends each command on to a shard of MongoDB 6.0 or 7.0. A shard knows
the router's commands under other names, because it routes itself where it asks other shards: `clusterFind` and the
others of CLUSTER_COMMANDS.

By MongoDB's own code run, outside transactions: find, aggregate, getMore, writes that are not retryable and, on 6.0,
their explain, with the shards that they reach, the merge of results, and all that a router refuses. Its own are also
the two-phase commit, `shardCollection`, splits, moves of ranges, and drops.

By the code below run, so look here first if a test fails only on the cluster:

- Change streams: one cursor per shard, merged in the order of their resume tokens.
- Statements of a transaction: `Chunks` chooses their shards, from a table up to a second old. They have its version, so
  that a shard refuses an old one and leaves out what it does not own. An aggregation that concerns several shards runs
  outside the transaction and does not see its writes.
- `Chunks` also chooses the shards of a retryable write. The shards get the number of each statement, and so do none
  twice. A statement by `_id` alone goes to all shards; if its document has moved, a repetition counts it twice. A write
  with a statement that a router refuses does nothing.
- Outside transactions, findAndModify asks one shard, by its query. A count or distinct runs as an aggregation.
- On 7.0, each shard explains a find, or an aggregation up to its first join, and the plans are put together.
- Index commands go to every shard of the collection, killSessions to all shards; a command that is not named here goes
  to the primary shard of its database as it is.
- The cluster time is the latest that this router has seen. A snapshot without a time gets that one.
- If the primary of a shard goes, reads and retryable writes are repeated. Other writes fail as unreachable, with the
  labels of mongos. The next command waits for another primary. An end of a transaction that another router began goes
  to the shard that knows its outcome.
- There are no authentication, TLS and compression.
"""

import argparse
import hashlib
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import bson
from bson import CodecOptions, DatetimeMS, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

Document = dict[str, Any]

CLUSTER_COMMANDS: Final = {
    "find": "clusterFind",
    "aggregate": "clusterAggregate",
    "getMore": "clusterGetMore",
    "insert": "clusterInsert",
    "update": "clusterUpdate",
    "delete": "clusterDelete",
}
"""The names that a shard has for the router's commands."""

_STATEMENTS: Final = {"insert": "documents", "update": "updates", "delete": "deletes"}
_WRITES: Final = tuple(_STATEMENTS)
_ONCE: Final = ("autocommit", "getMore", *_WRITES)
"""Names in commands that a router does not repeat if the primary of a shard goes, unless they are retryable writes."""

_HISTORY: Final = "minSnapshotHistoryWindowInSeconds"
_STALE: Final = (13388, 249, 150, 63)
"""Error codes of a routing table that is out of date; a router then reads it again and repeats the command."""

_ATTEMPTS: Final = 8
_REPEATS: Final = 3
"""Number of times that a router repeats a retryable write whose primary went, or of which no majority is known."""
_PRIMARY_SECONDS: Final = 20.0
_HELLO_SECONDS: Final = 1.0
"""Less than the time for which LoomQL waits for a new connection, since the hello of a client asks a shard."""
_NO_PRIMARY: Final = frozenset({91, 189, 10107, 11600, 11602, 13435, 13436})
"""Error codes of a member that is not the primary (any more)."""
_REFUSED: Final = frozenset({10107, 13435})
"""Those of a member that did not begin the command."""

_UNSHARDED: Final = {"e": ObjectId(bytes(12)), "t": Timestamp(0, 0), "v": Timestamp(0, 0)}
"""Version of a collection that is not sharded; a shard refuses it once the collection is."""

_UNREACHABLE: Final = 6
_NO_TRANSACTION: Final = 251
_NOT_SUPPORTED: Final = 115
_JOINING: Final = frozenset({"$lookup", "$graphLookup", "$unionWith"})
_TOTALS: Final = ("nReturned", "totalKeysExamined", "totalDocsExamined")
"""Numbers in a plan that a router adds up."""

_TRANSIENT: Final = "TransientTransactionError"
_RETRYABLE: Final = "RetryableWriteError"
_NOT_YET: Final = (117, 194)
"""Error codes of a config server that moves another range, or has just started."""

_MOVE_SECONDS: Final = 30
_TABLE_SECONDS: Final = 1.0
_WHOLE: Final = 1_000_000
"""Batch size for all documents that one reply can have."""

_MAJORITY: Final = {"w": "majority", "wtimeout": 60_000}
_RAW: Final = CodecOptions(RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS)
_MESSAGE, _QUERY, _REPLY = 2013, 2004, 1


# --- messages --------------------------------------------------------------------------------------------------------


def _read(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        part = connection.recv(min(size - len(content), 1 << 20))
        if not part:
            raise EOFError
        content += part
    return bytes(content)


def _read_message(connection: socket.socket) -> tuple[int, int, bytes]:
    """Return the id, the kind and the content of the next message."""
    size, identity, _, kind = struct.unpack("<iiii", _read(connection, 16))
    return identity, kind, _read(connection, size - 16)


def _message(body: Mapping[str, Any], identity: int, answers: int = 0) -> bytes:
    # All writes of a command may be larger than one document.
    sections = {name: body[name] for name in _STATEMENTS.values() if name in body}
    others = {name: value for name, value in body.items() if name not in sections}
    content = b"\0\0\0\0\0" + bson.encode(others, codec_options=_RAW)
    for name, documents in sections.items():
        part = name.encode() + b"\0" + b"".join(bson.encode(each, codec_options=_RAW) for each in documents)
        content += struct.pack("<Bi", 1, 4 + len(part)) + part
    return struct.pack("<iiii", 16 + len(content), identity, answers, _MESSAGE) + content


def _command(content: bytes) -> Document:
    """Return the command of a message; its documents stay as they are, and separate sections become its arrays."""
    body: Document = {}
    position, end = 4, len(content) - (4 if content[0] & 1 else 0)
    while position < end:
        (size,) = struct.unpack_from("<i", content, position + 1)
        part = content[position + 1 : position + 1 + size]
        if content[position] == 0:
            body |= bson.decode(part, _RAW)
        else:
            name = part[4 : part.index(b"\0", 4)]
            body[name.decode()] = bson.decode_all(part[5 + len(name) :], _RAW)
        position += 1 + size
    return body


def _error(code: int, text: str, *labels: str) -> Document:
    return {"ok": 0.0, "errmsg": text, "code": code, "errorLabels": [*labels]}


class ShardLostError(Exception):
    """A shard has no primary, or its primary went away during a command."""

    def __init__(self, *, is_refused: bool = False) -> None:
        super().__init__()
        self.is_refused = is_refused
        """Whether the server did not begin the command."""


class Link:
    """A connection to a server, with the metadata of the client that it works for."""

    def __init__(self, address: str, clock: "Clock", client: object = None) -> None:
        host, _, port = address.rpartition(":")
        self._clock = clock
        self._socket = socket.create_connection((host, int(port)), _HELLO_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = self.ask({"hello": 1, **({"client": client} if client else {}), "$db": "admin"})
        self._socket.settimeout(None)
        self.number = hello["connectionId"]
        self.is_to_primary = bool(hello.get("isWritablePrimary"))

    def ask(self, body: Document) -> Document:
        """Send a command and return the reply.

        Raises:
            ShardLostError: if the server went away, or is not the primary any more.
        """
        try:
            self._socket.sendall(_message(self._clock.told_to(body), 1))
            reply = dict(bson.decode(_read_message(self._socket)[2][5:], _RAW))
        except (EOFError, OSError) as error:
            self.close()
            raise ShardLostError from error
        self._clock.hear(reply)
        if reply.get("code") in _NO_PRIMARY:
            self.close()
            raise ShardLostError(is_refused=reply["code"] in _REFUSED)
        return reply

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it since the last command."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class Clock:
    """The newest cluster time in any reply that this router got."""

    def __init__(self, message: Document) -> None:
        self._latest = message["$clusterTime"]

    @property
    def now(self) -> Timestamp:
        """The time."""
        time: Timestamp = self._latest["clusterTime"]
        return time

    def hear(self, message: Document) -> None:
        """Take over the time of a message if it is later."""
        heard = message.get("$clusterTime")
        if heard and heard["clusterTime"] > self.now:
            self._latest = heard

    def told_to(self, command: Document) -> Document:
        """Return a command with the time, and with the time of its snapshot if it wants one."""
        concern = command.get("readConcern")
        if concern and concern.get("level") == "snapshot" and "atClusterTime" not in concern:
            concern = dict(concern)
            concern["atClusterTime"] = max(self.now, concern.pop("afterClusterTime", self.now))
            command = command | {"readConcern": concern}
        return command | {"$clusterTime": self._latest}


# --- where documents are ---------------------------------------------------------------------------------------------


_RANKS: Final[Sequence[tuple[type | tuple[type, ...], Callable[[Any], tuple[Any, ...]]]]] = (
    (MinKey, lambda _: (0,)),
    (type(None), lambda _: (1,)),
    (bool, lambda value: (8, value)),
    ((int, float), lambda value: (2, value)),
    (str, lambda value: (3, value.encode())),
    (list, lambda value: (5, *map(rank, value))),
    (bytes, lambda value: (6, len(value), bytes(value))),
    (ObjectId, lambda value: (7, value.binary)),
    (DatetimeMS, lambda value: (9, int(value))),
    (MaxKey, lambda _: (99,)),
)


def rank(value: Any) -> tuple[Any, ...]:
    """Return a key that sorts values as MongoDB does."""
    for kind, key in _RANKS:
        if isinstance(value, kind):
            return key(value)
    raise NotImplementedError(f"the order of {type(value)}")


def hashed(value: object) -> int:
    """Hash a string, a whole number or null as a hashed index does."""
    content = b""
    if isinstance(value, str):
        text = value.encode() + b"\0"
        content = struct.pack("<ii", 15, len(text)) + text
    elif isinstance(value, int) and not isinstance(value, bool):
        content = struct.pack("<iq", 10, value)
    elif value is None:
        content = struct.pack("<i", 5)
    else:
        raise NotImplementedError(f"the hash of {type(value)}")
    # A seed of 0 comes first.
    digest = hashlib.md5(bytes(4) + content, usedforsecurity=False).digest()
    number: int = struct.unpack("<q", digest[:8])[0]
    return number


class Chunks:
    """The ranges of a sharded collection, and the shards that have them."""

    def __init__(self, collection: Mapping[str, Any], chunks: Sequence[Mapping[str, Any]]) -> None:
        self._key: Mapping[str, Any] = collection["key"]
        self.shards = sorted({chunk["shard"] for chunk in chunks})
        self._newest: dict[str, Timestamp] = {}
        for chunk in chunks:
            self._newest[chunk["shard"]] = max(chunk["lastmod"], self._newest.get(chunk["shard"], chunk["lastmod"]))
        self._of_all = {"e": collection["lastmodEpoch"], "t": collection["timestamp"]}
        self._ranges = [(self._place(chunk["min"]), self._place(chunk["max"]), chunk["shard"]) for chunk in chunks]

    @staticmethod
    def _place(bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return [rank(value) for value in bound.values()]

    def version(self, shard: str) -> Document:
        """Return the version of a shard's ranges, with which it leaves out what it does not own; it refuses others."""
        return {"shardVersion": {**self._of_all, "v": self._newest[shard]}}

    def shard_of(self, document: Mapping[str, Any]) -> str:
        """Return the shard that a new document belongs to."""
        return self.shards_of({name: _at(document, name) for name in self._key})[0]

    def shards_of(self, match: Mapping[str, Any]) -> list[str]:
        """Return the shards that may have what a filter matches, by the values that it gives the first of the key."""
        given: list[list[tuple[Any, ...]]] = []
        for name, kind in self._key.items():
            values = _given(match, name)
            if values is None:
                break
            given.append([rank(hashed(value) if kind == "hashed" else value) for value in values])
        rest = len(self._key) - len(given)
        found = set()
        for start in itertools.product(*given):
            first, last = [*start, *[rank(MinKey())] * rest], [*start, *[rank(MaxKey())] * rest]
            found |= {shard for low, high, shard in self._ranges if low <= last and first < high}
        return sorted(found)

    def shards_of_write(self, name: str, statement: Mapping[str, Any]) -> list[str]:
        """Return the shards that a statement of an insert, update or delete concerns."""
        return [self.shard_of(statement)] if name == "insert" else self.shards_of(statement["q"])

    def refusal(self, name: str, statement: Mapping[str, Any]) -> Document | None:
        """Return the error of an update or delete of one document that a router cannot find by the filter."""
        match, is_multi = statement["q"], statement.get("multi") or statement.get("limit") == 0
        if statement.get("upsert") and not self.is_one_document(match):
            return _error(61, "Failed to target upsert by query :: could not extract exact shard key")
        if not is_multi and len(self.shards_of(match)) > 1 and len(_given(match, "_id") or ()) != 1:
            return _error(72 if name == "update" else 61, f"a single {name} must give _id or the shard key")
        return None

    def is_one_document(self, match: Mapping[str, Any]) -> bool:
        """Return whether a filter gives one value to each field of the key."""
        return all(len(_given(match, name) or ()) == 1 for name in self._key)


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _given(match: Mapping[str, Any], name: str) -> list[Any] | None:
    """Return the values of a field that a filter allows, or None if it allows others, too."""
    for path, value in match.items():
        if path == "$and":
            for part in value:
                if (values := _given(part, name)) is not None:
                    return values
        if path != name:
            continue
        if not isinstance(value, Mapping):
            return [value]
        if "$eq" in value:
            return [value["$eq"]]
        if "$in" in value:
            return list(value["$in"])
    return None


class Router:
    """What all connections to one router share."""

    def __init__(self, config: str, through: str) -> None:
        self._client = MongoClient[Document](f"mongodb://{config}/?directConnection=true")
        options = CodecOptions[Document](datetime_conversion=_RAW.datetime_conversion)
        self._config = self._client["config"].with_options(options)
        self.clock = Clock(self._client.admin.command("ping"))
        found = self._config["shards"].find(sort=[("_id", 1)])
        self.shards = {shard["_id"]: shard["host"].partition("/")[2].split(",") for shard in found}
        self.through = through
        self.wire_version = self._client.admin.command("hello")["maxWireVersion"]
        self.streams: dict[int, Stream] = {}
        self.transactions: dict[bytes, Transaction] = {}
        self._chunks: dict[str, tuple[float, Chunks | None]] = {}

    def chunks(self, namespace: str) -> Chunks | None:
        """Return where a collection's documents are, or None if it is not sharded."""
        at, known = self._chunks.get(namespace, (0.0, None))
        if not at or time.monotonic() - at > _TABLE_SECONDS:
            collection = self._config["collections"].find_one({"_id": namespace})
            known = None
            if collection:
                known = Chunks(collection, self._config["chunks"].find({"uuid": collection["uuid"]}).to_list())
            self._chunks[namespace] = time.monotonic(), known
        return known

    def forget_chunks(self) -> None:
        """Read the ranges anew before their next use."""
        self._chunks.clear()

    def link(self, shard: str, client: object, seconds: float = _PRIMARY_SECONDS) -> Link:
        """Connect to the primary of a shard; wait for one if there is none.

        Raises:
            ShardLostError: if there is none after some seconds.
        """
        deadline = time.monotonic() + seconds
        while True:
            for host in self.shards[shard]:
                with suppress(OSError, ShardLostError):
                    link = Link(host, self.clock, client)
                    if link.is_to_primary:
                        self.shards[shard] = sorted(self.shards[shard], key=host.__ne__)  # the next one asks it first
                        return link
                    link.close()
            if time.monotonic() > deadline:
                raise ShardLostError
            time.sleep(0.1)

    def database(self, name: str) -> Document | None:
        """Return the config server's entry of a database."""
        return self._config["databases"].find_one({"_id": name})

    def primary(self, name: str, *, create: bool = False, on: str | None = None) -> str:
        """Return the shard of a database's unsharded collections; `create` the database if it does not exist.

        MongoDB chooses the shard of a new database, unless it is to be `on` a given one.
        """
        if name in ("admin", "config", "local"):
            return self.through
        found = self.database(name)
        if not found and create:
            order = {"_configsvrCreateDatabase": name, "writeConcern": _MAJORITY}
            self._client.admin.command(order | ({"primaryShardId": on} if on else {}))
            found = self.database(name)
        return found["primary"] if found else self.through

    def version(self, database: str, chunks: Chunks | None, shard: str) -> Document:
        """Return what a command must name so that a shard refuses it if this router's table is out of date."""
        if chunks:
            return chunks.version(shard)
        found = self.database(database)
        return {"shardVersion": _UNSHARDED, "databaseVersion": found["version"]} if found else {}

    def administer(self, name: str, body: Document, link: "Session") -> Document:
        """Do a command that changes where documents are."""
        namespace: str = body[name]
        database, _, collection = namespace.partition(".")
        self.forget_chunks()
        if name == "enableSharding":
            self.primary(namespace, create=True, on=body.get("primaryShard"))
            return {"ok": 1.0}
        if name == "shardCollection":
            primary = self.primary(database, create=True)
            order = {"_shardsvrCreateCollection": collection, "shardKey": body["key"], "unique": body.get("unique")}
            order["unique"] = bool(body.get("unique"))
            order |= {"databaseVersion": (self.database(database) or {})["version"], "writeConcern": _MAJORITY}
            return link.ask(primary, order | {"$db": database})
        found = self._config["collections"].find_one({"_id": namespace})
        if not found:
            return _error(118, f"{namespace} is not sharded")
        place = body["middle"] if name == "split" else body.get("min") or body["find"]
        chunk = self._chunk_at(found, place)
        if name == "split":
            order = {"splitChunk": namespace, "from": chunk["shard"], "keyPattern": found["key"]}
            order |= {"epoch": found["lastmodEpoch"], "timestamp": found["timestamp"], "splitKeys": [body["middle"]]}
            return link.ask(chunk["shard"], order | {"min": chunk["min"], "max": chunk["max"], "$db": "admin"})
        order = {"_configsvrMoveRange": namespace, "toShard": body.get("toShard") or body["to"], "min": chunk["min"]}
        waits = bool(body.get("waitForDelete") or body.get("_waitForDelete"))
        order |= {"max": body.get("max") or chunk["max"], "waitForDelete": waits, "writeConcern": _MAJORITY}
        deadline = time.monotonic() + _MOVE_SECONDS
        while True:
            try:
                return self._client.admin.command(order)
            except OperationFailure as error:
                if error.code not in _NOT_YET or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def _chunk_at(self, collection: Document, place: Mapping[str, Any]) -> Document:
        at = Chunks._place(place)
        for chunk in self._config["chunks"].find({"uuid": collection["uuid"]}):
            if Chunks._place(chunk["min"]) <= at < Chunks._place(chunk["max"]):
                return chunk
        raise ValueError(f"no chunk has {place}")

    def listed(self) -> list[Document]:
        """Return the shards."""
        return self._config["shards"].find().to_list()


# --- change streams --------------------------------------------------------------------------------------------------


class Stream:
    """A change stream on every shard; it hands out an event once no shard can have an earlier one."""

    _ids = itertools.count(1 << 60)

    def __init__(self, router: Router, body: Document, client: object) -> None:
        self.id = next(self._ids)
        self._database = body["$db"]
        self._links = {shard: router.link(shard, client) for shard in router.shards}
        self._cursors: dict[str, Document] = {}
        self._events: list[tuple[str, Mapping[str, Any]]] = []
        self.failure: Document | None = None
        options = dict(body["pipeline"][0]["$changeStream"])
        token = (options.get("resumeAfter") or options.get("startAfter") or {"_data": ""})["_data"]
        self._start = token if re.match("82[0-9A-F]{16}", token) else ""
        if self._start:
            # A shard refuses the token of another shard's event. Its first digits are the time of the event.
            options = {key: value for key, value in options.items() if key not in ("resumeAfter", "startAfter")}
            options["startAtOperationTime"] = Timestamp(int(token[2:10], 16), int(token[10:18], 16))
        elif not token and "startAtOperationTime" not in options:
            options["startAtOperationTime"] = Timestamp(router.clock.now.time, router.clock.now.inc + 1)
        command = body | {"pipeline": [{"$changeStream": options}, *body["pipeline"][1:]]}
        for shard, link in self._links.items():
            self._take(shard, link.ask(command), "firstBatch")

    def _take(self, shard: str, reply: Document, batch: str) -> None:
        if reply["ok"] != 1.0:
            self.failure = reply
            return
        self._cursors[shard] = reply["cursor"]
        events = [(event["_id"]["_data"], event) for event in reply["cursor"][batch]]
        self._events += [(token, event) for token, event in events if token > self._start]

    def batch(self, name: str) -> Document:
        """Return a reply with all events that every shard is past."""
        if self.failure:
            return self.failure
        past = min(cursor["postBatchResumeToken"]["_data"] for cursor in self._cursors.values())
        self._events.sort(key=lambda event: event[0])
        ready = [event for token, event in self._events if token <= past]
        self._events = self._events[len(ready) :]
        namespace = next(iter(self._cursors.values()))["ns"]
        cursor = {
            name: ready,
            "id": Int64(self.id),
            "ns": namespace,
            "postBatchResumeToken": {"_data": max(past, self._start)},
        }
        return {"cursor": cursor, "ok": 1.0}

    def more(self, body: Document) -> Document:
        """Wait for events as long as the client wants."""
        deadline = time.monotonic() + body.get("maxTimeMS", 1000) / 1000
        while True:
            for shard, link in self._links.items():
                of = {"getMore": self._cursors[shard]["id"], "collection": body["collection"], "maxTimeMS": 10}
                of |= {name: body[name] for name in ("lsid", "batchSize") if name in body} | {"$db": self._database}
                try:
                    self._take(shard, link.ask(of), "nextBatch")
                except ShardLostError:
                    self.failure = _error(_UNREACHABLE, f"{shard} went away", "ResumableChangeStreamError")
                if self.failure:
                    return self.failure
            reply = self.batch("nextBatch")
            if reply["cursor"]["nextBatch"] or time.monotonic() > deadline:
                return reply
            time.sleep(0.02)

    def close(self) -> None:
        """Close the connections, by which the shards close the cursors."""
        for link in self._links.values():
            link.close()


# --- transactions ----------------------------------------------------------------------------------------------------


class Transaction:
    """The shards of a transaction: the first one coordinates its commit."""

    def __init__(self, session: "Session", start: Document) -> None:
        self.number = start["txnNumber"]
        self._concern = session.router.clock.told_to(start).get("readConcern")
        self._shards: list[str] = []
        self._writers: list[str] = []
        self._cursors: dict[int, str] = {}
        self._is_begun_here = bool(start.get("startTransaction"))

    def run(self, session: "Session", name: str, body: Document) -> Document:
        """Do a statement on the shards that it concerns; tell in the reply which shard knows the outcome."""
        reply = self._run(session, name, body)
        knowing = [*self._writers, *self._shards]
        return reply | ({"recoveryToken": {"recoveryShardId": knowing[0]}} if knowing else {})

    def _run(self, session: "Session", name: str, body: Document) -> Document:
        router = session.router
        body = {option: value for option, value in body.items() if option not in ("startTransaction", "readConcern")}
        if name in ("commitTransaction", "abortTransaction"):
            return self._end(session, name, body)
        if not self._is_begun_here:  # the driver chose this router for a transaction that another one had begun
            return _error(_NO_TRANSACTION, "this router knows no such transaction", _TRANSIENT)
        database = body["$db"]
        primary = router.primary(database, create=name in _WRITES)
        if name == "getMore":
            return self._ask(session, self._cursors.get(body["getMore"], primary), body)
        lookups = [stage["$lookup"] for stage in body.get("pipeline", ()) if "$lookup" in stage]
        if any(router.chunks(f"{database}.{lookup.get('from')}") for lookup in lookups):
            return _error(28769, "$lookup of a sharded collection within a transaction")
        chunks = router.chunks(f"{database}.{body[name]}") if isinstance(body[name], str) else None
        if not chunks:
            return self._ask(session, primary, body, router.version(database, None, primary))
        match name:
            case "insert" | "update" | "delete":
                return self._write(session, name, body, chunks)
            case "find":
                return self._find(session, body, chunks)
            case "aggregate":
                return self._aggregate(session, body, chunks)
        shard = chunks.shards_of(body["query"])[0]
        return self._ask(session, shard, body, chunks.version(shard))  # findAndModify

    def _ask(self, session: "Session", shard: str, body: Document, version: Document | None = None) -> Document:
        body = body | (version or {})
        if shard not in self._shards:
            body = body | {"startTransaction": True}
            body |= {"readConcern": self._concern} if self._concern else {}
            body |= {} if self._shards else {"coordinator": True}
            self._shards.append(shard)
        reply = session.ask(shard, body)
        if reply.get("code") in _STALE:
            session.router.forget_chunks()
        if not reply.pop("readOnly", False) and shard not in self._writers:
            self._writers.append(shard)
        if "cursor" in reply:
            self._cursors[reply["cursor"]["id"]] = shard
        return reply

    def _write(self, session: "Session", name: str, body: Document, chunks: Chunks) -> Document:
        statements = body[_STATEMENTS[name]]
        for statement in statements if name != "insert" else ():
            if refused := chunks.refusal(name, statement):
                return refused
        total = _Total(name)
        targets = [chunks.shards_of_write(name, statement) for statement in statements]
        for shards, places, part in _batches(name, body, targets, in_order=name != "insert"):
            for shard in shards:
                reply = self._ask(session, shard, part, chunks.version(shard))
                if reply["ok"] != 1.0:
                    return reply
                if not total.add(reply, places):
                    return total.reply
        return total.reply

    def _find(self, session: "Session", body: Document, chunks: Chunks) -> Document:
        shards = chunks.shards_of(body.get("filter", {}))
        if len(shards) == 1:
            return self._ask(session, shards[0], body, chunks.version(shards[0]))
        skip, limit, order = body.get("skip", 0), abs(body.get("limit", 0)), body.get("sort") or {}
        command = {name: value for name, value in body.items() if name not in ("skip", "singleBatch", "limit")}
        command |= {"batchSize": _WHOLE} | ({"limit": skip + limit} if limit else {})
        command["projection"] = {**(body.get("projection") or {}), "$sortKey": {"$meta": "sortKey"}}
        if not order:
            command["projection"] = body.get("projection") or {}
        rows: list[Document] = []
        for shard in shards:
            reply = self._ask(session, shard, command, chunks.version(shard))
            if reply["ok"] != 1.0:
                return reply
            if reply["cursor"]["id"]:
                raise NotImplementedError("more than one batch of a shard in a transaction")
            rows += [dict(row) for row in reply["cursor"]["firstBatch"]]
        _sort(rows, [*order.values()])
        batch = [{name: value for name, value in row.items() if name != "$sortKey"} for row in rows[skip:]]
        cursor = {"id": Int64(0), "ns": f"{body['$db']}.{body['find']}", "firstBatch": batch[: limit or None]}
        return {"cursor": cursor, "ok": 1.0}

    def _aggregate(self, session: "Session", body: Document, chunks: Chunks) -> Document:
        pipeline = body["pipeline"]
        shards = chunks.shards_of(pipeline[0].get("$match", {}) if pipeline else {})
        others = not all(map(_JOINING.isdisjoint, pipeline))
        if len(shards) == 1 and (not others or shards[0] == session.router.primary(body["$db"])):
            return self._ask(session, shards[0], body, chunks.version(shards[0]))
        outside = {name: value for name, value in body.items() if name not in ("autocommit", "txnNumber", "lsid")}
        reply = session.route("aggregate", outside | {"cursor": {"batchSize": _WHOLE}})
        if reply["ok"] == 1.0 and reply["cursor"]["id"]:
            raise NotImplementedError("more than one batch of an aggregation in a transaction")
        return reply

    def _end(self, session: "Session", name: str, body: Document) -> Document:
        token = body.pop("recoveryToken", {})
        body = body | {"$db": "admin"}
        if name == "commitTransaction" and (len(self._writers) > 1 or not self._is_begun_here):
            participants = [{"shardId": shard} for shard in self._shards]
            order = {"coordinateCommitTransaction": 1, "participants": participants}
            options = {option: value for option, value in body.items() if option != name}
            # Without participants, the shard tells the outcome of what another router began.
            coordinator = [*self._shards, token.get("recoveryShardId")][0]
            if coordinator is None:
                return _error(_NO_TRANSACTION, "this router knows no such transaction", _TRANSIENT)
            return session.ask(coordinator, order | options)
        reply: Document = {"ok": 1.0}
        # The readers come first, so that the commit of the one that wrote decides.
        for shard in sorted(self._shards, key=self._writers.__contains__):
            answer = session.ask(shard, body)
            if name == "commitTransaction":
                reply = answer
                if reply["ok"] != 1.0:
                    break
        return reply


# --- writes ----------------------------------------------------------------------------------------------------------


def _batches(
    name: str, body: Document, targets: Sequence[list[str]], *, in_order: bool
) -> Iterator[tuple[list[str], list[int], Document]]:
    """Yield the shards of each part of a write, the places of its statements in the whole, and its command."""
    places: Sequence[int] = range(len(targets))
    if not in_order:
        places = sorted(places, key=targets.__getitem__)
    for shards, group in itertools.groupby(places, targets.__getitem__):
        chosen = [*group]
        lists = [each for each in (_STATEMENTS[name], "stmtIds") if each in body]
        yield shards, chosen, body | {each: [body[each][place] for place in chosen] for each in lists}


class _Total:
    """The reply to a write, put together from those of the shards."""

    def __init__(self, name: str) -> None:
        self.reply: Document = {"n": 0, "ok": 1.0} | ({"nModified": 0} if name == "update" else {})

    def add(self, reply: Mapping[str, Any], places: Sequence[int]) -> bool:
        """Add a shard's reply to the statements at some places of the write; return whether all succeeded."""
        whole = self.reply
        for count in ("n", "nModified"):
            if count in whole:
                whole[count] += reply.get(count, 0)
        for part in ("upserted", "writeErrors"):
            if part in reply:
                whole.setdefault(part, []).extend({**each, "index": places[each["index"]]} for each in reply[part])
        whole |= {part: reply[part] for part in ("$clusterTime", "writeConcernError") if part in reply}
        if time := reply.get("operationTime"):
            whole["operationTime"] = max(time, whole.get("operationTime", time))
        return "writeErrors" not in reply


def _sort(rows: list[Document], directions: Sequence[int]) -> None:
    """Sort rows by their `$sortKey`: by its last member first, because later sorts keep equal rows in order."""
    for at in range(len(directions) - 1, -1, -1):
        ranks = {id(row): rank(row["$sortKey"][at]) for row in rows}
        rows.sort(key=lambda row: ranks[id(row)], reverse=directions[at] < 0)


def _whole(beginning: Document, whole: Mapping[str, Any]) -> Document:
    """Add to the plan of the first stages of a pipeline the later stages, from a plan without statistics."""
    first = beginning.get("stages", [])
    stages = [*first, *whole.get("stages", [])[len(first) :]]
    return beginning | ({"stages": stages} if stages else {})


# --- connections -----------------------------------------------------------------------------------------------------


class Session(threading.Thread):
    """Serves one client; it has a link to each shard that the client needs."""

    def __init__(self, router: Router, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.router = router
        self._connection = connection
        self._metadata: object = None
        self._links: dict[str, Link] = {}
        self._number = 0

    def run(self) -> None:
        """Answer until the client goes."""
        try:
            for answer in self._answers():
                self._connection.sendall(answer)
        except (EOFError, OSError):
            return
        finally:
            self._connection.close()
            for link in self._links.values():
                link.close()

    def _answers(self) -> Iterator[bytes]:
        while True:
            identity, kind, content = _read_message(self._connection)
            if kind == _QUERY:  # the first hello of a connection
                start = content.index(b"\0", 4) + 9
                (size,) = struct.unpack_from("<i", content, start)
                reply = self._hello(dict(bson.decode(content[start : start + size], _RAW)))
                encoded = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(reply)
                yield struct.pack("<iiii", 16 + len(encoded), 1, identity, _REPLY) + encoded
                continue
            body = _command(content)
            self.router.clock.hear(body)
            try:
                try:
                    reply = self._answer(next(iter(body)), body)
                except ShardLostError:
                    is_retryable = "txnNumber" in body and "autocommit" not in body
                    if not is_retryable and not body.keys().isdisjoint(_ONCE):
                        raise
                    reply = self._answer(next(iter(body)), body)
            except OperationFailure as error:
                reply = {"ok": 0.0, **(error.details or {"errmsg": str(error), "code": error.code or 8})}
            except ShardLostError:
                of_transaction = _TRANSIENT if "commitTransaction" not in body else _RETRYABLE
                labels = [of_transaction] if "autocommit" in body else []
                reply = _error(_UNREACHABLE, "the primary of a shard went away", *labels)
            except (NotImplementedError, ValueError) as error:
                reply = _error(8, f"the stand-in for a router cannot do this: {error}")
            if not content[0] & 2:  # the client wants an answer
                yield _message(reply, 1, identity)

    def ask(self, shard: str, body: Document) -> Document:
        """Send a command to the primary of a shard and return the reply.

        A router watches the members of a shard. This one notices a new primary when it sends a command, so it sends
        the command again if the old one did not begin it.
        """
        is_in_transaction = "autocommit" in body
        while True:
            link = self._links.get(shard)
            is_new = link is None or (link.is_closed and not is_in_transaction)
            if link is None or is_new:
                link = self._links[shard] = self.router.link(shard, self._metadata)
            try:
                return link.ask(body)
            except ShardLostError as lost:
                del self._links[shard]
                if is_new or is_in_transaction or not lost.is_refused:
                    raise

    def _ask_each(self, shards: Sequence[str], body: Document) -> Document:
        reply: Document = {}
        for shard in shards:
            reply = self.ask(shard, body)
            if reply["ok"] != 1.0:
                break
        return reply

    def route(self, name: str, body: Document) -> Document:
        """Have a shard do a command as a router."""
        # The name of the command comes first.
        command = {CLUSTER_COMMANDS[name]: body[name]}
        command |= {key: value for key, value in body.items() if key != name}
        for attempt in range(_ATTEMPTS):
            reply = self.ask(self.router.through, command)
            if reply["ok"] == 1.0 or reply.get("code") not in _STALE:
                break
            time.sleep(0.02 * attempt)
        return reply

    def _hello(self, body: Document) -> Document:
        self._metadata = self._metadata or body.get("client")
        limits: Document = {
            "maxBsonObjectSize": 16 << 20,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
        }
        limits |= {
            "localTime": DatetimeMS(time.time_ns() // 1_000_000),
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": self.router.wire_version,
        }
        # killOp finds a client's operations by this number, which counts this router's connections only.
        with suppress(ShardLostError):
            if not self._number:
                self._links[self.router.through] = self.router.link(self.router.through, self._metadata, seconds=0)
                self._number = self._links[self.router.through].number
        return (
            {"isWritablePrimary": True, "ismaster": True, "msg": "isdbgrid", "helloOk": True}
            | limits
            | {"connectionId": self._number, "ok": 1.0}
        )

    def _answer(self, name: str, body: Document) -> Document:
        if body.get("autocommit") is False:
            return self._transaction(body).run(self, name, body)
        own: dict[str, Callable[[str, Document], Document]] = {
            **dict.fromkeys(("hello", "ismaster", "isMaster"), lambda _, body: self._hello(body)),
            **dict.fromkeys(CLUSTER_COMMANDS, self.route),
            **dict.fromkeys(_WRITES, self._write),
            **dict.fromkeys(("enableSharding", "shardCollection", "split", "moveChunk", "moveRange"), self._administer),
            **dict.fromkeys(("getParameter", "setParameter"), self._set_parameter),
            **dict.fromkeys(("drop", "dropDatabase"), self._drop),
            **dict.fromkeys(("count", "distinct"), self._count),
            **dict.fromkeys(
                ("findAndModify", "findandmodify"), lambda name, body: self._repeated(self._find_and_modify, name, body)
            ),
            **dict.fromkeys(("createIndexes", "dropIndexes", "collMod", "planCacheClear"), self._on_each_shard),
            "getMore": self._more,
            "aggregate": self._aggregate,
            "explain": self._explain,
            "listShards": lambda *_: {"shards": self.router.listed(), "ok": 1.0},
            "killCursors": self._kill_cursors,
            "killSessions": lambda _, body: self._ask_each([*self.router.shards], body),
            "killOp": self._kill_operation,
        }
        return own.get(name, self._forward)(name, body)

    def _forward(self, name: str, body: Document) -> Document:
        return self.ask(self.router.primary(body["$db"], create=name == "create"), body)

    def _write(self, name: str, body: Document) -> Document:
        self.router.primary(body["$db"], create=True)
        return self._repeated(self._write_once, name, body) if "txnNumber" in body else self.route(name, body)

    def _repeated(self, write: Callable[[str, Document], Document], name: str, body: Document) -> Document:
        """Repeat a write if this router's table was old or, if it is retryable, while its primary leaves."""
        again, lost = {*_STALE, *(_NO_PRIMARY if "txnNumber" in body else ())}, 0
        for attempt in range(_ATTEMPTS):
            reply = write(name, body)
            failures = [reply, *reply.get("writeErrors", ()), reply.get("writeConcernError", {})]
            codes = {failure.get("code") for failure in failures}
            lost += not codes.isdisjoint(_NO_PRIMARY)
            if lost > _REPEATS or codes.isdisjoint(again):
                break
            self.router.forget_chunks()
            time.sleep(0.02 * attempt)
        reply.pop("errorLabels", None)  # a router repeats the write itself, and labels nothing for the driver
        return reply

    def _write_once(self, name: str, body: Document) -> Document:
        """Do a retryable write; a shard leaves out the statements that it has done, and counts them again."""
        router, database = self.router, body["$db"]
        primary, chunks = router.primary(database), router.chunks(f"{database}.{body[name]}")
        statements = body[_STATEMENTS[name]]
        body = body | {"stmtIds": [*range(len(statements))]}  # no driver sends its own
        if chunks and name != "insert":
            refusals = [(place, chunks.refusal(name, each)) for place, each in enumerate(statements)]
            if errors := [{**refusal, "index": place} for place, refusal in refusals if refusal]:
                return {"n": 0, "writeErrors": errors, "ok": 1.0}
        total, in_order = _Total(name), body.get("ordered", True)
        targets = [chunks.shards_of_write(name, each) if chunks else [primary] for each in statements]
        for shards, places, part in _batches(name, body, targets, in_order=in_order):
            for shard in shards:
                reply = self.ask(shard, part | router.version(database, chunks, shard))
                if reply["ok"] != 1.0:
                    failed = range(1 if in_order else len(places))
                    failure = {"code": reply.get("code"), "errmsg": reply.get("errmsg")}
                    reply = {"writeErrors": [{"index": index, **failure} for index in failed]}
                if not total.add(reply, places) and in_order:
                    return total.reply
        return total.reply

    def _more(self, name: str, body: Document) -> Document:
        stream = self.router.streams.get(body[name])
        return stream.more(body) if stream else self.route(name, body)

    def _aggregate(self, name: str, body: Document) -> Document:
        return self._watch(body) if "$changeStream" in [*body["pipeline"], {}][0] else self.route(name, body)

    def _explain(self, name: str, body: Document) -> Document:
        inner = dict(body[name])
        of = next(iter(inner))
        reply = self.ask(self.router.through, body | {name: {CLUSTER_COMMANDS.get(of, of): inner.pop(of)} | inner})
        return self._explain_each(of, body) if reply.get("code") == _NOT_SUPPORTED else reply

    def _explain_each(self, of: str, body: Document) -> Document:
        """Merge the plans of the shards, because a shard of MongoDB 7.0 explains no command of a router."""
        inner = dict(body["explain"])
        chunks = self.router.chunks(f"{body['$db']}.{inner[of]}")
        reply: Document = {"ok": 1.0}
        if of == "aggregate":
            # This names the shards, and has what the router itself does, without statistics.
            reply = self.route(of, inner | {"explain": True, "$db": body["$db"]})
            shards = [*reply.get("shards", ())]
            # With statistics, a shard of 7.0 explains no stage that reads another sharded collection.
            inner["pipeline"] = [*itertools.takewhile(_JOINING.isdisjoint, inner["pipeline"])]
        else:
            shards = chunks.shards_of(inner.get("filter", {})) if chunks else [self.router.primary(body["$db"])]
            inner |= {"limit": inner["limit"] + inner.pop("skip", 0)} if inner.get("limit") else {}
        plans = {}
        for shard in shards:
            version = chunks.version(shard) if chunks else {}
            plans[shard] = self.ask(shard, body | {"explain": inner} | version)
            if plans[shard]["ok"] != 1.0:
                return plans[shard]
        if of == "aggregate":
            return reply | {"shards": {shard: _whole(plan, reply["shards"][shard]) for shard, plan in plans.items()}}
        merging = "SINGLE_SHARD" if len(plans) == 1 else "SHARD_MERGE_SORT" if inner.get("sort") else "SHARD_MERGE"
        winning = [{"shardName": shard, **plan["queryPlanner"]} for shard, plan in plans.items()]
        runs = [plan["executionStats"] for plan in plans.values() if "executionStats" in plan]
        totals = {total: sum(run[total] for run in runs) for total in _TOTALS}
        totals["executionTimeMillis"] = max((run["executionTimeMillis"] for run in runs), default=0)
        planner = {"queryPlanner": {"winningPlan": {"stage": merging, "shards": winning}}}
        return reply | planner | ({"executionStats": totals} if runs else {})

    def _administer(self, name: str, body: Document) -> Document:
        reply = self.router.administer(name, body, self)
        return {"ok": 1.0} if reply["ok"] == 1.0 else reply

    def _set_parameter(self, name: str, body: Document) -> Document:
        if _HISTORY in body:  # mongos has no such parameter
            return _error(72, f"{name} of an unknown parameter")
        return self._forward(name, body)

    def _kill_operation(self, _: str, body: Document) -> Document:
        shard, colon, number = str(body["op"]).rpartition(":")
        return self.ask(shard if colon else self.router.through, body | {"op": int(number)})

    def _find_and_modify(self, name: str, body: Document) -> Document:
        chunks = self.router.chunks(f"{body['$db']}.{body[name]}")
        if chunks and not chunks.is_one_document(body["query"]):
            return _error(61, "Query for sharded findAndModify must contain the shard key")
        primary = self.router.primary(body["$db"], create=True)
        shard = chunks.shards_of(body["query"])[0] if chunks else primary
        return self.ask(shard, body | self.router.version(body["$db"], chunks, shard))

    def _on_each_shard(self, name: str, body: Document) -> Document:
        primary = self.router.primary(body["$db"], create=name == "createIndexes")
        chunks = self.router.chunks(f"{body['$db']}.{body[name]}")
        # A session and its numbers are for one server.
        body = {option: value for option, value in body.items() if option not in ("lsid", "txnNumber")}
        return self._ask_each(chunks.shards if chunks else [primary], body)

    def _transaction(self, body: Document) -> Transaction:
        session = bytes(body["lsid"]["id"])
        known = self.router.transactions.get(session)
        if body.get("startTransaction") or known is None or known.number != body["txnNumber"]:
            known = self.router.transactions[session] = Transaction(self, body)
        return known

    def _watch(self, body: Document) -> Document:
        router = self.router
        router.primary(body["$db"], create=True)
        stream = Stream(router, body, self._metadata)
        first = stream.batch("firstBatch")
        if stream.failure:
            stream.close()
        else:
            router.streams[stream.id] = stream
        return first

    def _kill_cursors(self, _: str, body: Document) -> Document:
        for cursor in body["cursors"]:
            if stream := self.router.streams.pop(cursor, None):
                stream.close()
        return {
            "cursorsKilled": body["cursors"],
            "cursorsNotFound": [],
            "cursorsAlive": [],
            "cursorsUnknown": [],
            "ok": 1.0,
        }

    def _count(self, name: str, body: Document) -> Document:
        stages: list[Document] = [{"$match": body.get("query") or {}}]
        answer: Document
        if name == "count":
            answer = {"n": 0}
            stages += [{f"${part}": body[part]} for part in ("skip", "limit") if body.get(part)]
            stages.append({"$count": "n"})
        else:
            answer = {"values": []}
            path = f"${body['key']}"
            stages += [{"$unwind": path}, {"$group": {"_id": None, "values": {"$addToSet": path}}}]
        kept = ("hint", "readConcern", "maxTimeMS", "lsid", "collation", "comment", "$db", "$readPreference")
        options = {option: body[option] for option in kept if option in body}
        reply = self.route(
            "aggregate", {"aggregate": body[name], "pipeline": stages, "cursor": {"batchSize": _WHOLE}, **options}
        )
        if reply["ok"] != 1.0:
            return reply
        for row in reply["cursor"]["firstBatch"]:  # one, or none if nothing matches
            answer = {member: row[member] for member in answer}
        return answer | {"ok": 1.0}

    def _drop(self, name: str, body: Document) -> Document:
        found = self.router.database(body["$db"])
        if not found:
            return {"ok": 1.0}
        order = {"_shardsvrDropDatabase": 1} if name == "dropDatabase" else {"_shardsvrDropCollection": body[name]}
        options = {"databaseVersion": found["version"], "writeConcern": _MAJORITY, "$db": body["$db"]}
        reply = self.ask(found["primary"], order | options)
        self.router.forget_chunks()
        return {"ok": 1.0} if reply["ok"] == 1.0 else reply


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--through", required=True, help="the shard that routes for this router")
    given = parser.parse_args()
    router = Router(given.config, given.through)
    listener = socket.create_server(("127.0.0.1", given.port), backlog=200)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Session(router, connection).start()


if __name__ == "__main__":
    main()
