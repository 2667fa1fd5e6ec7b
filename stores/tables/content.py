"""Documents named after their content: written where they are missing, and never changed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

from pymongo.errors import BulkWriteError

from stores.database import Collection, Document
from stores.errors import UnavailableError
from stores.transactions import Session

BATCH: Final = 5_000
"""Documents that one command asks for or writes."""

_DUPLICATE_KEY: Final = 11000

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
    for part in batches(list(dict.fromkeys(digests)), BATCH):
        keys = {"_id": {"$in": [key(project_id, digest) for digest in part]}, "project_id": project_id}
        wanted = {"$and": [keys, match]} if match else keys
        found = collection.find(wanted, projection, batch_size=len(part) + 1, session=session)
        async for document in found:
            yield document


class Content(Protocol):
    """Something to be kept."""

    @property
    def digest(self) -> str:
        """What it is called by."""

    def document(self, project_id: str) -> Document:
        """Its document."""


async def add_missing(
    collection: Collection,
    project_id: str,
    contents: Sequence[Content],
    enter: Callable[[], Awaitable[object]],
    session: Session | None = None,
) -> None:
    """Write the contents that are not there yet; no two have the same digest. Before each look the project is entered.

    Raises:
        UnavailableError: a majority did not confirm the write.
    """
    for part in batches(contents, BATCH):
        await enter()
        digests = [content.digest for content in part]
        projection = {"_id": 0, "digest": 1}
        found = find_each(collection, project_id, digests, projection, session=session)
        there = {known["digest"] async for known in found}
        missing = [content.document(project_id) for content in part if content.digest not in there]
        if missing:
            await _insert(collection, missing, session)


async def _insert(collection: Collection, missing: list[Document], session: Session | None) -> None:
    try:
        await collection.insert_many(missing, ordered=False, session=session)
    except BulkWriteError as error:
        details: dict[str, Any] = dict(error.details or {})
        if any(failure["code"] != _DUPLICATE_KEY for failure in details.get("writeErrors", [])):
            raise
        if details.get("writeConcernErrors"):
            raise UnavailableError("the database did not confirm the write; send it again") from error
