"""Files: content by its digest, in GridFS, read and written in parts of which few are in memory at once."""

from stores.files.store import FilesStats, FilesStore, StoredFile
from stores.files.uploads import Content, NewFile

__all__ = ["Content", "FilesStats", "FilesStore", "NewFile", "StoredFile"]
