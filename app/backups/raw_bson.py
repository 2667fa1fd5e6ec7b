"""What is stored, as the bytes that it is stored as."""

from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

Client = MongoClient[dict[str, Any]]

BATCH: Final = 1_000
"""Documents that are read or written at a time, at most."""

_RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)


def raw(database: Database[dict[str, Any]], name: str) -> Collection[RawBSONDocument]:
    """A collection whose documents are not decoded."""
    return database[name].with_options(codec_options=_RAW)
