"""The file format of a backup: gzip over records, each a letter and a BSON document.

`H` starts the file (`format`, `taken_at`, `database`). `C` starts a collection (`name`, `indexes`), and each `D` is one
of its documents, in `_id` order. `E` ends the collection (`count`, and `sha256` over its documents). `Z` ends the file
(`collections`).
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from stores.errors import StoreError

FORMAT: Final = 1
BATCH_SIZE: Final = 1_000
"""Number of documents per read or write."""

_MAX_DOCUMENT_BYTES: Final = 17 * 1024 * 1024
_SIZE: Final = struct.Struct("<i")

_RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)

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


def raw_collection(database: Database[dict[str, Any]], name: str) -> Collection[RawBSONDocument]:
    """Return a collection whose documents are not decoded."""
    return database[name].with_options(codec_options=_RAW)
