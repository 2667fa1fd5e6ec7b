"""Store of objects and ops, with their fields and filter; each operation is within one project.

Writes are serialized per name by its head document. A transaction changes the head first, so of two concurrent
transactions one waits or restarts. The head counts versions (the index of the next one) and writes (the version written
last is the latest).
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from functools import partial
from typing import ClassVar, Final
from weakref import WeakValueDictionary

from pymongo import ReturnDocument

from stores import refs, times
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document, content_store, database_query, database_write
from stores.database.driver import find_all
from stores.database.transactions import Session
from stores.document_list import DocumentList
from stores.errors import BadInputError, ErrorsAt, NotFoundError
from stores.ids import check_project_id
from stores.input_checks import MAX_MEMBERS, check_count
from stores.objects import documents
from stores.objects.classes import OBJECT, OP, Kind
from stores.objects.documents import NAMING, ObjectVersion, naming
from stores.paging import Row
from stores.query.fields import Field, FieldTable
from stores.query.fields import Kind as FieldKind
from stores.query.index_use import IndexedFields
from stores.query.match_compiler import Match
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany
from stores.security import audit

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
        old = await self._objects.find_one(
            {"_id": document["_id"], **self._name}, {"version_index": 1}, session=self._session
        )
        await self._unset_latest()
        await self._put(
            document, {"visible": True, "is_latest": 1, "write_index": head["writes"]}, old, head["versions"]
        )

    async def restore(self, document: Document, version_index: int, *, is_latest: bool) -> None:
        """Import a version at its index, or at the next one if that is taken; an existing version is left unchanged.

        It becomes the latest if it was the latest before, or until another version is.
        """
        old = await self._objects.find_one(
            {"_id": document["_id"], **self._name}, {"visible": 1}, session=self._session
        )
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
            match = {**self._name, "visible": len(doomed) < sum(row["visible"] for row in rows)}
            await self._objects.find_one_and_update(
                match,
                {"$set": {"is_latest": 1}},
                sort=[("write_index", -1)],
                projection={"_id": 1},
                session=self._session,
            )
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


OBJECT_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("project_id", "project_id", optional=False),
        Field("object_id", "object_id", optional=False),
        Field("digest", "digest", optional=False),
        Field("kind", "kind", optional=False, low_cardinality=True, values=("object", "op")),
        Field("version_index", "version_index", FieldKind.NUMBER, optional=False),
        Field("is_latest", "is_latest", FieldKind.NUMBER, optional=False),
        Field("created_at", "created_at", FieldKind.TIME, optional=False),
        Field("deleted_at", "deleted_at", FieldKind.TIME),
        Field("base_object_class", "base_object_class", low_cardinality=True),
        Field("leaf_object_class", "leaf_object_class"),
        Field("wb_user_id", "wb_user_id", optional=False),
        Field("size_bytes", "size_bytes", FieldKind.NUMBER, optional=False),
        Field("val", "val", FieldKind.JSON, text_path="json.val"),
        Field("refs", "refs", FieldKind.JSON),
    ]
)

INDEXED_OBJECT_FIELDS: Final = IndexedFields(OBJECT_FIELDS, "objects")

_MEMBERSHIP: Final = {
    "object_ids": "object_id",
    "base_object_classes": "base_object_class",
    "leaf_object_classes": "leaf_object_class",
}


@dataclass(frozen=True, slots=True)
class ObjectsFilter:
    """Conditions on versions; an empty list or None is no condition.

    Excluding base classes also excludes values without a class.
    """

    base_object_classes: list[str] | None = None
    exclude_base_object_classes: list[str] | None = None
    leaf_object_classes: list[str] | None = None
    object_ids: list[str] | None = None
    is_op: bool | None = None
    latest_only: bool | None = None
    ids_argument: str = "object_ids"
    """The caller's argument name for `object_ids`, used in errors."""

    def clauses(self, at: str) -> list[Match]:
        """Return the MongoDB conditions; `at` is the argument name.

        Raises:
            BadInputError: a list has more than `MAX_MEMBERS` members.
        """
        for field in fields(self):
            members = getattr(self, field.name)
            argument = self.ids_argument if field.name == "object_ids" else field.name
            check_count(len(members) if isinstance(members, list) else 0, MAX_MEMBERS, "members", f"{at}.{argument}")
        clauses: list[Match] = [
            {path: {"$in": members}} for name, path in _MEMBERSHIP.items() if (members := getattr(self, name))
        ]
        if self.exclude_base_object_classes:
            clauses.append({"base_object_class": {"$nin": [*self.exclude_base_object_classes, None]}})
        if self.is_op is not None:
            clauses.append({"kind": OP if self.is_op else OBJECT})
        if self.latest_only:
            clauses.append({"is_latest": 1})
        return clauses


MAX_DELETED_AT_ONCE: Final = 100

Key = tuple[str, str]
"""Project id and ref."""


class ObjectsStore(DocumentList[ObjectsFilter]):
    """Reads and writes objects and ops in MongoDB.

    Rows always identify the version. Where one version is named by a digest, `latest` or an index such as `v3` works
    too. Lists have only undeleted versions.
    """

    indexed = INDEXED_OBJECT_FIELDS
    scope: ClassVar = {"visible": True}
    always_read = ("project_id", "kind", "object_id", "digest")
    reads: ClassVar = {"val": ("json.val",), "table": ("val.rows",), "files": ("val.files",)}

    def __init__(self, database: Database) -> None:
        super().__init__(database, database.objects)
        # Writers of one name queue here in the process, so that their transactions do not conflict in the database.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        by_index = compile_sort((SortBy("version_index"),), OBJECT_FIELDS)
        self.versions = OneToMany(database, self._documents, "object_id", by_index, _all_of, self.paths_of)
        """Relation from a project, a kind and a name to the undeleted versions, by index."""

    @database_write
    async def create(self, version: ObjectVersion) -> str:
        """Store a version and make it the latest; return its digest. An existing version keeps its index.

        Raises:
            BadInputError: a field is invalid.
            PayloadTooLargeError: the value does not fit into a document.
            ConflictError: other processes kept writing the same name.
        """
        # Validation of a builtin class may be slow, such as that of a schema, so a thread runs it.
        version = await asyncio.to_thread(version.checked) if version.is_builtin else version.checked()
        kind = version.kind or OBJECT
        make = partial(documents.new_document, version, kind)
        document = await asyncio.to_thread(make) if version.is_large or documents.takes_long(version.val) else make()
        name = version.project_id, kind, version.object_id

        async def create(session: Session) -> None:
            await self.database.ensure_projects_listed([version.project_id])
            await NameWriter(self.database, session, *name).create(document)

        async with self._lock(documents.head_id(*name)):
            await self.database.transaction(create)
        digest: str = document["digest"]
        return digest

    @database_write
    async def restore(self, batch: Sequence[RestoredVersion]) -> None:
        """Import existing versions, name by name; versions already stored are left unchanged.

        A version keeps its index if that is free, else it gets the next one. The latest version stays the latest.

        Raises:
            BadInputError: a field is invalid, or a digest does not match its value. The argument is `batch.<position>`,
                and nothing is stored.
            PayloadTooLargeError: a value does not fit into a document.
            ConflictError: other processes kept writing the same name.
        """
        names: dict[Name, list[tuple[RestoredVersion, Document]]] = {}
        async for position, restored in cooperative(enumerate(batch)):
            with ErrorsAt(f"batch.{position}"):
                document = restored.document()
            name = restored.version.project_id, document["kind"], restored.version.object_id
            names.setdefault(name, []).append((restored, document))
        for name, members in names.items():
            async with self._lock(documents.head_id(*name)):
                await self.database.transaction(partial(self._restore, name, members))

    async def _restore(self, name: Name, versions: list[tuple[RestoredVersion, Document]], session: Session) -> None:
        await self.database.ensure_projects_listed([name[0]])
        writer = NameWriter(self.database, session, *name)
        for restored, document in versions:
            await writer.restore(document, restored.version_index, is_latest=restored.is_latest)

    def _lock(self, head_id: str) -> asyncio.Lock:
        return self._locks.setdefault(head_id, asyncio.Lock())

    @database_write
    async def delete(
        self,
        project_id: str,
        object_id: str,
        digests: Sequence[str] | None = None,
        kind: Kind | None = None,
        name_argument: str = "object_id",
    ) -> int:
        """Delete versions of an object or an op, all of them without `digests`; return the number deleted.

        Without `kind`, each digest deletes the version that `one` returns, and no digests delete both the object and
        the op. A digest of an already deleted object version is not found, so a retried delete never deletes the op.

        Raises:
            NotFoundError: a digest names no undeleted version, or the name has none; nothing was deleted.
            BadInputError: there are more than `MAX_DELETED_AT_ONCE`.
        """
        check_project_id(project_id)
        unique_digests = list(dict.fromkeys(digests or ()))
        check_count(len(digests or ()), MAX_DELETED_AT_ONCE, "digests", "digests")
        deleted = await self._delete(project_id, _kinds(kind), object_id, unique_digests)
        if not deleted:
            raise NotFoundError(f"{object_id[:128]} has no versions, or all are deleted", name_argument)
        return deleted

    async def _delete(self, project_id: str, kinds: Sequence[Kind], object_id: str, digests: list[str]) -> int:
        """Delete versions of both kinds in one transaction; the audit log gets one line per kind."""

        async def delete(session: Session) -> list[tuple[Kind, dict[str, object], int]]:
            rows = await versions_of(self.database, session, project_id, kinds, object_id)
            rows_by_digest = doomed_rows(rows, digests, object_id)
            ids = {row["_id"] for row in rows_by_digest.values()}
            deletions: list[tuple[Kind, dict[str, object], int]] = []
            for kind in kinds:
                own = [row for row in rows if row["kind"] == kind]
                doomed = [row for row in own if row["visible"] and (not digests or row["_id"] in ids)]
                if not doomed and (digests or not own):
                    continue
                writer = NameWriter(self.database, session, project_id, kind, object_id)
                count = await writer.delete(own, doomed, is_whole=not digests)
                if count:  # a rejected delete is not logged
                    digests_of_kind = [digest for digest, row in rows_by_digest.items() if row["kind"] == kind]
                    details: dict[str, object] = {"object_id": object_id, "digests": digests_of_kind or "all"}
                    audit.record_action(f"{kind}.delete", project_id, **details)
                    deletions.append((kind, details, count))
            return deletions

        async with AsyncExitStack() as locks:
            for kind in kinds:
                await locks.enter_async_context(self._lock(documents.head_id(project_id, kind, object_id)))
            deletions = await self.database.transaction(delete)
        for kind, details, count in deletions:
            audit.record_action(f"{kind}.deleted", project_id, **details, num_deleted=count)
        return sum(count for _, _, count in deletions)

    @database_query
    async def one(
        self, project_id: str, object_id: str, version: str, wanted: Iterable[str], kind: Kind | None = None
    ) -> Row:
        """Return the selected fields of one version, of `kind` if set, else of either kind.

        If an object and an op both have the version, the object's is chosen, even if it is deleted.

        Raises:
            ObjectDeletedError: the version is deleted; for `latest`, all versions are.
            NotFoundError: it does not exist; the argument is `object_id` if the name has no versions at all.
        """
        check_project_id(project_id)
        name = {"project_id": project_id, "kind": {"$in": _kinds(kind)}, "object_id": object_id}
        paths = [*self.paths_of(wanted), "visible", "deleted_at", "version_index"]
        found = self._documents.find(name | documents.named(version), {"_id": 0} | dict.fromkeys(paths, 1))
        rows = await found.to_list(len(_kinds(kind)))
        noun = OP if kind == OP else OBJECT
        if rows:
            return documents.chosen(rows, object_id, noun)
        argument = "digest" if await self._documents.find_one(name, {"_id": 1}) else "object_id"
        raise NotFoundError(f"{noun} {object_id[:128]}:{version[:64]} not found", argument)

    def clauses(self, list_filter: ObjectsFilter) -> list[Match]:
        """Return the MongoDB conditions of a filter."""
        return list_filter.clauses("filter")

    @database_query
    async def by_refs(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row | None]:
        """Return the selected fields of the version that each ref leads to.

        The value is None if the ref leads to no version of its project, or to a deleted one.
        """
        ids = {key: _version_id(*key) for key in keys}
        visible = {"project_id": {"$in": list({project_id for project_id, _ in keys})}, "visible": True}
        projection = dict.fromkeys(["_id", *self.paths_of(wanted)], 1)
        by_id: dict[str | None, Row] = {}
        for batch in content_store.batches(list({found for found in ids.values() if found}), content_store.BATCH):
            rows = await find_all(self._documents, {"_id": {"$in": batch}, **visible}, projection, len(batch))
            by_id |= {row.pop("_id"): row for row in rows}
        return {key: by_id.get(found) for key, found in ids.items()}

    @database_query
    async def by_names(
        self, keys: Sequence[tuple[str, str, str]], wanted: frozenset[str]
    ) -> dict[tuple[str, str, str], Row | None]:
        """Return the selected fields of the object that each project, name and version identify, or None without one.

        Other programs may choose the names: characters that no object's name has count as hyphens, and a version that
        is a number counts as an index.
        """
        identities = {key: _identity(*key) for key in keys}
        projection = dict.fromkeys(["project_id", "object_id", *NAMING, *self.paths_of(wanted)], 1)
        found: dict[tuple[str, str, str, object], Row] = {}
        for batch in content_store.batches(list(set(identities.values())), content_store.BATCH):
            each = [
                {**documents.name_key(project_id, OBJECT, object_id), naming_field: value, "visible": True}
                for project_id, object_id, naming_field, value in batch
            ]
            async for row in self._documents.find({"$or": each}, projection):
                row.pop("_id")
                for field in NAMING:
                    found[row["project_id"], row["object_id"], field, row.get(field)] = row
        return {key: found.get(identity) for key, identity in identities.items()}


def _identity(project_id: str, name: str, version: str) -> tuple[str, str, str, object]:
    """Return the project, the name, and the field and value that identify the version."""
    text = f"v{version}" if version.isdecimal() else version
    return project_id, documents.with_hyphens(name), *naming(text)


def _kinds(kind: Kind | None) -> list[Kind]:
    return [kind] if kind else [OBJECT, OP]


def _all_of(project_id: str, kind: Kind) -> dict[str, object]:
    return {"project_id": project_id, "visible": True, "kind": kind}


def _version_id(project_id: str, text: str) -> str | None:
    """Return the `_id` of the version that a ref leads to; None for other texts and refs into other projects."""
    ref = refs.inner_ref(project_id, text)
    return ref.version_id if ref and not ref.steps else None
