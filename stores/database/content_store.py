"""Documents named after their content: written where they are missing, and never changed.

What was written for a table on its way in bears the names of all uploads that rely on it (`stores.tables.uploads`). It
stays for good once one of them has become a table, or where it bears none.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from pymongo.errors import BulkWriteError, DuplicateKeyError

from stores.database import Collection, Document
from stores.database.error_translation import DUPLICATE_KEY
from stores.database.transactions import Session
from stores.errors import UnavailableError

BATCH: Final = 5_000
"""Documents that one command asks for or writes."""

UPLOADS: Final = "uploads"
"""The field of content with the names of uploads."""

_Item = TypeVar("_Item")


def key(project_id: str, digest: str) -> str:
    """The `_id` of content; a project id holds no colon, so no two projects share one."""
    return f"{project_id}:{digest}"


def batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """The items in order, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


async def find_each(
    collection: Collection,
    project_id: str,
    digests: Iterable[str],
    projection: dict[str, Any],
    match: dict[str, Any] | None = None,
    session: Session | None = None,
) -> AsyncIterator[Document]:
    """What is there of some content, each once and in no order, of what matches; nothing for no digests."""
    for keys in _keys(project_id, digests):
        wanted = {"$and": [keys, match]} if match else keys
        found = collection.find(wanted, projection, batch_size=BATCH + 1, session=session)
        async for document in found:
            yield document


def _keys(project_id: str, digests: Iterable[str]) -> Iterator[Document]:
    """The matches of some content, some at a time."""
    for part in batches(list(dict.fromkeys(digests)), BATCH):
        yield {"_id": {"$in": [key(project_id, digest) for digest in part]}, "project_id": project_id}


class Content(Protocol):
    """Something to be kept."""

    @property
    def digest(self) -> str:
        """What it is called by."""

    @property
    def size_bytes(self) -> int:
        """About what it takes."""

    def document(self, project_id: str) -> Document:
        """Its document."""


async def add_missing(
    collection: Collection,
    project_id: str,
    contents: Mapping[str, Content],
    session: Session,
    upload: str | None = None,
) -> list[str]:
    """Write those of some contents, by digest, that are not there yet, under the name of an upload if it is for one.

    Returns the digests of those that are there and were written for an upload.

    Raises:
        UnavailableError: a majority did not confirm the write.
    """
    projection = {"_id": 0, "digest": 1, UPLOADS: 1}
    found = find_each(collection, project_id, contents, projection, session=session)
    there = {known["digest"]: UPLOADS in known async for known in found}
    own = {UPLOADS: [upload]} if upload else {}
    missing = [content.document(project_id) | own for digest, content in contents.items() if digest not in there]
    if missing:
        await _insert(collection, missing, session)
    return [digest for digest, is_of_upload in there.items() if is_of_upload]


async def _insert(collection: Collection, missing: list[Document], session: Session) -> None:
    try:
        await collection.insert_many(missing, ordered=False, session=session)
    except BulkWriteError as error:
        details: dict[str, Any] = dict(error.details or {})
        if any(failure["code"] != DUPLICATE_KEY for failure in details.get("writeErrors", [])):
            raise
        if details.get("writeConcernErrors"):
            raise UnavailableError("the database did not confirm the write; send it again") from error
        # Another writer was first, and the transaction is over: it is done again, and finds what is there.
        raise DuplicateKeyError(str(error), DUPLICATE_KEY) from error


async def keep(
    collection: Collection,
    project_id: str,
    digests: Iterable[str],
    others: Sequence[str],
    session: Session,
    upload: str | None = None,
) -> None:
    """Let content that is there stay whatever becomes of some uploads: for an upload, or for good."""
    change = {"$addToSet": {UPLOADS: upload}} if upload else {"$unset": {UPLOADS: ""}}
    for keys in _keys(project_id, digests):
        await collection.update_many({**keys, UPLOADS: {"$in": list(others)}}, change, session=session)
