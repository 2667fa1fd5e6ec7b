"""The file of a backup: gzip over records, each a letter, then a BSON document.

`H` begins it (`format`, `taken_at`, `database`), `C` begins a collection (`name`, `indexes`), `D` is a document of it
in the order of `_id`, `E` ends it (`count`, `sha256` of its documents), `Z` ends the whole (`collections`).
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

import bson
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from stores.errors import StoreError

FORMAT: Final = 1
_LONGEST: Final = 17 * 1024 * 1024
_SIZE: Final = struct.Struct("<i")

Record = tuple[bytes, bytes]


class BackupError(StoreError):
    """A backup cannot be made or restored; the message says why and what to do."""

    code = "BAD_USER_INPUT"


class Count:
    """How many documents there are, and the hash of their bytes in their order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, document: bytes) -> None:
        """Count one in."""
        self.count += 1
        self._hash.update(document)

    def told(self) -> dict[str, Any]:
        """Both, as a backup has them."""
        return {"count": self.count, "sha256": self._hash.hexdigest()}


class Writer:
    """A file that is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0))

    def put(self, kind: bytes, document: dict[str, Any]) -> None:
        """Write a record."""
        self.put_raw(kind, bson.encode(document))

    def put_raw(self, kind: bytes, document: bytes) -> None:
        """Write one that is encoded already."""
        self._file.write(kind + document)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def records(path: Path) -> Iterator[Record]:
    """The records of a file, in constant memory.

    Raises:
        BackupError: it is none, or it is cut off or damaged.
    """
    try:
        with gzip.open(path, "rb") as file:
            while kind := file.read(1):
                head = file.read(_SIZE.size)
                size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else 0
                if not _SIZE.size < size <= _LONGEST:
                    raise _damaged(path)
                document = head + file.read(size - _SIZE.size)
                if len(document) != size:
                    raise _damaged(path)
                yield kind, document
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path) from error


def verified(path: Path) -> dict[str, dict[str, Any]]:
    """What a whole file says of each collection, once all of it is read, and is as it says.

    Raises:
        BackupError: it is no backup, of another format, or not whole.
    """
    try:
        return _verified(path)
    except (InvalidBSON, KeyError) as error:  # gzip's own sum comes last, and what is before it was read by then
        raise _damaged(path) from error


def _verified(path: Path) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    name, count, is_whole, began = "", Count(), False, False
    for kind, document in records(path):
        if not began and (kind != b"H" or RawBSONDocument(document).get("format") != FORMAT):
            raise BackupError(
                f"{path} is no backup of this LoomQL's: it is of another format, or something else", "file"
            )
        began = True
        match kind:
            case b"C":
                name, count = bson.decode(document)["name"], Count()
            case b"D":
                count.add(document)
            case b"E":
                told[name] = bson.decode(document)
                if told[name] != count.told():
                    raise _damaged(path)
            case b"Z":
                is_whole = bson.decode(document)["collections"] == len(told)
    if not is_whole:
        raise _damaged(path)
    return told


def _damaged(path: Path) -> BackupError:
    return BackupError(f"{path} is cut off or damaged, and nothing of it was restored; take another backup", "file")
