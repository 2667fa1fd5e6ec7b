"""A pool of databases that tests reuse.

Building every index takes a second; deleting the documents of a test takes far less.
"""

import math
import time
import uuid
from typing import Any, Final

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from stores.database import indexes
from stores.database.shard_keys import SUPPORTING_INDEX
from tests.topologies.cluster import shard

Document = dict[str, Any]

_MANY: Final = 2000
_MAJORITY: Final = WriteConcern("majority")
"""Write concern of deletions, because LoomQL reads what a majority has."""
_EXPECTED: Final = {
    name: {"_id_", *(model.document["name"] for model in models)} for name, models in indexes.models().items()
}
_CHUNKS: Final = 2
"""Number of the ranges of calls, one on each shard."""
_OF_SHARD_KEYS: Final = {SUPPORTING_INDEX}
"""Indexes that a database on a cluster may have besides."""


class DatabasePool:
    """A pool of empty databases with every index that a server creates; on a cluster, on both shards.

    The pool makes a collection again if a test removed it, changed its indexes or left too many documents in it.
    On a cluster it drops the database.
    """

    def __init__(self, client: MongoClient[Document]) -> None:
        self._client = client
        self._free: list[str] = []
        self._is_cluster = client.admin.command("hello").get("msg") == "isdbgrid"
        found = client.topology_description.server_descriptions() if self._is_cluster else ()
        self._routers = [MongoClient[Document](*address) for address in found]

    def take(self) -> str:
        """Return the name of a database that no other test uses."""
        return self._free.pop() if self._free else self._built()

    def release(self, name: str) -> None:
        """Empty a database for the next test, or drop it."""
        if self._is_moved(name) or not self.empty(name, _MANY):
            if self._is_cluster:
                self._client.drop_database(name)
                return
            self._make_again(name)
        self._tell_routers()
        self._free.append(name)

    def _is_moved(self, name: str) -> bool:
        """Return True if calls have other ranges than at first, or are not sharded: each shard must have one range."""
        if not self._is_cluster:
            return False
        sharded = self._client["config"]["collections"].find_one({"_id": f"{name}.calls"})
        return sharded is None or self._client["config"]["chunks"].count_documents({"uuid": sharded["uuid"]}) > _CHUNKS

    def _tell_routers(self) -> None:
        """Tell each router the time of the last deletion.

        Snapshots of a router that has not heard of it show the documents of the last test, and its new streams tell of
        the deletions.
        """
        if not self._routers:
            return
        with self._client.start_session() as session:
            self._client.admin.command("ping", session=session)
            time = session.cluster_time
        for router in self._routers:
            with router.start_session() as session:
                if time is not None:
                    session.advance_cluster_time(time)
                router.admin.command("ping", session=session)

    def empty(self, name: str, max_documents: float = math.inf) -> bool:
        """Empty a database and return True; return False if its indexes changed or it holds too many documents."""
        indexes_of = self._catalog(name)
        database = self._client.get_database(name, write_concern=_MAJORITY)
        return not _changed(indexes_of) and _emptied(database, sorted(indexes_of), max_documents)

    def _make_again(self, name: str) -> None:
        """Make those collections again whose indexes changed or that hold documents."""
        indexes_of, database, models = self._catalog(name), self._client[name], indexes.models()
        # MongoDB lists the catalog of dropped views among the collections, and refuses to delete its documents.
        of_views = indexes_of.keys() & {"system.views"}
        for collection in _changed(indexes_of) | _filled(database, sorted(indexes_of)).keys() | of_views:
            database.drop_collection(collection)
            if collection in models:
                database[collection].create_indexes(models[collection])

    def close(self) -> None:
        """Drop the unused databases."""
        for name in self._free:
            self._client.drop_database(name)
        self._free.clear()
        for router in self._routers:
            router.close()

    def _built(self) -> str:
        name = f"test_{uuid.uuid4().hex[:16]}"
        if self._is_cluster:
            shard(self._client, name)
        else:
            for collection, models in indexes.models().items():
                self._client[name][collection].create_indexes(models)
        return name

    def _catalog(self, name: str) -> dict[str, set[str]]:
        """Return the indexes of each collection, read by one command, because this runs after each test."""
        shown = {"_id": 0, "name": 1, "indexes": "$md.indexes.spec.name"}
        listed: list[Document] = [{"$listCatalog": {}}, {"$match": {"db": name}}, {"$project": shown}]
        return {row["name"]: set(row["indexes"]) for row in self._client.admin.aggregate(listed)}


def _changed(indexes_of: dict[str, set[str]]) -> set[str]:
    """Return the collections that are missing, or have other indexes than expected."""
    return {
        collection
        for collection in _EXPECTED.keys() | indexes_of.keys()
        if (indexes_of.get(collection, set()) | _OF_SHARD_KEYS)
        != (_EXPECTED.get(collection, {"_id_"}) | _OF_SHARD_KEYS)
    }


def _emptied(database: Database[Document], names: list[str], max_documents: float) -> bool:
    """Empty the collections and return True, or return False if they hold too many documents to delete."""
    filled = _filled(database, names)
    if sum(filled.values()) > max_documents:
        return False
    for name in filled:
        _delete_all(database[name])
        database.command("planCacheClear", name)
    return True


def _delete_all(collection: Collection[Document]) -> None:
    """Delete all documents; again if the primary of a shard has just gone, because no router repeats such a delete."""
    for is_last in (False, False, True):
        try:
            collection.delete_many({})
        except PyMongoError:
            if is_last:
                raise
            time.sleep(1)
        else:
            return


def _filled(database: Database[Document], names: list[str]) -> dict[str, int]:
    """Return the number of documents of the collections that are not empty, read by one command."""
    counting: list[Document] = [{"$collStats": {"count": {}}}, {"$match": {"count": {"$gt": 0}}}]
    others = [{"$unionWith": {"coll": name, "pipeline": counting}} for name in names[1:]]
    rows = database[names[0]].aggregate([*counting, *others])
    return {row["ns"].partition(".")[2]: row["count"] for row in rows}
