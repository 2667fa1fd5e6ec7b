"""Files: content identified by its digest, stored in GridFS, streamed in chunks."""

from stores.files.store import FilesStats, FilesStore, StoredFile
from stores.files.uploads import HELD_BYTES, MAX_FILE_BYTES, Content, NewFile, check_size, write_files

__all__ = [
    "HELD_BYTES",
    "MAX_FILE_BYTES",
    "Content",
    "FilesStats",
    "FilesStore",
    "NewFile",
    "StoredFile",
    "check_size",
    "write_files",
]
