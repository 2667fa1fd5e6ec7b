"""Taking a backup, also while servers write: everything is read as it was at one moment of the whole database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from app.backups.archive import FORMAT, BackupError, Count, Writer
from app.backups.raw_bson import BATCH, Client, raw
from stores.migrations import schema_version

_FORGOTTEN: Final = 239
_CHANGED: Final = 246
"""MongoDB's codes for a moment that it has forgotten, and for one before a collection became what it is."""
_WINDOW: Final = "minSnapshotHistoryWindowInSeconds"
_EMBEDDED_SECONDS: Final = 6 * 3600


def take(client: Client, database: str, path: Path, *, is_own: bool) -> dict[str, int]:
    """Write a backup into a file that is not there; how many documents it has of each collection.

    Only a whole one has the file's name, and nobody but its owner may read it: all is in it. An embedded MongoDB is
    told to remember the moment for as long as it takes.

    Raises:
        BackupError: the file is there, the database is not for this program, or what it was at the moment is
            not known any more.
    """
    if path.exists():
        raise BackupError(f"{path} is there already; name another file, or move it away", "file")
    schema_version.check_upgrades(client[database]["upgrades"])
    part = path.with_name(f"{path.name}.part")
    try:
        with (
            _new_file(part) as file,
            _remembering(client, is_own=is_own),
            client.start_session(snapshot=True) as session,
        ):
            counts = _written(client, database, Writer(file), session)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OperationFailure as error:
        raise _told(error) from error
    finally:
        part.unlink(missing_ok=True)
    return counts


def _new_file(path: Path) -> IO[bytes]:
    """A file of its owner's alone, in the place of what a try that was cut off has left."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _told(error: OperationFailure) -> Exception:
    if error.code == _FORGOTTEN:
        return BackupError(
            "MongoDB forgot the moment of the backup before all was read: raise its parameter "
            f"{_WINDOW}, which is 300 by default, or use mongodump --oplog"
        )
    if error.code == _CHANGED:
        return BackupError("an index or a collection was made or dropped meanwhile: take the backup again")
    return error


def _written(client: Client, database: str, writer: Writer, session: ClientSession) -> dict[str, int]:
    stored = client[database]
    counts: dict[str, int] = {}
    writer.put(b"H", {"format": FORMAT, "taken_at": datetime.now(UTC), "database": database})
    for name in sorted(stored.list_collection_names(filter={"type": "collection"})):
        if name.startswith("system."):
            continue
        indexes = [index for index in stored[name].list_indexes() if index["name"] != "_id_"]
        writer.put(b"C", {"name": name, "indexes": indexes})
        count = Count()
        for document in raw(stored, name).find({}, session=session, sort=[("_id", 1)], batch_size=BATCH):
            encoded = bytes(document.raw)
            count.add(encoded)
            writer.put_raw(b"D", encoded)
        writer.put(b"E", count.told())
        counts[name] = count.count
    writer.put(b"Z", {"collections": len(counts)})
    writer.close()
    return counts


@contextmanager
def _remembering(client: Client, *, is_own: bool) -> Iterator[None]:
    """Let an embedded MongoDB remember a moment for hours while the block lasts; a team's is its own to set."""
    if not is_own:
        yield
        return
    before = client.admin.command({"getParameter": 1, _WINDOW: 1})[_WINDOW]
    client.admin.command({"setParameter": 1, _WINDOW: max(before, _EMBEDDED_SECONDS)})
    try:
        yield
    finally:
        client.admin.command({"setParameter": 1, _WINDOW: before})
