"""Store of feedback; each operation is within one project."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from bson import encode as bson_encode

from stores.concurrency.scan_slots import in_scan_slot
from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document, database_query, database_write
from stores.database.error_translation import translate_driver_errors
from stores.document_list import OLDEST_FIRST, DocumentList
from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.feedback.annotations import check_annotations
from stores.feedback.fields import FEEDBACK_FIELDS, INDEXED_FEEDBACK_FIELDS
from stores.feedback.inputs import NewFeedback, check_id
from stores.feedback.writes import key, new_document, restore, write
from stores.input_checks import MAX_MEMBERS
from stores.paging import Row
from stores.query import Query
from stores.query.sort import compile_sort
from stores.refs.store import TargetReader
from stores.relations import ManyToOne, OneToMany
from stores.security import audit

MAX_BATCH: Final = 10_000
"""Limit on a batch. It is one transaction, and MongoDB aborts transactions after a minute."""

MAX_BATCH_BYTES: Final = 48 * 1024 * 1024
"""Limit on the documents of a batch: what a transaction may use if MongoDB's cache is a gigabyte."""

MAX_TYPES: Final = 1_000


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
        self._sources = TargetReader(database)
        order = compile_sort(OLDEST_FIRST, FEEDBACK_FIELDS)
        self.of_calls = OneToMany(database, self._documents, "call_id", order, _of_types, self.paths_of)
        """Relation from a project and a call id to the feedback on the call, oldest first.

        The argument is a set of feedback types; an empty set means all.
        """
        self.by_keys = ManyToOne(database, self._documents, "id", self.paths_of).rows

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
        return await self._purge("feedback", project_id, query, allow_in=False)

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


def _of_types(project_id: str, types: frozenset[str]) -> Document:
    if len(types) > MAX_MEMBERS:
        raise BadInputError(f"has {len(types):,} members; the limit is {MAX_MEMBERS:,}", "types")
    return {"project_id": project_id, **({"feedback_type": {"$in": sorted(types)}} if types else {})}
