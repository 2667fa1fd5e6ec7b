"""Collections read and written as raw BSON."""

from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

Client = MongoClient[dict[str, Any]]

BATCH_SIZE: Final = 1_000
"""Number of documents per read or write."""

_RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)


def raw_collection(database: Database[dict[str, Any]], name: str) -> Collection[RawBSONDocument]:
    """Return a collection whose documents are not decoded."""
    return database[name].with_options(codec_options=_RAW)
