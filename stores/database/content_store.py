"""Immutable documents identified by their content: inserted if missing, never changed.

Content written by an upload lists all uploads that need it (`stores.tables.uploads`). It becomes permanent once one of
them is a table, or if it lists none.

Each upload in progress has a document, also the upload of a file. Each chunk renews `touched_at`; `doomed` marks an
upload whose data is being deleted.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from pymongo.errors import BulkWriteError, DuplicateKeyError

from stores.database import Collection, Document
from stores.database.error_translation import DUPLICATE_KEY, duplicate_writes
from stores.database.transactions import Session

BATCH: Final = 5_000
"""Documents per command."""

UPLOADS: Final = "uploads"
"""Field of content with the ids of uploads."""

UPLOAD_LEASE_SECONDS: Final = 300
"""Time without a new chunk after which an upload counts as abandoned."""

ALIVE: Final = {"doomed": {"$exists": False}}
"""Match for uploads that are not being deleted."""

_Item = TypeVar("_Item")


def key(project_id: str, digest: str) -> str:
    """Return the `_id` of content; project ids contain no colon, so each `_id` is unique."""
    return f"{project_id}:{digest}"


def batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Split items into batches, in order."""
    return (items[start : start + size] for start in range(0, len(items), size))


async def find_each(
    collection: Collection,
    project_id: str,
    digests: Iterable[str],
    projection: dict[str, Any],
    match: dict[str, Any] | None = None,
    session: Session | None = None,
) -> AsyncIterator[Document]:
    """Yield the stored content with these digests that matches `match`, each once, in no order."""
    for keys in _keys(project_id, digests):
        wanted = {"$and": [keys, match]} if match else keys
        cursor = collection.find(wanted, projection, batch_size=BATCH + 1, session=session)
        async for document in cursor:
            yield document


def _keys(project_id: str, digests: Iterable[str]) -> Iterator[Document]:
    """Yield filters of content, one per batch."""
    for batch in batches(list(dict.fromkeys(digests)), BATCH):
        yield {"_id": {"$in": [key(project_id, digest) for digest in batch]}, "project_id": project_id}


class Content(Protocol):
    """Content to store."""

    @property
    def digest(self) -> str:
        """The content's digest."""

    @property
    def size_bytes(self) -> int:
        """Approximate size."""

    def document(self, project_id: str) -> Document:
        """Build the document of the content."""


async def add_missing(
    collection: Collection,
    project_id: str,
    contents: Mapping[str, Content],
    session: Session,
    upload: str | None = None,
) -> list[str]:
    """Insert the contents that do not exist, marked with the upload if there is one.

    Returns the digests of the existing contents that uploads wrote.

    Raises:
        UnavailableError: a majority did not confirm the write.
    """
    projection = {"_id": 0, "digest": 1, UPLOADS: 1}
    documents = find_each(collection, project_id, contents, projection, session=session)
    existing = {known["digest"]: UPLOADS in known async for known in documents}
    mark = {UPLOADS: [upload]} if upload else {}
    missing = [content.document(project_id) | mark for digest, content in contents.items() if digest not in existing]
    if missing:
        try:
            await collection.insert_many(missing, ordered=False, session=session)
        except BulkWriteError as error:
            duplicate_writes(error)
            # Another writer was first and the transaction is aborted; the retry finds its documents.
            raise DuplicateKeyError(str(error), DUPLICATE_KEY) from error
    return [digest for digest, is_of_upload in existing.items() if is_of_upload]


async def keep(
    collection: Collection,
    project_id: str,
    digests: Iterable[str],
    others: Sequence[str],
    session: Session,
    upload: str | None = None,
) -> None:
    """Protect stored content from the discard of other uploads: for one upload, or permanently."""
    change = {"$addToSet": {UPLOADS: upload}} if upload else {"$unset": {UPLOADS: ""}}
    for keys in _keys(project_id, digests):
        await collection.update_many({**keys, UPLOADS: {"$in": list(others)}}, change, session=session)


def is_abandoned(silent_seconds: float) -> dict[str, Any]:
    """Return the match for uploads without a chunk for `silent_seconds`, and for uploads being deleted."""
    silent_since = {"$subtract": ["$$NOW", int(silent_seconds * 1000)]}
    return {"$or": [{"doomed": True}, {"$expr": {"$lte": ["$touched_at", silent_since]}}]}
