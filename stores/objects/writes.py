"""Writes of object versions, serialized per name by its head document.

A transaction changes the name's head first, so of two concurrent transactions one waits or restarts. The head counts
versions (the index of the next one) and writes (the version written last is the latest).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import ReturnDocument

from stores import times
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document
from stores.database.transactions import Session
from stores.errors import BadInputError, ErrorsAt, NotFoundError
from stores.objects import documents
from stores.objects.classes import OBJECT, OP, Kind
from stores.objects.documents import NAMING, ObjectVersion, naming

Name = tuple[str, Kind, str]
"""Project id, kind and object name."""

_POSITION = ("kind", "digest", "version_index", "is_latest", "visible")


@dataclass(slots=True)
class RestoredVersion:
    """An existing version; `created_at` is in microseconds since the epoch."""

    version: ObjectVersion
    digest: str
    version_index: int
    is_latest: bool
    created_at: int

    def document(self) -> Document:
        """Build the document, without its position among the versions.

        Raises:
            BadInputError: a field is invalid, or the digest does not match the value.
            PayloadTooLargeError: the value does not fit into a document.
        """
        checked = self.version.checked()
        document = documents.new_document(checked, checked.kind or OBJECT)
        if document["digest"] != self.digest:
            raise BadInputError(
                f"{self.digest[:64]!r} does not match val, whose digest is {document['digest']}", "digest"
            )
        return document | {"created_at": self.created_at}


async def group_by_name(batch: Sequence[RestoredVersion]) -> dict[Name, list[tuple[RestoredVersion, Document]]]:
    """Group versions by name with their documents, in order.

    Raises:
        StoreError: a version is invalid; the argument is `batch.<position>`.
    """
    names: dict[Name, list[tuple[RestoredVersion, Document]]] = {}
    async for position, restored in cooperative(enumerate(batch)):
        with ErrorsAt(f"batch.{position}"):
            document = restored.document()
        name = restored.version.project_id, document["kind"], restored.version.object_id
        names.setdefault(name, []).append((restored, document))
    return names


class NameWriter:
    """Writes the versions of one name inside a transaction."""

    def __init__(self, database: Database, session: Session, project_id: str, kind: Kind, object_id: str) -> None:
        self._objects = database.objects
        self._heads = database.object_heads
        self._session = session
        self._name = documents.name_key(project_id, kind, object_id)
        self._head_id = documents.head_id(project_id, kind, object_id)

    async def create(self, document: Document) -> None:
        """Store a version as the latest: a new one gets the next index, an existing one keeps it and is undeleted."""
        head = await self._count_write()
        old = await self._objects.find_one({"_id": document["_id"]}, {"version_index": 1}, session=self._session)
        await self._unset_latest()
        await self._put(
            document, {"visible": True, "is_latest": 1, "write_index": head["writes"]}, old, head["versions"]
        )

    async def restore(self, document: Document, version_index: int, *, is_latest: bool) -> None:
        """Import a version at its index, or at the next one if that is taken; an existing version is left unchanged.

        It becomes the latest if it was the latest before, or until another version is.
        """
        old = await self._objects.find_one({"_id": document["_id"]}, {"visible": 1}, session=self._session)
        if old and old["visible"]:
            return
        head = await self._count_write()
        becomes_latest = is_latest or await self._may_lead(version_index)
        if becomes_latest:
            await self._unset_latest()
        stands_in = {"stands_in": True} if becomes_latest and not is_latest else {}
        position = {"visible": True, "is_latest": int(becomes_latest), "write_index": head["writes"], **stands_in}
        same_index = {**self._name, "version_index": version_index}
        is_taken = await self._objects.find_one(same_index, {"_id": 1}, session=self._session) is not None
        await self._put(document, position, old, head["versions"] if is_taken else version_index)

    async def _may_lead(self, version_index: int) -> bool:
        """Return True if there is no latest version, or only a stand-in with a lower index."""
        projection = {"visible": 1, "version_index": 1, "stands_in": 1}
        latest = await self._objects.find_one({**self._name, "is_latest": 1}, projection, session=self._session)
        if not latest or not latest["visible"]:
            return True
        return bool(latest.get("stands_in")) and latest["version_index"] < version_index

    async def _put(self, document: Document, position: Document, old: Document | None, index: int) -> None:
        """Insert a new version at an index, or restore the content of an old one."""
        if old:
            content = {name: document[name] for name in documents.CONTENT if name in document}
            unset = {"deleted_at": ""} | ({} if "stands_in" in position else {"stands_in": ""})
            update = {"$set": content | position, "$unset": unset}
            await self._objects.update_one({"_id": document["_id"], **self._name}, update, session=self._session)
            return
        await self._objects.insert_one(document | position | {"version_index": index}, session=self._session)
        update = {"$max": {"versions": index + 1}}
        await self._heads.update_one({"_id": self._head_id, **self._name}, update, session=self._session)

    async def delete(self, rows: Sequence[Document], doomed: Sequence[Document], *, is_whole: bool) -> int:
        """Delete versions; return their number.

        Args:
            rows: all versions of the name, as `versions_of` returns them.
            doomed: the versions to delete.
            is_whole: true if the whole name is deleted, so that no version keeps its value.
        """
        await self._count_write()
        deleted = {"$set": {"visible": False, "is_latest": 0, "deleted_at": times.now()}}
        keys = {"_id": {"$in": [row["_id"] for row in doomed]}, **self._name}
        await self._objects.update_many(keys, deleted, session=self._session)
        if is_whole:
            cleared = {"$set": documents.EMPTY, "$unset": {"refs": ""}}
            await self._objects.update_many(self._name, cleared, session=self._session)
        if any(row["is_latest"] for row in doomed):
            await self._set_latest(visible=len(doomed) < sum(row["visible"] for row in rows))
        return len(doomed)

    async def _count_write(self) -> Document:
        """Count this write in the head and return the head; missing counters start at 0."""
        update = {"$inc": {"writes": 1, "versions": 0}, "$setOnInsert": self._name}
        head = await self._heads.find_one_and_update(
            {"_id": self._head_id, **self._name},
            update,
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=self._session,
        )
        return dict(head)

    async def _unset_latest(self) -> None:
        latest = {**self._name, "is_latest": 1}
        await self._objects.update_one(latest, {"$set": {"is_latest": 0}}, session=self._session)

    async def _set_latest(self, *, visible: bool) -> None:
        match = {**self._name, "visible": visible}
        await self._objects.find_one_and_update(
            match, {"$set": {"is_latest": 1}}, sort=[("write_index", -1)], projection={"_id": 1}, session=self._session
        )


async def versions_of(
    database: Database, session: Session, project_id: str, kinds: Sequence[Kind], object_id: str
) -> list[Document]:
    """Return kind and position of all versions of a name, including deleted ones; objects come before ops."""
    match = {"project_id": project_id, "kind": {"$in": [*kinds]}, "object_id": object_id}
    rows = await database.objects.find(match, dict.fromkeys(_POSITION, 1), session=session).to_list(None)
    return sorted(rows, key=lambda row: [OBJECT, OP].index(row["kind"]))


def doomed_rows(rows: Sequence[Document], versions: Sequence[str], object_id: str) -> dict[str, Document]:
    """Return the row of each version; an object's row, even if deleted, precedes an op's.

    Raises:
        NotFoundError: a version does not exist or is deleted.
    """
    by_name: dict[tuple[str, object], Document] = {}
    for row in rows:
        for field in NAMING:
            by_name.setdefault((field, row[field]), row)
    rows_by_version = {version: by_name.get(naming(version)) for version in versions}
    missing = [version for version, row in rows_by_version.items() if not row or not row["visible"]]
    if missing:
        listed = ", ".join(version[:64] for version in missing)
        raise NotFoundError(f"{object_id[:128]} has no {listed}; nothing was deleted", "digests")
    return {version: row for version, row in rows_by_version.items() if row}
