"""Writing versions: one writer of a name at a time, and each leaves the name whole.

Whoever writes changes the name's head first, so that of two transactions one waits for the other or begins anew. The
head counts the versions (the next one's index) and the writes: the version that was written last is the latest.
"""

from collections.abc import Sequence

from pymongo import ReturnDocument

from stores import times
from stores.database import Database, Document
from stores.database.transactions import Session
from stores.errors import NotFoundError
from stores.objects import documents
from stores.objects.classes import OBJECT, OP, Kind
from stores.objects.versions import NAMING, naming

_PLACE = ("kind", "digest", "version_index", "is_latest", "visible")
_RECENT_FIRST = [("write_index", -1)]


class NameWriter:
    """Writes the versions of one name inside a transaction."""

    def __init__(self, database: Database, session: Session, project_id: str, kind: Kind, object_id: str) -> None:
        self._objects = database.objects
        self._heads = database.object_heads
        self._session = session
        self._name = documents.name_key(project_id, kind, object_id)
        self._head_id = documents.head_id(project_id, kind, object_id)

    async def create(self, document: Document) -> None:
        """Make a version the latest: a new one comes last, one that is there keeps its index and lives again."""
        head = await self._begin()
        old = await self._objects.find_one({"_id": document["_id"]}, {"version_index": 1}, session=self._session)
        await self._unset_latest()
        place = {"visible": True, "is_latest": 1, "write_index": head["writes"]}
        if old:
            await self._revive(document, place)
            return
        await self._objects.insert_one(document | place | {"version_index": head["versions"]}, session=self._session)
        counted = {"$inc": {"versions": 1}}
        await self._heads.update_one({"_id": self._head_id, **self._name}, counted, session=self._session)

    async def restore(self, document: Document, version_index: int, *, is_latest: bool) -> None:
        """Put back a version that was made elsewhere, at its index there if that is free; one that is there stays.

        It is the latest if it was so there, or as long as no other is.
        """
        old = await self._objects.find_one({"_id": document["_id"]}, {"visible": 1}, session=self._session)
        if old and old["visible"]:
            return
        head = await self._begin()
        leads = is_latest or await self._is_led_less_far(version_index)
        if leads:
            await self._unset_latest()
        stands_in = {"stands_in": True} if leads and not is_latest else {}
        place = {"visible": True, "is_latest": int(leads), "write_index": head["writes"], **stands_in}
        if old:
            await self._revive(document, place)
            return
        index = head["versions"] if await self._is_taken(version_index) else version_index
        await self._objects.insert_one(document | place | {"version_index": index}, session=self._session)
        counted = {"$max": {"versions": index + 1}}
        await self._heads.update_one({"_id": self._head_id, **self._name}, counted, session=self._session)

    async def _is_led_less_far(self, version_index: int) -> bool:
        """Whether no version is the latest, or only one that stands in for it, with a lower index."""
        seen = {"visible": 1, "version_index": 1, "stands_in": 1}
        latest = await self._objects.find_one({**self._name, "is_latest": 1}, seen, session=self._session)
        if not latest or not latest["visible"]:
            return True
        return bool(latest.get("stands_in")) and latest["version_index"] < version_index

    async def _is_taken(self, version_index: int) -> bool:
        taken = {**self._name, "version_index": version_index}
        return await self._objects.find_one(taken, {"_id": 1}, session=self._session) is not None

    async def _revive(self, document: Document, place: Document) -> None:
        """Give a deleted version its content and another place."""
        content = {name: document[name] for name in documents.CONTENT if name in document}
        gone = {"deleted_at": ""} | ({} if "stands_in" in place else {"stands_in": ""})
        update = {"$set": content | place, "$unset": gone}
        await self._objects.update_one({"_id": document["_id"], **self._name}, update, session=self._session)

    async def delete(self, rows: Sequence[Document], doomed: Sequence[Document], *, is_whole: bool) -> int:
        """Delete some of the name's versions that are there; return how many.

        Args:
            rows: All versions of the name, as `versions_of` returns them.
            doomed: Those to delete.
            is_whole: Whether the name goes as a whole, so that no version keeps its value.
        """
        await self._begin()
        gone = {"$set": {"visible": False, "is_latest": 0, "deleted_at": times.now()}}
        keys = {"_id": {"$in": [row["_id"] for row in doomed]}, **self._name}
        await self._objects.update_many(keys, gone, session=self._session)
        if is_whole:
            emptied = {"$set": documents.EMPTY, "$unset": {"refs": ""}}
            await self._objects.update_many(self._name, emptied, session=self._session)
        if any(row["is_latest"] for row in doomed):
            await self._set_latest(visible=len(doomed) < sum(row["visible"] for row in rows))
        return len(doomed)

    async def _begin(self) -> Document:
        """The head, as it was before this write, which is counted; what it counts begins at 0."""
        counted = {"$inc": {"writes": 1, "versions": 0}, "$setOnInsert": self._name}
        head = await self._heads.find_one_and_update(
            {"_id": self._head_id, **self._name},
            counted,
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=self._session,
        )
        return dict(head)

    async def _unset_latest(self) -> None:
        latest = {**self._name, "is_latest": 1}
        await self._objects.update_one(latest, {"$set": {"is_latest": 0}}, session=self._session)

    async def _set_latest(self, *, visible: bool) -> None:
        among = {**self._name, "visible": visible}
        await self._objects.find_one_and_update(
            among, {"$set": {"is_latest": 1}}, sort=_RECENT_FIRST, projection={"_id": 1}, session=self._session
        )


async def versions_of(
    database: Database, session: Session, project_id: str, kinds: Sequence[Kind], object_id: str
) -> list[Document]:
    """Return the kind and place of all versions of a name, also of deleted ones; objects come before ops."""
    match = {"project_id": project_id, "kind": {"$in": [*kinds]}, "object_id": object_id}
    rows = await database.objects.find(match, dict.fromkeys(_PLACE, 1), session=session).to_list(None)
    return sorted(rows, key=lambda row: [OBJECT, OP].index(row["kind"]))


def doomed_rows(rows: Sequence[Document], versions: Sequence[str], object_id: str) -> dict[str, Document]:
    """Return the row that each version names: the object's, even if it is deleted, before the op's.

    Raises:
        NotFoundError: a version names none, or one that is deleted.
    """
    by_name: dict[tuple[str, object], Document] = {}
    for row in rows:
        for field in NAMING:
            by_name.setdefault((field, row[field]), row)
    found = {version: by_name.get(naming(version)) for version in versions}
    missing = [version for version, row in found.items() if not row or not row["visible"]]
    if missing:
        raise not_found(object_id, missing=missing)
    return {version: row for version, row in found.items() if row}


def not_found(object_id: str, name_argument: str = "object_id", missing: Sequence[str] = ()) -> NotFoundError:
    """The error of a name that has none of some versions, or without any, none at all."""
    if not missing:
        return NotFoundError(f"there is no version of {object_id[:128]} that is not deleted", name_argument)
    listed = ", ".join(version[:64] for version in missing)
    return NotFoundError(f"{object_id[:128]} has no {listed}; nothing was deleted", "digests")
