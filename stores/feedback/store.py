"""Store of feedback; each operation is within one project."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from bson import encode as bson_encode

from stores import paging
from stores.concurrency.scan_slots import in_scan_slot
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document, database_query, database_write
from stores.database.connection import IN_PYTHON
from stores.database.error_translation import translate_driver_errors
from stores.database.transactions import Session
from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.feedback.annotations import check_annotations
from stores.feedback.documents import key, new_document
from stores.feedback.fields import FEEDBACK_FIELDS, INDEXED_FEEDBACK_FIELDS, paths_of
from stores.feedback.inputs import NewFeedback, check_id
from stores.feedback.writes import restore, write
from stores.ids import check_project_id
from stores.input_checks import MAX_MEMBERS
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.id_queries import named_ids
from stores.query.in_python import python_assisted_match
from stores.query.sort import SortBy, compile_sort
from stores.refs.targets import TargetReader
from stores.relations import ManyToOne, OneToMany
from stores.security import audit

MAX_BATCH: Final = 10_000
"""Limit on a batch. It is one transaction, and MongoDB aborts transactions after a minute."""

MAX_BATCH_BYTES: Final = 48 * 1024 * 1024
"""Limit on the documents of a batch: what a transaction may use if MongoDB's cache is a gigabyte."""

MAX_TYPES: Final = 1_000

_OLDEST_FIRST = (SortBy("created_at"),)


@dataclass(frozen=True, slots=True)
class FeedbackStats:
    """Number of feedback documents, and `count` and `last_created_at` per `feedback_type`, largest count first."""

    count: int
    types: list[Row]


class FeedbackStore:
    """Reads and writes feedback in MongoDB.

    Rows are dicts with the selected fields of the document: times are microseconds since the epoch, the payload is text
    under `json`, and null fields are absent.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._feedback = database.feedback
        self._sources = TargetReader(database)
        order = compile_sort(_OLDEST_FIRST, FEEDBACK_FIELDS)
        self.of_calls = OneToMany(database, self._feedback, "call_id", order, _of_types, paths_of)
        """Relation from a project and a call id to the feedback on the call, oldest first.

        The argument is a set of feedback types; an empty set means all.
        """
        self.by_keys = ManyToOne(database, self._feedback, "id", paths_of).rows

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
        documents = await _documents(await _checked(batch))
        with _naming_size_errors(batch), translate_driver_errors():
            await restore(self.database, documents)

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
        return await self._write_one(new, key(new.project_id, feedback_id))

    async def _write_one(self, new: NewFeedback, freed: Document | None = None) -> Row:
        try:
            [row] = await self._write([new], freed)
        except StoreError as error:
            raise error.relative_to("batch.0") from None
        return row

    async def _write(self, batch: Sequence[NewFeedback], freed: Document | None = None) -> list[Row]:
        checked = await _checked(batch)
        await check_annotations(self._sources, checked)
        documents = await _documents(checked)
        named = {at: document for at, document in documents.items() if checked[at].is_named}
        unnamed = [documents[at] for at in documents if at not in named]
        with _naming_size_errors(batch), translate_driver_errors(), _recording_replacement(freed, documents.values()):
            await write(self.database, unnamed, named, freed)
        return list(documents.values())

    @database_write
    async def purge(self, project_id: str, query: Query) -> int:
        """Permanently delete feedback by ids; return the number deleted. Unknown ids are ignored.

        Raises:
            BadInputError: the query filters by anything but ids.
        """
        check_project_id(project_id)
        ids = list(named_ids(query, FEEDBACK_FIELDS, allow_in=False))
        keys = [key(project_id, feedback_id)["_id"] for feedback_id in ids]
        if not keys:
            return 0
        with audit.record_removal("feedback.purge", project_id, done="feedback.purged", ids=ids) as outcome:
            result = await self._feedback.delete_many({"_id": {"$in": keys}, "project_id": project_id})
            outcome["num_purged"] = result.deleted_count
        return result.deleted_count

    @in_scan_slot(INDEXED_FEEDBACK_FIELDS.needs_scan)
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
    ) -> Page:
        """Return the selected fields of a page of feedback; the default order is oldest first.

        Raises:
            BadInputError: the query, sort or cursor is invalid.
        """
        order = compile_sort(sort_by or _OLDEST_FIRST, FEEDBACK_FIELDS)
        question = [_match(project_id, query)] if IN_PYTHON.get() else ()
        paths = paths_of(wanted)
        async with self._matching(project_id, query) as (match, session):
            return await paging.find_page(
                self._feedback, match, order, request, paths, cursor_scope=question, session=session
            )

    @in_scan_slot(INDEXED_FEEDBACK_FIELDS.needs_scan)
    @database_query
    async def count(self, project_id: str, query: Query | None = None) -> int:
        """Count the feedback that matches the query."""
        async with self._matching(project_id, query) as (match, session):
            return await self._feedback.count_documents(match, session=session)

    @in_scan_slot(INDEXED_FEEDBACK_FIELDS.needs_scan)
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
        async with self._matching(project_id, query) as (match, session):
            types = await self._feedback.aggregate([{"$match": match}, *stages], session=session).to_list(None)
        if len(types) > MAX_TYPES:
            raise BadInputError(f"there are more than {MAX_TYPES:,} types of feedback; narrow the query", "query")
        return FeedbackStats(sum(row["count"] for row in types), types)

    def _matching(
        self, project_id: str, query: Query | None
    ) -> AbstractAsyncContextManager[tuple[Document, Session | None]]:
        return python_assisted_match(self.database, self._feedback, partial(_match, project_id), query, FEEDBACK_FIELDS)


def check_number(number: int) -> None:
    """Check the number of items in a batch.

    Raises:
        BadInputError: there are more than `MAX_BATCH`.
    """
    if number > MAX_BATCH:
        raise BadInputError(f"has {number:,} items; the limit is {MAX_BATCH:,}", "batch")


async def _checked(batch: Sequence[NewFeedback]) -> dict[str, NewFeedback]:
    """Validate a batch; keys are argument names.

    Raises:
        BadInputError: an item is invalid; the error names it.
    """
    checked: dict[str, NewFeedback] = {}
    async for position, new in cooperative(enumerate(batch)):
        try:
            checked[f"batch.{position}"] = new.checked()
        except StoreError as error:
            raise error.prefixed(f"batch.{position}") from None
    return checked


@contextmanager
def _naming_size_errors(batch: Sequence[NewFeedback]) -> Iterator[None]:
    """Context manager that adds the argument name to size errors of MongoDB."""
    try:
        yield
    except PayloadTooLargeError as error:
        raise error.prefixed("batch" if len(batch) > 1 else "batch.0.payload") from None


@contextmanager
def _recording_replacement(freed: Document | None, documents: Iterable[Document]) -> Iterator[None]:
    """Context manager that records a replacement in the audit log, if `freed` is set."""
    if freed is None:
        yield
        return
    [new] = documents
    with audit.record_removal(
        "feedback.replace", freed["project_id"], done="feedback.replaced", id=freed["id"], by=new["id"]
    ):
        yield


async def _documents(checked: Mapping[str, NewFeedback]) -> dict[str, Document]:
    """Build the documents of validated feedback; keys are argument names.

    Raises:
        PayloadTooLargeError: together they are larger than `MAX_BATCH_BYTES`.
    """
    documents: dict[str, Document] = {}
    size = 0
    async for at, new in cooperative(checked.items()):
        documents[at] = new_document(new)
        size += len(bson_encode(documents[at])) if len(checked) > 1 else 0
        if size > MAX_BATCH_BYTES:
            raise PayloadTooLargeError(
                f"takes more than {MAX_BATCH_BYTES // 2**20} MiB as stored (text, and a copy for queries); the first "
                f"{len(documents):,} of {len(checked):,} items reach this limit, so send smaller batches",
                "batch",
            )
    return documents


def _match(project_id: str, query: Query | None) -> Document:
    check_project_id(project_id)
    return {"project_id": project_id, **({"$and": [query.match(FEEDBACK_FIELDS)]} if query else {})}


def _of_types(project_id: str, types: frozenset[str]) -> Document:
    if len(types) > MAX_MEMBERS:
        raise BadInputError(f"has {len(types):,} members; the limit is {MAX_MEMBERS:,}", "types")
    return {"project_id": project_id, **({"feedback_type": {"$in": sorted(types)}} if types else {})}
