"""Writing a backup from a snapshot of the whole database, also while servers write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from app.backups.archive import BATCH_SIZE, FORMAT, BackupError, BackupWriter, Client, DocumentCount, raw_collection
from stores.migrations import schema_version

_SNAPSHOT_TOO_OLD: Final = 239
_SNAPSHOT_UNAVAILABLE: Final = 246
"""MongoDB's error codes for a snapshot that is no longer available, and for one older than a collection's schema."""
_WINDOW: Final = "minSnapshotHistoryWindowInSeconds"
_EMBEDDED_SECONDS: Final = 6 * 3600


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
    try:
        with (
            _new_file(part) as file,
            _extended_snapshot_history(client, is_own=is_own),
            client.start_session(snapshot=True) as session,
        ):
            counts = _write(client, database, BackupWriter(file), session)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OperationFailure as error:
        raise _explained(error) from error
    finally:
        part.unlink(missing_ok=True)
    return counts


def _new_file(path: Path) -> IO[bytes]:
    """Create a file that only its owner may read; replace the rest of an interrupted backup."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _explained(error: OperationFailure) -> Exception:
    if error.code == _SNAPSHOT_TOO_OLD:
        return BackupError(
            "the backup took longer than MongoDB keeps its snapshot: raise its parameter "
            f"{_WINDOW}, which is 300 by default, or use mongodump --oplog"
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
        indexes = [index for index in stored[name].list_indexes() if index["name"] != "_id_"]
        writer.put(b"C", {"name": name, "indexes": indexes})
        count = DocumentCount()
        for document in raw_collection(stored, name).find(
            {}, session=session, sort=[("_id", 1)], batch_size=BATCH_SIZE
        ):
            encoded = bytes(document.raw)
            count.add(encoded)
            writer.put_raw(b"D", encoded)
        writer.put(b"E", count.to_record())
        counts[name] = count.count
    writer.put(b"Z", {"collections": len(counts)})
    writer.close()
    return counts


@contextmanager
def _extended_snapshot_history(client: Client, *, is_own: bool) -> Iterator[None]:
    """Extend an embedded MongoDB's snapshot history to hours in the block; an external server is not reconfigured."""
    if not is_own:
        yield
        return
    before = client.admin.command({"getParameter": 1, _WINDOW: 1})[_WINDOW]
    client.admin.command({"setParameter": 1, _WINDOW: max(before, _EMBEDDED_SECONDS)})
    try:
        yield
    finally:
        client.admin.command({"setParameter": 1, _WINDOW: before})
