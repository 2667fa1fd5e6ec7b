"""Files: content by its digest, in GridFS, read and written in parts of which few are in memory at once."""

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
