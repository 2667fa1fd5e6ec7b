"""Databases for tests, used again: to build every index anew takes a second, to empty what a test wrote far less."""

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
    """Empty databases with every index that a server would make.

    One that a test left with more than documents in its collections (other collections, other indexes) is dropped.
    """

    def __init__(self, client: MongoClient[Document]) -> None:
        self._client = client
        self._free: list[str] = []

    def take(self) -> str:
        """The name of a database that no one else uses."""
        return self._free.pop() if self._free else self._built()

    def give_back(self, name: str) -> None:
        """Make a database ready for the next one, or drop it."""
        if self._is_as_made(name) and _emptied(self._client[name]):
            self._free.append(name)
        else:
            self._client.drop_database(name)

    def close(self) -> None:
        """Drop those that are free."""
        for name in self._free:
            self._client.drop_database(name)
        self._free.clear()

    def _built(self) -> str:
        name = f"test_{uuid.uuid4().hex[:16]}"
        for collection, models in indexes.models().items():
            self._client[name][collection].create_indexes(models)
        return name

    def _is_as_made(self, name: str) -> bool:
        """Whether all indexes are there and no other; asked of all collections at once, as it is after each test."""
        shown = {"_id": 0, "name": 1, "indexes": "$md.indexes.spec.name"}
        listed: list[Document] = [{"$listCatalog": {}}, {"$match": {"db": name}}, {"$project": shown}]
        found = {row["name"]: set(row["indexes"]) for row in self._client.admin.aggregate(listed)}
        return _EXPECTED.keys() <= found.keys() and all(
            made == _EXPECTED.get(collection, {"_id_"}) for collection, made in found.items()
        )


def _emptied(database: Database[Document]) -> bool:
    """Whether the database is empty now; what holds many documents is sooner dropped."""
    names = sorted(database.list_collection_names())
    filled = _filled(database, names)
    if sum(database[name].estimated_document_count() for name in filled) > _MANY:
        return False
    for name in filled:
        database[name].delete_many({})
        database.command("planCacheClear", name)
    return True


def _filled(database: Database[Document], names: list[str]) -> list[str]:
    """Which collections hold anything."""

    def any_of(name: str) -> list[Document]:
        return [{"$limit": 1}, {"$project": {"_id": {"$literal": name}}}]

    others = [{"$unionWith": {"coll": name, "pipeline": any_of(name)}} for name in names[1:]]
    return [row["_id"] for row in database[names[0]].aggregate([*any_of(names[0]), *others])]
