"""Store of feedback; each operation is within one project."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Final

from bson import encode as bson_encode
from pymongo import InsertOne, ReplaceOne, UpdateOne

from stores import refs, times
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document, database_query, database_write, in_scan_slot
from stores.database.error_translation import translate_driver_errors
from stores.database.transactions import Session
from stores.document_list import OLDEST_FIRST, DocumentList
from stores.errors import BadInputError, ErrorsAt, IdTakenError, NotFoundError, PayloadTooLargeError, StoreError
from stores.feedback.inputs import FEEDBACK_FIELDS, INDEXED_FEEDBACK_FIELDS, NewFeedback, check_annotations, check_id
from stores.input_checks import MAX_MEMBERS, check_count
from stores.json.bson_copy import to_bson
from stores.paging import Row
from stores.query import Query
from stores.query.sort import compile_sort
from stores.relations import OneToMany
from stores.security import audit

MAX_BATCH: Final = 10_000
"""Limit on a batch. It is one transaction, and MongoDB aborts transactions after a minute."""

MAX_BATCH_BYTES: Final = 48 * 1024 * 1024
"""Limit on the documents of a batch: what a transaction may use if MongoDB's cache is a gigabyte."""

MAX_TYPES: Final = 1_000

_OWNER = {"weave_ref": "about another weaveRef", "wb_user_id": "of another user"}
"""Fields that identify the owner of feedback, with the noun for feedback of another one."""

_REPLACES = "replaces"
"""Field with the id that a replacement replaced; it identifies a retried replacement."""


@dataclass(frozen=True, slots=True)
class FeedbackStats:
    """Number of feedback documents, and `count` and `last_created_at` per `feedback_type`, largest count first."""

    count: int
    types: list[Row]


class FeedbackStore(DocumentList[None]):
    """Reads and writes feedback in MongoDB."""

    indexed = INDEXED_FEEDBACK_FIELDS
    reads: ClassVar = {
        "payload": ("json.payload",),
        "ref": ("project_id", "id"),
        "call": ("project_id", "call_id"),
        "annotation": ("project_id", "annotation_ref"),
        "on": ("project_id", "weave_ref"),
    }

    def __init__(self, database: Database) -> None:
        super().__init__(database, database.feedback)
        order = compile_sort(OLDEST_FIRST, FEEDBACK_FIELDS)
        self.of_calls = OneToMany(database, self._documents, "call_id", order, feedback_of_types, self.paths_of)
        """Relation from a project and a call id to the feedback on the call, oldest first.

        The argument is a set of feedback types; an empty set means all.
        """

    @database_write
    async def create(self, batch: Sequence[NewFeedback]) -> list[Row]:
        """Store feedback, all or none; return the new rows in order.

        Feedback with an existing id replaces the stored one, if it is by the same user about the same ref.

        Raises:
            BadInputError, NotFoundError: an item is invalid; the argument is `batch.<position>`.
            PayloadTooLargeError: a payload or the batch is too large.
            IdTakenError: an id belongs to other feedback.
        """
        check_number(len(batch))
        return await self._write(batch)

    @database_write
    async def restore(self, batch: Sequence[NewFeedback]) -> None:
        """Store feedback from an export, all or none; existing feedback is left unchanged.

        Annotations are not checked against their specs, because they passed when first stored.

        Raises:
            BadInputError: an item is invalid; the argument is `batch.<position>`.
            PayloadTooLargeError: a payload or the batch is too large.
            ConflictError: an id belongs to other feedback.
        """
        await self._write(batch, restores=True)

    @database_write
    async def create_one(self, new: NewFeedback) -> Row:
        """Store one feedback, as `create` does; errors name only its field."""
        return await self._write_one(new)

    @database_write
    async def replace(self, feedback_id: str, new: NewFeedback) -> Row:
        """Replace feedback by another atomically; of concurrent replacements of one id by different ids, one succeeds.

        Nothing changes if the new feedback is invalid. It gets a new id unless it has one. It may reuse the replaced id
        only with the same user and ref; then it overwrites, and concurrent calls all succeed, the last one winning. A
        call with an id can be retried.

        Raises:
            NotFoundError: the feedback does not exist, and the new id has not replaced it before.
        """
        check_id(feedback_id, "feedback_id", "set the id of the feedback to replace")
        return await self._write_one(new, _key(new.project_id, feedback_id))

    async def _write_one(self, new: NewFeedback, freed: Document | None = None) -> Row:
        try:
            [row] = await self._write([new], freed)
        except StoreError as error:
            raise error.relative_to("batch.0") from None
        return row

    async def _write(
        self, batch: Sequence[NewFeedback], freed: Document | None = None, *, restores: bool = False
    ) -> list[Row]:
        checked: dict[str, NewFeedback] = {}
        async for position, new_feedback in cooperative(enumerate(batch)):
            with ErrorsAt(f"batch.{position}"):
                checked[f"batch.{position}"] = new_feedback.checked()
        if not restores:
            await check_annotations(self.database, checked)
        documents = await _documents(checked)
        named = {at: document for at, document in documents.items() if checked[at].is_named}
        recording: AbstractContextManager[object] = nullcontext()
        if freed:
            [new] = documents.values()
            details = {"id": freed["id"], "by": new["id"]}
            recording = audit.record_removal(
                "feedback.replace", freed["project_id"], done="feedback.replaced", **details
            )
        try:
            with translate_driver_errors(), recording:
                await self._store(list(documents.values()), named, freed, keeps_stored=restores)
        except PayloadTooLargeError as error:
            raise error.prefixed("batch" if len(batch) > 1 else "batch.0.payload") from None
        return list(documents.values())

    async def _store(
        self, documents: Sequence[Document], named: dict[str, Document], freed: Document | None, *, keeps_stored: bool
    ) -> None:
        """Store documents in one transaction, after deleting `freed`.

        `named` are those with ids of the client, by argument name. An existing id is overwritten only by the same user
        about the same ref; within a batch the later document wins. With `keeps_stored`, stored documents stay, and the
        first document of an id wins, as it would if the others came in later batches.

        Raises:
            IdTakenError: an id belongs to other feedback; nothing was stored.
            NotFoundError: `freed` does not exist, and `named` has not replaced it before; nothing was stored.
            ConflictError: concurrent writers kept winning; nothing was stored.
        """
        project_ids = {document["project_id"] for document in documents}
        if len(documents) == 1 and not named and not freed:
            await self.database.ensure_projects_listed(project_ids)
            await self._documents.insert_one(documents[0])
            return
        marked = {_REPLACES: freed["id"]} if freed else {}
        kept: dict[str, Document] = {}
        for at, document in reversed(named.items()) if keeps_stored else named.items():
            _check_owner(at, document, kept.get(document["_id"], document))
            kept[document["_id"]] = document
        upserts = [_upsert(document | marked, keeps_stored=keeps_stored) for document in kept.values()]
        writes = [*(InsertOne(document) for document in documents if document["_id"] not in kept), *upserts]

        async def work(session: Session) -> None:
            await self.database.ensure_projects_listed(project_ids)
            existing = await self._existing(list(kept), project_ids, session)
            # This runs before the deletion, because only the owner may reuse the deleted id.
            for at, document in named.items():
                _check_owner(at, document, existing.get(document["_id"], document))
            if freed:
                await self._delete_replaced(freed, existing.values(), session)
            await self._documents.bulk_write(writes, session=session)

        if writes:
            await self.database.transaction(work)

    async def _existing(self, keys: list[str], project_ids: Iterable[str], session: Session) -> dict[str, Document]:
        """Return the owners of existing feedback and what it replaced, by key."""
        match = {"_id": {"$in": keys}, "project_id": {"$in": list(project_ids)}}
        projection = dict.fromkeys((*_OWNER, _REPLACES), 1)
        rows = self._documents.find(match, projection, session=session, batch_size=len(keys) + 1)
        return {row["_id"]: row async for row in rows} if keys else {}

    async def _delete_replaced(self, freed: Document, existing: Iterable[Document], session: Session) -> None:
        """Delete `freed`, unless it is missing because one of the `existing` documents replaced it before."""
        deleted = await self._documents.delete_one(freed, session=session)
        # A retried replacement finds what it stored the first time.
        is_repeated = any(row.get(_REPLACES) == freed["id"] for row in existing)
        if not deleted.deleted_count and not is_repeated:
            raise NotFoundError(
                f"there is no feedback {freed['id']!r} in {freed['project_id']}; another request may have replaced or "
                "purged it: read the feedback again, or create new feedback",
                "feedback_id",
            )

    @database_write
    async def purge(self, project_id: str, query: Query) -> int:
        """Permanently delete feedback by ids; return the number deleted. Unknown ids are ignored.

        Raises:
            BadInputError: the query filters by anything but ids.
        """
        return await self._purge("feedback", project_id, query, allow_in=False)

    @in_scan_slot()
    @database_query
    async def stats(self, project_id: str, query: Query | None = None) -> FeedbackStats:
        """Count the feedback that matches the query, by type.

        Raises:
            BadInputError: there are more than `MAX_TYPES` types.
        """
        by_type = {"_id": "$feedback_type", "count": {"$sum": 1}, "last_created_at": {"$max": "$created_at"}}
        stages: list[Document] = [
            {"$group": by_type},
            {"$sort": {"count": -1, "_id": 1}},
            {"$limit": MAX_TYPES + 1},
            {"$project": {"_id": 0, "feedback_type": "$_id", "count": 1, "last_created_at": 1}},
        ]
        async with self._matching(project_id, None, query) as (match, session):
            types = await self._documents.aggregate([{"$match": match}, *stages], session=session).to_list(None)
        if len(types) > MAX_TYPES:
            raise BadInputError(f"there are more than {MAX_TYPES:,} types of feedback; narrow the query", "query")
        return FeedbackStats(sum(row["count"] for row in types), types)


def check_number(number: int) -> None:
    """Check the number of items in a batch.

    Raises:
        BadInputError: there are more than `MAX_BATCH`.
    """
    check_count(number, MAX_BATCH, "items", "batch")


async def _documents(checked: Mapping[str, NewFeedback]) -> dict[str, Document]:
    """Build the documents of validated feedback; keys are argument names.

    Raises:
        PayloadTooLargeError: together they are larger than `MAX_BATCH_BYTES`.
    """
    documents: dict[str, Document] = {}
    size = 0
    async for at, new in cooperative(checked.items()):
        documents[at] = _new_document(new)
        size += len(bson_encode(documents[at])) if len(checked) > 1 else 0
        if size > MAX_BATCH_BYTES:
            raise PayloadTooLargeError(
                f"takes more than {MAX_BATCH_BYTES // 2**20} MiB as stored (text, and a copy for queries); the first "
                f"{len(documents):,} of {len(checked):,} items reach this limit, so send smaller batches",
                "batch",
            )
    return documents


def feedback_of_types(project_id: str, types: frozenset[str]) -> Document:
    """Build the match of a project's feedback of some types; of all if there are none."""
    check_count(len(types), MAX_MEMBERS, "members", "types")
    return {"project_id": project_id, **({"feedback_type": {"$in": sorted(types)}} if types else {})}


def _key(project_id: str, feedback_id: str) -> Document:
    """Build the identifying fields; project ids contain no colon, so each `_id` is unique."""
    return {"_id": f"{project_id}:{feedback_id}", "project_id": project_id, "id": feedback_id}


def _new_document(new: NewFeedback) -> Document:
    """Build the document of validated feedback; `created_at` defaults to the current time."""
    is_on_call = new.weave_ref.startswith(f"{refs.SCHEME}{new.project_id}/call/") and refs.is_ref(new.weave_ref)
    call_id = refs.parse(new.weave_ref).name if is_on_call else None
    optional = {"creator": new.creator, **new.refs, "call_id": call_id}
    return {
        **_key(new.project_id, str(new.id)),
        "weave_ref": new.weave_ref,
        "feedback_type": new.feedback_type,
        "created_at": times.now() if new.created_at is None else new.created_at,
        "wb_user_id": new.wb_user_id,
        **{name: text for name, text in optional.items() if text is not None},
        "json": {"payload": new.text},
        "payload": to_bson(new.payload),
    }


def _upsert(document: Document, *, keeps_stored: bool) -> ReplaceOne[Document] | UpdateOne:
    identity = {name: document[name] for name in ("_id", "project_id", "id")}
    if not keeps_stored:
        return ReplaceOne(identity, document, upsert=True)
    rest = {name: value for name, value in document.items() if name not in identity}
    return UpdateOne(identity, {"$setOnInsert": rest}, upsert=True)


def _check_owner(at: str, document: Document, there: Document) -> None:
    for name, noun in _OWNER.items():
        if there[name] != document[name]:
            raise IdTakenError(
                f"{document['id'][:128]!r} is the id of feedback {noun}; use another id or none, or purge that "
                "feedback",
                f"{at}.id",
            )
