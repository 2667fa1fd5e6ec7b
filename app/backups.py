"""Backups: one file with a snapshot of the whole database, and its restoration into an empty one.

The file is gzip over records, each a letter and a BSON document. `H` starts the file (`format`, `taken_at`,
`database`). `C` starts a collection (`name`, `indexes`), and each `D` is one of its documents, in `_id` order. `E` ends
the collection (`count`, and `sha256` over its documents). `Z` ends the file (`collections`).

A backup may run while servers write. While a restoration runs, a mark in the database keeps servers away. The next
attempt removes what an interrupted one left.
"""

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure
from pymongo.operations import IndexModel
from pymongo.write_concern import WriteConcern

from app.sharding import is_cluster, sharded_collections, supports
from stores.database import indexes
from stores.database.driver import set_snapshot_time, time_of_shards
from stores.database.error_translation import DUPLICATE_KEY, SNAPSHOT_TOO_OLD
from stores.database.shard_keys import SHARD_KEYS, SUPPORTING_INDEX
from stores.errors import StoreError
from stores.migrations import schema_version
from stores.security.shared_secrets import CURSORS

FORMAT: Final = 1
_BATCH_SIZE: Final = 1_000
"""Number of documents per read or write."""

_BATCH_BYTES: Final = 16 * 1024 * 1024
_MAX_DOCUMENT_BYTES: Final = 17 * 1024 * 1024
_SIZE: Final = struct.Struct("<i")
_RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)
_DURABLE: Final = WriteConcern(w="majority", j=True)

_SNAPSHOT_UNAVAILABLE: Final = 246
"""MongoDB's error code for a snapshot that is older than a collection's schema."""
_ALREADY_EXISTS: Final = frozenset({48, DUPLICATE_KEY})
"""MongoDB's error codes for a collection or document that already exists."""
_WINDOW: Final = "minSnapshotHistoryWindowInSeconds"

Client = MongoClient[dict[str, Any]]
Record = tuple[bytes, bytes]


class BackupError(StoreError):
    """A backup cannot be made or restored; the message says why and what to do."""

    code = "BAD_USER_INPUT"


class DocumentCount:
    """Number and SHA-256 of documents, in their order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, document: bytes) -> None:
        """Count a document and add it to the hash."""
        self.count += 1
        self._hash.update(document)

    def to_record(self) -> dict[str, Any]:
        """Return both as an `E` record stores them."""
        return {"count": self.count, "sha256": self._hash.hexdigest()}


class BackupWriter:
    """Writes the records of a backup."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0))

    def put(self, kind: bytes, document: dict[str, Any]) -> None:
        """Write a record."""
        self.put_raw(kind, bson.encode(document))

    def put_raw(self, kind: bytes, document: bytes) -> None:
        """Write a record whose document is already encoded."""
        self._file.write(kind + document)

    def close(self) -> None:
        """Flush the compressor and end the gzip stream."""
        self._file.close()


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file, in constant memory.

    Raises:
        BackupError: the file is no backup, truncated or damaged.
    """
    try:
        with gzip.open(path, "rb") as file:
            while kind := file.read(1):
                head = file.read(_SIZE.size)
                size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else 0
                if not _SIZE.size < size <= _MAX_DOCUMENT_BYTES:
                    raise _damaged(path)
                document = head + file.read(size - _SIZE.size)
                if len(document) != size:
                    raise _damaged(path)
                yield kind, document
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path) from error


def verified(path: Path) -> dict[str, dict[str, Any]]:
    """Read a whole backup and return the `E` record of each collection, after checking counts and hashes.

    Raises:
        BackupError: it is no backup, has another format, or is truncated or damaged.
    """
    try:
        return _verified(path)
    except (InvalidBSON, KeyError) as error:
        # gzip checks its own sum only at the end of the file, after these records were read.
        raise _damaged(path) from error


def _verified(path: Path) -> dict[str, dict[str, Any]]:
    ends: dict[str, dict[str, Any]] = {}
    name, count, is_complete, has_header = "", DocumentCount(), False, False
    for kind, document in records(path):
        if not has_header and (kind != b"H" or RawBSONDocument(document).get("format") != FORMAT):
            raise BackupError(
                f"{path} is not a backup, or has a format that this version of LoomQL cannot read", "file"
            )
        has_header = True
        match kind:
            case b"C":
                name, count = bson.decode(document)["name"], DocumentCount()
            case b"D":
                count.add(document)
            case b"E":
                ends[name] = bson.decode(document)
                if ends[name] != count.to_record():
                    raise _damaged(path)
            case b"Z":
                is_complete = bson.decode(document)["collections"] == len(ends)
    if not is_complete:
        raise _damaged(path)
    return ends


def _damaged(path: Path) -> BackupError:
    return BackupError(f"{path} is truncated or damaged; nothing was restored, use another backup", "file")


def _raw_collection(database: Database[dict[str, Any]], name: str) -> Collection[RawBSONDocument]:
    """Return a collection whose documents are not decoded."""
    return database[name].with_options(codec_options=_RAW)


def write_backup(client: Client, database: str, path: Path, *, is_own: bool) -> dict[str, int]:
    """Write a backup to a new file and return the number of documents of each collection.

    The file gets its name only when complete, and only its owner may read it, because it contains all data. An embedded
    MongoDB keeps its snapshot history for as long as the backup runs.

    Raises:
        BackupError: the file exists, the database does not fit this program, or the snapshot is no longer available.
    """
    if path.exists():
        raise BackupError(f"{path} already exists; choose another file or move it away", "file")
    schema_version.check_upgrades(client[database]["upgrades"])
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with (
            # Only its owner may read it. The rest of an interrupted backup is replaced.
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
            _extended_snapshot_history(client, is_own=is_own),
            client.start_session(snapshot=True) as session,
        ):
            if is_cluster(client):
                # A router would choose a time that may be before writes through other routers.
                sharded = [key.collection for key in SHARD_KEYS]
                set_snapshot_time(session, time_of_shards(client[database], sharded))
            with closing(BackupWriter(file)) as writer:
                counts = _write(client, database, writer, session)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OperationFailure as error:
        raise _explained(error) from error
    finally:
        part.unlink(missing_ok=True)
    return counts


def _explained(error: OperationFailure) -> Exception:
    if error.code in SNAPSHOT_TOO_OLD:
        return BackupError(
            f"the backup took longer than MongoDB keeps its snapshot: raise {_WINDOW} to more seconds than a backup "
            "takes, on each mongod of the replica set, or of all shards and config servers; on a replica set, you may "
            "also use mongodump --oplog"
        )
    if error.code == _SNAPSHOT_UNAVAILABLE:
        return BackupError("an index or a collection was created or dropped during the backup; run it again")
    return error


def _write(client: Client, database: str, writer: BackupWriter, session: ClientSession) -> dict[str, int]:
    stored = client[database]
    counts: dict[str, int] = {}
    writer.put(b"H", {"format": FORMAT, "taken_at": datetime.now(UTC), "database": database})
    for name in sorted(stored.list_collection_names(filter={"type": "collection"})):
        if name.startswith("system."):
            continue
        listed = [index for index in stored[name].list_indexes() if index["name"] != "_id_"]
        writer.put(b"C", {"name": name, "indexes": listed})
        count = DocumentCount()
        for document in _raw_collection(stored, name).find(
            {}, session=session, sort=[("_id", 1)], batch_size=_BATCH_SIZE
        ):
            encoded = bytes(document.raw)
            count.add(encoded)
            writer.put_raw(b"D", encoded)
        writer.put(b"E", count.to_record())
        counts[name] = count.count
    writer.put(b"Z", {"collections": len(counts)})
    return counts


@contextmanager
def _extended_snapshot_history(client: Client, *, is_own: bool) -> Iterator[None]:
    """Extend an embedded MongoDB's snapshot history to hours in the block; an external server is not reconfigured."""
    if not is_own:
        yield
        return
    before = client.admin.command({"getParameter": 1, _WINDOW: 1})[_WINDOW]
    client.admin.command({"setParameter": 1, _WINDOW: max(before, 6 * 3600)})
    try:
        yield
    finally:
        client.admin.command({"setParameter": 1, _WINDOW: before})


def restore(client: Client, database: str, path: Path) -> dict[str, int]:
    """Restore a backup and return the number of documents of each collection, after comparing them with the file.

    Raises:
        BackupError: the file is damaged, the database is not empty, or its content then differs from the file.
    """
    expected_ends = verified(path)
    stored = client.get_database(database, write_concern=_DURABLE)
    has_shards = is_cluster(client)
    sharded = sharded_collections(client, database) if has_shards else {}
    with _without_other_writers(database):
        _prepare(stored, sharded)
        _insert_all(stored, path, has_shards=has_shards)
    for name, expected in expected_ends.items():
        if name != "upgrades" and _count_stored(stored, name).to_record() != expected:
            raise BackupError(
                f"{name} differs from {path}; another process may have written to it meanwhile: restore it again"
            )
    schema_version.check(d for d in stored["upgrades"].find({"_id": schema_version.VERSION}))
    # Old cursors would resume in the oplog of the original MongoDB, and here deliver everything that was restored.
    stored["secrets"].delete_one({"_id": CURSORS})
    stored["upgrades"].delete_one({"_id": schema_version.RESTORE})
    return {name: expected["count"] for name, expected in expected_ends.items()}


@contextmanager
def _without_other_writers(database: str) -> Iterator[None]:
    """Translate conflicts with another writer in the block.

    Raises:
        BackupError: another process wrote to the database.
    """
    try:
        yield
    except (CollectionInvalid, OperationFailure) as error:
        write_errors = (getattr(error, "details", None) or {}).get("writeErrors", ())
        if isinstance(error, OperationFailure) and not _ALREADY_EXISTS & {
            error.code,
            *(each["code"] for each in write_errors),
        }:
            raise
        raise BackupError(
            f"another process writes to the database {database}, for example another restoration: when it has ended "
            "and the database is incomplete, restore it again"
        ) from error


def _prepare(stored: Database[dict[str, Any]], sharded: Mapping[str, dict[str, Any]]) -> None:
    """Check that the database is empty or holds only an interrupted restoration, clear it and mark it.

    A dropped collection would come back unsharded, so sharded ones, by their shard keys, are only emptied.

    Raises:
        BackupError: the database contains other data.
    """
    is_interrupted = stored["upgrades"].find_one({"_id": schema_version.RESTORE}) is not None
    # A server leaves these, and the secret that signs cursors, even in a database without user data.
    other_collections = {name for name in stored.list_collection_names() if not name.startswith("system.")} - {
        "upgrades"
    }
    if not is_interrupted:
        filled = [name for name in other_collections if stored[name].find_one({"_id": {"$ne": CURSORS}}, {"_id": 1})]
        if filled:
            raise BackupError(
                f"the database {stored.name} is not empty (it has documents in {', '.join(sorted(filled))}): "
                "set LOOMQL_MONGODB_DATABASE or LOOMQL_DATA_DIR to another one"
            )
        stored["upgrades"].insert_one({"_id": schema_version.RESTORE})
    for name in other_collections:
        if name in sharded:
            _empty(stored[name], sharded[name])
        else:
            stored.drop_collection(name)
    stored["upgrades"].delete_many({"_id": {"$ne": schema_version.RESTORE}})


def _empty(collection: Collection[dict[str, Any]], shard_key: dict[str, Any]) -> None:
    """Delete the documents of a sharded collection, and its indexes but those that MongoDB needs."""
    collection.delete_many({})
    for index in collection.list_indexes().to_list():
        if index["name"] != "_id_" and not supports(index, [*shard_key.items()]):
            collection.drop_index(index["name"])


def _insert_all(stored: Database[dict[str, Any]], path: Path, *, has_shards: bool) -> None:
    """Create the collections of a file, and insert their documents in batches."""
    name, size = "", 0
    batch: list[RawBSONDocument] = []
    for kind, document in records(path):
        if batch and (kind != b"D" or len(batch) >= _BATCH_SIZE or size >= _BATCH_BYTES):
            # In order, a router would send each shard few documents at a time.
            _raw_collection(stored, name).insert_many(batch, ordered=False)
            batch, size = [], 0
        if kind == b"C":
            header = bson.decode(document)
            name = header["name"]
            if name not in stored.list_collection_names():
                stored.create_collection(name)
            models = [_index(each) for each in header["indexes"] if has_shards or each["name"] != SUPPORTING_INDEX]
            if missing := indexes.missing(models, stored[name].list_indexes()):
                stored[name].create_indexes(missing)
        elif kind == b"D":
            batch.append(RawBSONDocument(document))
            size += len(document)


def _index(description: dict[str, Any]) -> IndexModel:
    """Return the index that `list_indexes` described."""
    keys = list(description["key"].items())
    options = {name: value for name, value in description.items() if name not in {"v", "key", "ns"}}
    return IndexModel(keys, **options)


def _count_stored(stored: Database[dict[str, Any]], name: str) -> DocumentCount:
    count = DocumentCount()
    for document in _raw_collection(stored, name).find({}, sort=[("_id", 1)]):
        count.add(bytes(document.raw))
    return count
