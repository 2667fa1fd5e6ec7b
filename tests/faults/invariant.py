"""Invariants of a project's documents after any fault: complete, with correct sizes, and none orphaned.

The documents are read directly from MongoDB. The stored sizes are requested from the server.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from pymongo import MongoClient, ReadPreference
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from stores.database.leases import LEASE_SECONDS
from tests.faults.client import FaultsClient

Document = dict[str, Any]

SIZES = """
query ($projectId: ID!) {
  projectStats(projectId: $projectId) {
    traceStorageSizeBytes objectsStorageSizeBytes tablesStorageSizeBytes filesStorageSizeBytes
  }
}
"""
_RUNS: Final = ("Evaluation.evaluate", "Evaluation.predict_and_score")


async def broken(uri: str, client: FaultsClient, name: str = "loomql") -> list[str]:
    """Return a sentence for each invariant that does not hold."""
    with MongoClient[Document](uri, serverSelectionTimeoutMS=30_000) as mongo:
        database = mongo.get_database(
            name, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )
        found = Project(database, client.project_id)
        stats = (await client.ask(SIZES))["projectStats"]
        sizes = found.sizes()
        differ = [
            f"{name} is {stats[name]}, and {sizes[name]} by a recount"
            for name in sizes
            if int(stats[name]) != sizes[name]
        ]
        return [*differ, *found.broken()]


def text_size(text: str) -> int:
    """Return the length of a JSON text in Python's default format, by which the server measures sizes."""
    return len(json.dumps(json.loads(text)))


class Project:
    """The documents of one project."""

    def __init__(self, database: Database[Document], project_id: str) -> None:
        self._database = database
        self._project_id = project_id
        self.calls = [call for call in self._all("calls") if call.get("visible")]
        self.files = self._all("files.files")
        self.chunks = list(database["files.chunks"].find({"files_id": {"$regex": f"^{project_id}:"}}))
        self.objects = self._all("objects")
        self.tables = self._all("tables")
        self.table_chunks = {chunk["digest"]: chunk for chunk in self._all("table_chunks")}
        self.rows = {row["digest"]: row for row in self._all("table_rows")}
        self.feedback = self._all("feedback")
        self.costs = self._all("costs")

    def sizes(self) -> dict[str, int]:
        """Recount the sizes of the project."""
        values = [version["json"]["val"] for version in self.objects if version["visible"]]
        return {
            "traceStorageSizeBytes": sum(map(_call_size, self.calls)),
            "objectsStorageSizeBytes": sum(map(text_size, values)),
            "tablesStorageSizeBytes": sum(text_size(row["json"]["val"]) for row in self.rows.values()),
            "filesStorageSizeBytes": sum(len(chunk["data"]) for chunk in self._owned_chunks()),
        }

    def broken(self) -> Iterator[str]:
        """Yield a sentence for each invariant that does not hold in the documents."""
        yield from self._broken_calls()
        yield from self._broken_files()
        yield from self._broken_tables()
        yield from self._broken_objects()
        yield from self._broken_feedback()
        yield from self._broken_project()

    def _broken_calls(self) -> Iterator[str]:
        there = {call["id"] for call in self.calls}
        for call in self.calls:
            if call["storage_size_bytes"] != _call_size(call):
                yield f"call {call['id']} says that it takes {call['storage_size_bytes']} bytes, not {_call_size(call)}"
            if call.get("op_trace_name") in _RUNS and call.get("parent_id") and call["parent_id"] not in there:
                yield f"call {call['id']} is of a run that is not there"

    def _owned_chunks(self) -> list[Document]:
        files = {file["_id"] for file in self.files}
        return [chunk for chunk in self.chunks if chunk["files_id"] in files]

    def _broken_files(self) -> Iterator[str]:
        contents: dict[str, bytes] = {}
        for chunk in sorted(self._owned_chunks(), key=lambda chunk: chunk["n"]):
            contents[chunk["files_id"]] = contents.get(chunk["files_id"], b"") + chunk["data"]
        for file in self.files:
            content = contents.get(file["_id"], b"")
            if len(content) != file["length"]:
                yield f"file {file['digest']} has {len(content)} of its {file['length']} bytes"
        uploads = {upload["_id"] for upload in self._database["file_uploads"].find({}, {"_id": 1})}
        orphaned = {
            chunk["files_id"]
            for chunk in self.chunks
            if chunk["files_id"] not in contents and chunk["files_id"].rpartition(".")[0] not in uploads
        }
        if orphaned:
            yield f"parts belong to no file and no upload: {sorted(orphaned)}"

    def _broken_tables(self) -> Iterator[str]:
        used_chunks: set[str] = set()
        used_rows: set[str] = set()
        for table in self.tables:
            missing = [chunk for chunk in table["chunks"] if chunk not in self.table_chunks]
            if missing:
                yield f"table {table['digest']} lacks chunks: {missing}"
                continue
            digests = [row for chunk in table["chunks"] for row in self.table_chunks[chunk]["row_digests"]]
            used_chunks |= set(table["chunks"])
            used_rows |= set(digests)
            yield from self._broken_table(table, digests)
        if orphaned := self._orphaned(self.table_chunks, used_chunks):
            yield f"{len(orphaned)} chunks belong to no table and no upload"
        if orphaned := self._orphaned(self.rows, used_rows):
            yield f"{len(orphaned)} rows belong to no table and no upload"

    def _orphaned(self, contents: dict[str, Document], used: set[str]) -> list[str]:
        uploads = {upload["_id"] for upload in self._database["table_uploads"].find({}, {"_id": 1})}
        unused = contents.keys() - used
        return [digest for digest in unused if uploads.isdisjoint(contents[digest].get("uploads", ()))]

    def _broken_table(self, table: Document, digests: list[str]) -> Iterator[str]:
        if hashlib.sha256("".join(digests).encode()).hexdigest() != table["digest"] or len(digests) != table["count"]:
            yield f"table {table['digest']} has other rows than its digest says"
        if missing := [row for row in digests if row not in self.rows]:
            yield f"table {table['digest']} lacks {len(missing)} rows"
            return
        size = sum(text_size(self.rows[row]["json"]["val"]) for row in digests)
        if table.get("storage_size_bytes") != size:
            yield f"table {table['digest']} says that it takes {table.get('storage_size_bytes')} bytes, not {size}"

    def _broken_objects(self) -> Iterator[str]:
        indices: dict[str, list[int]] = {}
        latest: Counter[str] = Counter()
        for version in self.objects:
            indices.setdefault(version["object_id"], []).append(version["version_index"])
            latest[version["object_id"]] += version["is_latest"]
        for name, found in indices.items():
            if sorted(found) != list(range(len(found))) or latest[name] != 1:
                yield f"object {name} has the versions {sorted(found)}, {latest[name]} of them the latest"
        heads = {head["object_id"]: head["versions"] for head in self._all("object_heads")}
        if heads != {name: len(found) for name, found in indices.items()}:
            yield f"the heads of objects count {heads}"

    def _broken_feedback(self) -> Iterator[str]:
        there = {call["id"] for call in self._all("calls")}  # feedback stays when its call is deleted
        for one in self.feedback:
            if one.get("call_id") and one["call_id"] not in there:
                yield f"feedback {one['id']} is on a call that is not there"

    def _broken_project(self) -> Iterator[str]:
        if self.calls and not self._database["projects"].find_one({"_id": self._project_id}):
            yield f"{self._project_id} is in no list of projects"
        longest = {"$add": ["$$NOW", int(LEASE_SECONDS * 1000)]}
        for lease in self._database["leases"].find({"$expr": {"$gt": ["$held_until", longest]}}):
            yield f"the lease {lease['_id']} is held for too long"

    def _all(self, collection: str) -> list[Document]:
        return list(self._database[collection].find({"project_id": self._project_id}))


def _call_size(call: Document) -> int:
    return sum(text_size(text) for text in call.get("json", {}).values())
