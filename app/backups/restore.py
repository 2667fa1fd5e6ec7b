"""Restoration of a backup into an empty database.

While it runs, a mark in the database keeps servers away. The next attempt removes what an interrupted one left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure
from pymongo.operations import IndexModel
from pymongo.write_concern import WriteConcern

from app.backups.archive import BATCH_SIZE, BackupError, Client, DocumentCount, raw_collection, records, verified
from stores.database.error_translation import DUPLICATE_KEY
from stores.migrations import schema_version
from stores.security.shared_secrets import CURSORS

_BATCH_BYTES: Final = 16 * 1024 * 1024
_DURABLE: Final = WriteConcern(w="majority", j=True)
_NAMESPACE_EXISTS: Final = 48
_ALREADY_EXISTS: Final = frozenset({_NAMESPACE_EXISTS, DUPLICATE_KEY})
"""MongoDB's error codes for a collection or document that already exists."""


def restore(client: Client, database: str, path: Path) -> dict[str, int]:
    """Restore a backup and return the number of documents of each collection, after comparing them with the file.

    Raises:
        BackupError: the file is damaged, the database is not empty, or its content then differs from the file.
    """
    expected_ends = verified(path)
    stored = client.get_database(database, write_concern=_DURABLE)
    with _without_other_writers(database):
        _prepare(stored)
        _insert_all(stored, path)
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


def _prepare(stored: Database[dict[str, Any]]) -> None:
    """Check that the database is empty or holds only an interrupted restoration, clear it and mark it.

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
        stored.drop_collection(name)
    stored["upgrades"].delete_many({"_id": {"$ne": schema_version.RESTORE}})


Grouped = Iterator[tuple[bytes, list[bytes]]]


def _grouped(path: Path) -> Grouped:
    """Yield the records of a file, with documents grouped into batches."""
    batch: list[bytes] = []
    size = 0
    for kind, document in records(path):
        if kind == b"D":
            batch.append(document)
            size += len(document)
        if batch and (kind != b"D" or len(batch) >= BATCH_SIZE or size >= _BATCH_BYTES):
            yield b"D", batch
            batch, size = [], 0
        if kind != b"D":
            yield kind, [document]


def _insert_all(stored: Database[dict[str, Any]], path: Path) -> None:
    name = ""
    for kind, documents in _grouped(path):
        if kind == b"C":
            header = bson.decode(documents[0])
            name = header["name"]
            _create_collection(stored, name, header["indexes"])
        elif kind == b"D":
            raw_collection(stored, name).insert_many([RawBSONDocument(document) for document in documents])


def _create_collection(stored: Database[dict[str, Any]], name: str, indexes: list[dict[str, Any]]) -> None:
    if name not in stored.list_collection_names():
        stored.create_collection(name)
    if indexes:
        stored[name].create_indexes([_index(index) for index in indexes])


def _index(description: dict[str, Any]) -> IndexModel:
    """Return the index that `list_indexes` described."""
    keys = list(description["key"].items())
    options = {name: value for name, value in description.items() if name not in {"v", "key", "ns"}}
    return IndexModel(keys, **options)


def _count_stored(stored: Database[dict[str, Any]], name: str) -> DocumentCount:
    count = DocumentCount()
    for document in raw_collection(stored, name).find({}, sort=[("_id", 1)]):
        count.add(bytes(document.raw))
    return count
