"""The store of objects and ops: every question and change that concerns them, each within one project."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from stores import paging, refs
from stores.concurrency.scan_slots import in_scan_slot
from stores.database import Database, Document, content_store, database_query, database_write
from stores.database.connection import IN_PYTHON
from stores.database.snapshot_reads import find_all
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.objects import documents, versions
from stores.objects.classes import OBJECT, OP, Kind
from stores.objects.fields import INDEXED_OBJECT_FIELDS, OBJECT_FIELDS, paths_of
from stores.objects.filters import ObjectsFilter, objects_match
from stores.objects.inputs import ObjectVersion
from stores.objects.restore import Name, RestoredVersion, by_name
from stores.objects.writes import NameWriter, doomed_rows, not_found, versions_of
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.in_python import decided_match
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany
from stores.security import audit

MAX_DELETED_AT_ONCE: Final = 100

Key = tuple[str, str]
"""A project and a ref."""

_OLDEST_FIRST = (SortBy("created_at"),)
_BY_INDEX = (SortBy("version_index"),)


class ObjectsStore:
    """Objects and ops in MongoDB.

    Rows are dicts of the document's own fields, as those of calls are, with at least what tells the version. A digest
    may be `latest` or an index such as `v3`, wherever one version is asked for.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._objects = database.objects
        # Writers of one name wait for each other here, before their transactions would meet in the database.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        by_index = compile_sort(_BY_INDEX, OBJECT_FIELDS)
        self.versions = OneToMany(database, self._objects, "object_id", by_index, _all_of, paths_of)
        """From a project, a kind and a name to the versions that are not deleted, by index."""

    @database_write
    async def create(self, version: ObjectVersion) -> str:
        """Store a version, which is the latest then; its digest. What is there already keeps its index.

        Raises:
            BadInputError: a field breaks a rule.
            PayloadTooLargeError: the value does not fit into a document.
            ConflictError: other processes wrote the same name again and again.
        """
        # What a class of ours checks may take its time, as the schema of a spec does, which others need not wait for.
        version = await asyncio.to_thread(version.checked) if version.is_builtin else version.checked()
        kind = version.kind or OBJECT
        make = partial(documents.new_document, version, kind)
        document = await asyncio.to_thread(make) if version.is_large or documents.takes_long(version.val) else make()
        name = version.project_id, kind, version.object_id

        async def create(session: Session) -> None:
            await self.database.ensure_projects_listed([version.project_id])
            await NameWriter(self.database, session, *name).create(document)

        async with self._turn(documents.head_id(*name)):
            await self.database.transaction(create)
        digest: str = document["digest"]
        return digest

    @database_write
    async def restore(self, batch: Sequence[RestoredVersion]) -> None:
        """Put back versions that were made before, name by name; what is there already stays as it is.

        A version has the index that it had, or, where another has that, the next; the latest is the one that was.

        Raises:
            BadInputError: a field breaks a rule, or a digest is not its value's; the error names it as
                `batch.<position>`, and nothing is stored.
            PayloadTooLargeError: a value does not fit into a document.
            ConflictError: other processes wrote the same name again and again.
        """
        names = await by_name(batch)
        for name, members in names.items():
            async with self._turn(documents.head_id(*name)):
                await self.database.transaction(partial(self._restore, name, members))

    async def _restore(self, name: Name, versions: list[tuple[RestoredVersion, Document]], session: Session) -> None:
        await self.database.ensure_projects_listed([name[0]])
        writer = NameWriter(self.database, session, *name)
        for restored, document in versions:
            await writer.restore(document, restored.version_index, is_latest=restored.is_latest)

    def _turn(self, head_id: str) -> asyncio.Lock:
        return self._turns.setdefault(head_id, asyncio.Lock())

    @database_write
    async def delete(
        self,
        project_id: str,
        object_id: str,
        digests: Sequence[str] | None = None,
        kind: Kind | None = None,
        name_argument: str = "object_id",
    ) -> int:
        """Delete versions of an object or an op and return how many; without digests all of them.

        Without a kind, each digest deletes the version that `one` reads, and no digests delete the object and the op.
        A digest of an object's version that is deleted is not found, so that a delete sent again never deletes the op.

        Raises:
            NotFoundError: one of the digests names no version that is not deleted, or the name has none; nothing was
                deleted.
            BadInputError: there are more than `MAX_DELETED_AT_ONCE`.
        """
        check_project_id(project_id)
        chosen = list(dict.fromkeys(digests or ()))
        if digests and len(digests) > MAX_DELETED_AT_ONCE:
            raise BadInputError(f"has {len(digests):,} digests; the limit is {MAX_DELETED_AT_ONCE}", "digests")
        among = [kind] if kind else [OBJECT, OP]
        kinds = [each for each in among if await self._was_ever(project_id, each, object_id)]
        deleted = await self._delete(project_id, kinds, object_id, chosen)
        if not deleted:
            raise not_found(object_id, name_argument)
        return deleted

    async def _was_ever(self, project_id: str, kind: Kind, object_id: str) -> bool:
        """Whether any version of a name was ever made; what is deleted keeps its head."""
        name = documents.name_key(project_id, kind, object_id)
        head = {"_id": documents.head_id(project_id, kind, object_id), **name}
        return await self.database.object_heads.find_one(head, {"_id": 1}) is not None

    async def _delete(self, project_id: str, kinds: Sequence[Kind], object_id: str, digests: list[str]) -> int:
        """Delete versions of both kinds in one transaction; the audit log has one line for each kind."""

        async def delete(session: Session) -> list[tuple[Kind, dict[str, object], int]]:
            rows = await versions_of(self.database, session, project_id, kinds, object_id)
            named = doomed_rows(rows, digests, object_id)
            ids = {row["_id"] for row in named.values()}
            done: list[tuple[Kind, dict[str, object], int]] = []
            for kind in kinds:
                own = [row for row in rows if row["kind"] == kind]
                doomed = [row for row in own if row["visible"] and (not digests or row["_id"] in ids)]
                if digests and not doomed:
                    continue
                writer = NameWriter(self.database, session, project_id, kind, object_id)
                count = await writer.delete(own, doomed, is_whole=not digests)
                if count:  # a refused delete is not logged
                    of_kind = [digest for digest, row in named.items() if row["kind"] == kind]
                    told: dict[str, object] = {"object_id": object_id, "digests": of_kind or "all"}
                    audit.record_action(f"{kind}.delete", project_id, **told)
                    done.append((kind, told, count))
            return done

        async with AsyncExitStack() as turns:
            for kind in kinds:
                await turns.enter_async_context(self._turn(documents.head_id(project_id, kind, object_id)))
            done = await self.database.transaction(delete)
        for kind, told, count in done:
            audit.record_action(f"{kind}.deleted", project_id, **told, num_deleted=count)
        return sum(count for _, _, count in done)

    @database_query
    async def one(
        self,
        project_id: str,
        object_id: str,
        version: str,
        wanted: Iterable[str],
        kind: Kind | None = None,
    ) -> Row:
        """The wanted fields of one version: of that kind if one is given, or else of either.

        Where an object and an op have such a version, it is the object's, even if that is deleted.

        Raises:
            ObjectDeletedError: it is deleted; for `latest`, all versions are.
            NotFoundError: there is none; where the name has no versions at all, it names `object_id`.
        """
        check_project_id(project_id)
        kinds = [kind] if kind else [OBJECT, OP]
        match = {"project_id": project_id, "kind": {"$in": kinds}, "object_id": object_id, **versions.named(version)}
        paths = [*paths_of(wanted), "visible", "deleted_at", "version_index"]
        rows = await self._objects.find(match, {"_id": 0} | dict.fromkeys(paths, 1)).to_list(len(kinds))
        noun = OP if kind == OP else OBJECT
        if rows:
            return versions.chosen(rows, object_id, noun)
        is_known = any([await self._was_ever(project_id, each, object_id) for each in kinds])
        raise versions.not_found(object_id, version, noun, "digest" if is_known else "object_id")

    @in_scan_slot(INDEXED_OBJECT_FIELDS.needs_scan)
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        objects_filter: ObjectsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
    ) -> Page:
        """The wanted fields of a page of versions that are not deleted; without a sort the oldest come first.

        Raises:
            BadInputError: the filter, the query, the sort or the cursor breaks a rule.
        """
        check_project_id(project_id)
        order = compile_sort(sort_by or _OLDEST_FIRST, OBJECT_FIELDS)
        question = [objects_match(project_id, objects_filter, query)] if IN_PYTHON.get() else ()
        paths = paths_of(wanted)
        async with self._matching(project_id, objects_filter, query) as (match, session):
            return await paging.find_page(
                self._objects, match, order, request, paths, question=question, session=session
            )

    @in_scan_slot(INDEXED_OBJECT_FIELDS.needs_scan)
    @database_query
    async def count(
        self, project_id: str, objects_filter: ObjectsFilter | None = None, query: Query | None = None
    ) -> int:
        """How many versions that are not deleted pass the filter and the query."""
        check_project_id(project_id)
        async with self._matching(project_id, objects_filter, query) as (match, session):
            return await self._objects.count_documents(match, session=session)

    def _matching(
        self, project_id: str, objects_filter: ObjectsFilter | None, query: Query | None
    ) -> AbstractAsyncContextManager[tuple[Document, Session | None]]:
        match_of = partial(objects_match, project_id, objects_filter)
        return decided_match(self.database, self._objects, match_of, query, OBJECT_FIELDS)

    @database_query
    async def by_refs(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row | None]:
        """For each project and ref the wanted fields of the version that it leads to.

        None where it leads to none in this project, or that is deleted.
        """
        ids = {key: _version_id(*key) for key in keys}
        visible = {"project_id": {"$in": list({project_id for project_id, _ in keys})}, "visible": True}
        projection = dict.fromkeys(["_id", *paths_of(wanted)], 1)
        by_id: dict[str | None, Row] = {}
        for part in content_store.batches(list({found for found in ids.values() if found}), content_store.BATCH):
            rows = await find_all(self._objects, {"_id": {"$in": part}, **visible}, projection, len(part))
            by_id |= {row.pop("_id"): row for row in rows}
        return {key: by_id.get(found) for key, found in ids.items()}


def _all_of(project_id: str, kind: Kind) -> dict[str, object]:
    return {"project_id": project_id, "visible": True, "kind": kind}


def _version_id(project_id: str, text: str) -> str | None:
    """The `_id` of the version that a ref leads to; None for any other text, and for a ref into another project."""
    if not refs.is_ref(text) or not text.startswith(refs.SCHEME):
        return None
    ref = refs.parse(text)
    if ref.project_id != project_id or ref.kind not in (OBJECT, OP) or ref.version is None or ref.edges:
        return None
    return documents.version_id(project_id, ref.kind, ref.name, ref.version)
