"""A pool of databases that tests reuse.

Building every index takes a second; deleting the documents of a test takes far less.
"""

import uuid
from typing import Any, Final

from pymongo import MongoClient
from pymongo.database import Database

from stores.database import indexes

Document = dict[str, Any]

_MANY: Final = 2000
_EXPECTED: Final = {
    name: {"_id_", *(model.document["name"] for model in models)} for name, models in indexes.models().items()
}


class DatabasePool:
    """A pool of empty databases with every index that a server creates.

    The pool drops a database if a test removed a collection, changed its indexes or left too many documents.
    """

    def __init__(self, client: MongoClient[Document]) -> None:
        self._client = client
        self._free: list[str] = []

    def take(self) -> str:
        """Return the name of a database that no other test uses."""
        return self._free.pop() if self._free else self._built()

    def release(self, name: str) -> None:
        """Empty a database for the next test, or drop it."""
        if self._is_as_made(name) and _emptied(self._client[name]):
            self._free.append(name)
        else:
            self._client.drop_database(name)

    def close(self) -> None:
        """Drop the unused databases."""
        for name in self._free:
            self._client.drop_database(name)
        self._free.clear()

    def _built(self) -> str:
        name = f"test_{uuid.uuid4().hex[:16]}"
        for collection, models in indexes.models().items():
            self._client[name][collection].create_indexes(models)
        return name

    def _is_as_made(self, name: str) -> bool:
        """Return whether the database has all expected collections and no other indexes.

        One command reads all collections, because this runs after each test.
        """
        shown = {"_id": 0, "name": 1, "indexes": "$md.indexes.spec.name"}
        listed: list[Document] = [{"$listCatalog": {}}, {"$match": {"db": name}}, {"$project": shown}]
        found = {row["name"]: set(row["indexes"]) for row in self._client.admin.aggregate(listed)}
        return _EXPECTED.keys() <= found.keys() and all(
            made == _EXPECTED.get(collection, {"_id_"}) for collection, made in found.items()
        )


def _emptied(database: Database[Document]) -> bool:
    """Empty the database and return True, or return False if it holds too many documents to delete."""
    names = sorted(database.list_collection_names())
    filled = _filled(database, names)
    if sum(database[name].estimated_document_count() for name in filled) > _MANY:
        return False
    for name in filled:
        database[name].delete_many({})
        database.command("planCacheClear", name)
    return True


def _filled(database: Database[Document], names: list[str]) -> list[str]:
    """Return the names of the collections that are not empty."""

    def any_of(name: str) -> list[Document]:
        return [{"$limit": 1}, {"$project": {"_id": {"$literal": name}}}]

    others = [{"$unionWith": {"coll": name, "pipeline": any_of(name)}} for name in names[1:]]
    return [row["_id"] for row in database[names[0]].aggregate([*any_of(names[0]), *others])]
