"""Restoring a backup into an empty database: all of it, or the next try begins anew.

While it lasts, the database has a mark that keeps servers from it; what a try that was cut off left is removed by the
next one.
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

from app.backups.archive import BackupError, Count, records, verified
from app.backups.raw_bson import BATCH, Client, raw
from stores.database.error_translation import DUPLICATE_KEY
from stores.migrations import schema_version
from stores.security.shared_secrets import CURSORS

_BATCH_BYTES: Final = 16 * 1024 * 1024
_DURABLE: Final = WriteConcern(w="majority", j=True)
_NAMESPACE_EXISTS: Final = 48
_ANOTHERS: Final = frozenset({_NAMESPACE_EXISTS, DUPLICATE_KEY})
"""MongoDB's codes of a collection and of a document that are there already."""


def restore(client: Client, database: str, path: Path) -> dict[str, int]:
    """Put a backup into a database; how many documents there are of each collection, counted and compared afterwards.

    Raises:
        BackupError: the file is not whole, something is in the database, or what is there then differs.
    """
    told = verified(path)
    stored = client.get_database(database, write_concern=_DURABLE)
    with _alone(database):
        _begin(stored)
        _fill(stored, path)
    for name, expected in told.items():
        if name != "upgrades" and _counted(stored, name).told() != expected:
            raise BackupError(f"{name} is not what is in {path}: did anybody write meanwhile? Restore it again")
    schema_version.check(d for d in stored["upgrades"].find({"_id": schema_version.VERSION}))
    # Cursors from before would go on in the oplog of the MongoDB that they are of, through all that was restored.
    stored["secrets"].delete_one({"_id": CURSORS})
    stored["upgrades"].delete_one({"_id": schema_version.RESTORE})
    return {name: expected["count"] for name, expected in told.items()}


@contextmanager
def _alone(database: str) -> Iterator[None]:
    """A block in which nobody else writes to a database.

    Raises:
        BackupError: somebody did.
    """
    try:
        yield
    except (CollectionInvalid, OperationFailure) as error:
        refused = (getattr(error, "details", None) or {}).get("writeErrors", ())
        if isinstance(error, OperationFailure) and not _ANOTHERS & {error.code, *(each["code"] for each in refused)}:
            raise
        raise BackupError(
            f"somebody else writes to the database {database}, such as another restore: when that has ended, and the "
            "database is not whole, restore it again"
        ) from error


def _begin(stored: Database[dict[str, Any]]) -> None:
    """See that nothing is there but what a try before has left, and mark the database.

    Raises:
        BackupError: something else is there.
    """
    is_cut_off = stored["upgrades"].find_one({"_id": schema_version.RESTORE}) is not None
    # Those, and what seals cursors, a server leaves also where nobody has stored anything.
    others = {name for name in stored.list_collection_names() if not name.startswith("system.")} - {"upgrades"}
    if not is_cut_off:
        filled = [name for name in others if stored[name].find_one({"_id": {"$ne": CURSORS}}, {"_id": 1})]
        if filled:
            raise BackupError(
                f"the database {stored.name} is not empty (there is something in {', '.join(sorted(filled))}): "
                "set LOOMQL_MONGODB_DATABASE, or LOOMQL_DATA_DIR, to another one"
            )
        stored["upgrades"].insert_one({"_id": schema_version.RESTORE})
    for name in others:
        stored.drop_collection(name)
    stored["upgrades"].delete_many({"_id": {"$ne": schema_version.RESTORE}})


Grouped = Iterator[tuple[bytes, list[bytes]]]


def _grouped(path: Path) -> Grouped:
    """The records of a file, its documents some at a time."""
    batch: list[bytes] = []
    size = 0
    for kind, document in records(path):
        if kind == b"D":
            batch.append(document)
            size += len(document)
        if batch and (kind != b"D" or len(batch) >= BATCH or size >= _BATCH_BYTES):
            yield b"D", batch
            batch, size = [], 0
        if kind != b"D":
            yield kind, [document]


def _fill(stored: Database[dict[str, Any]], path: Path) -> None:
    name = ""
    for kind, documents in _grouped(path):
        if kind == b"C":
            begun = bson.decode(documents[0])
            name = begun["name"]
            _make(stored, name, begun["indexes"])
        elif kind == b"D":
            raw(stored, name).insert_many([RawBSONDocument(document) for document in documents])


def _make(stored: Database[dict[str, Any]], name: str, indexes: list[dict[str, Any]]) -> None:
    if name not in stored.list_collection_names():
        stored.create_collection(name)
    if indexes:
        stored[name].create_indexes([_index(index) for index in indexes])


def _index(given: dict[str, Any]) -> IndexModel:
    """An index as it was listed."""
    keys = list(given["key"].items())
    options = {name: value for name, value in given.items() if name not in {"v", "key", "ns"}}
    return IndexModel(keys, **options)


def _counted(stored: Database[dict[str, Any]], name: str) -> Count:
    count = Count()
    for document in raw(stored, name).find({}, sort=[("_id", 1)]):
        count.add(bytes(document.raw))
    return count
