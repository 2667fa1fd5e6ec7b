"""Databases for tests, used again: to build every index anew takes a second, to empty what a test wrote far less."""

import uuid
from typing import Any, Final

from pymongo import MongoClient
from pymongo.database import Database

from stores import indexes

Document = dict[str, Any]

_MANY: Final = 2000
_EXPECTED: Final = {
    name: {"_id_", *(model.document["name"] for model in models)} for name, models in indexes.models().items()
}


class DatabasePool:
    """Empty databases, most of them with every index that a server would make.

    One that a test left with more than documents in its collections (other collections, other indexes) is dropped.
    """

    def __init__(self, client: MongoClient[Document]) -> None:
        self._client = client
        self._free: list[str] = []

    def take(self) -> str:
        """The name of a database that no one else uses."""
        return self._free.pop() if self._free else f"test_{uuid.uuid4().hex[:16]}"

    def give_back(self, name: str) -> None:
        """Make a database ready for the next one, or drop it."""
        database = self._client[name]
        if _is_as_made(database) and _emptied(database):
            self._free.append(name)
        else:
            self._client.drop_database(name)

    def close(self) -> None:
        """Drop those that are free."""
        for name in self._free:
            self._client.drop_database(name)
        self._free.clear()


def _is_as_made(database: Database[Document]) -> bool:
    found = database.list_collection_names()
    return _EXPECTED.keys() <= set(found) and all(
        set(database[name].index_information()) == _EXPECTED.get(name, {"_id_"}) for name in found
    )


def _emptied(database: Database[Document]) -> bool:
    """Whether the database is empty now; what holds many documents is sooner dropped."""
    filled = {name: database[name].estimated_document_count() for name in database.list_collection_names()}
    if sum(filled.values()) > _MANY:
        return False
    for name in filled:
        if database[name].find_one({}, {"_id": 1}):
            database[name].delete_many({})
        database.command("planCacheClear", name)
    return True
