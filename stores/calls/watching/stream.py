"""A change stream over the calls, read batch by batch: one step for the event loop, however many changes come."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from stores.calls.watching.changes import changes_of
from stores.calls.watching.cursors import PLACE
from stores.database import Collection, Document
from stores.driver_threads import in_driver_thread
from stores.errors import BadInputError

if TYPE_CHECKING:
    from pymongo.change_stream import ChangeStream
    from pymongo.collection import Collection as DriversCollection

Change = dict[str, Any]

POLL_SECONDS: Final = 0.2
"""How long a read waits for a change: so much later, at most, is noticed that the stream has to be another."""
_BATCH: Final = 500

_FORGOTTEN: Final = (286, 280)
"""ChangeStreamHistoryLost, ChangeStreamFatalError: the oplog begins after the place, or another database's."""


class Stream:
    """A change stream that is open. Only one read may be under way."""

    def __init__(self, stream: "ChangeStream[Document]") -> None:
        self._stream = stream

    @property
    def place(self) -> str:
        """Up to where all is read."""
        return _place(self._stream)

    @property
    def alive(self) -> bool:
        """Whether it may have more; it has not once the collection is dropped or renamed."""
        return self._stream.alive

    async def read(self) -> list[Change]:
        """The changes that are there; none if there was none for a while.

        Whoever waits for it must not be cancelled: the driver would open a second cursor, and leave it open.
        """
        return await in_driver_thread(_read, self._stream)


@asynccontextmanager
async def opened(calls: Collection, project_ids: Sequence[str] | None, place: str | None) -> AsyncIterator[Stream]:
    """The changes of some projects, or of all, after a place; from now on if it is None."""
    stream = await in_driver_thread(_open, calls.delegate, project_ids, place)
    try:
        yield Stream(stream)
    finally:
        await in_driver_thread(stream.close)


async def present(calls: Collection) -> str:
    """The place after all that happened so far."""
    return await in_driver_thread(_present, calls.delegate)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some of the changes after a place, and up to where these are all."""

    changes: list[Change]
    place: str


async def stretch_after(calls: Collection, project_id: str, place: str) -> Stretch:
    """What comes after a place in a project; nothing is left open.

    Raises:
        BadInputError: the database remembers no such place.
    """
    try:
        return await in_driver_thread(_stretch, calls.delegate, project_id, place)
    except OperationFailure as error:
        if passes(error) or error.timeout:
            raise
        # Where there are no events at all, it is not the place's fault.
        await present(calls)
        if error.code in _FORGOTTEN:
            raise BadInputError(
                "a place that the database no longer remembers, since its oplog holds the last hours or days alone; "
                "take callEventsCursor, query with calls what happened meanwhile, and subscribe after that cursor",
                PLACE,
            ) from error
        raise BadInputError("not a place in this database's events; take callEventsCursor", PLACE) from error


def passes(error: PyMongoError) -> bool:
    """Whether what went wrong with a stream may be over soon, so that it can be resumed."""
    return isinstance(error, ConnectionFailure) or error.has_error_label("ResumableChangeStreamError")


def is_between_changes(place: str) -> bool:
    """Whether a place names no change, only a moment: one that does tells whose change it is."""
    # After the type and the time: a version (2B..), then the kind of token, 0 (29) for one that is no change's.
    return place[:2] == "82" and place[18:20] == "2B" and place[22:24] == "29"


def _open(
    calls: "DriversCollection[Document]", project_ids: Sequence[str] | None, place: str | None
) -> "ChangeStream[Document]":
    return calls.watch(
        changes_of(project_ids),
        full_document="updateLookup",
        start_after={"_data": place} if place else None,
        max_await_time_ms=int(POLL_SECONDS * 1000),
        batch_size=_BATCH,
    )


def _read(stream: "ChangeStream[Document]") -> list[Change]:
    found: list[Change] = []
    while (change := stream.try_next()) is not None:
        found.append(change)
        # What has arrived is taken without asking for more.
        if not stream._cursor._has_next():  # noqa: SLF001 -- the driver tells nobody; tests count its commands
            break
    return found


def _place(stream: "ChangeStream[Document]") -> str:
    place: str = (stream.resume_token or {}).get("_data", "")
    return place


def _stretch(calls: "DriversCollection[Document]", project_id: str, place: str) -> Stretch:
    with _open(calls, [project_id], place) as stream:
        changes = _read(stream)
        return Stretch(changes, _place(stream))


def _present(calls: "DriversCollection[Document]") -> str:
    with calls.watch([{"$match": {"operationType": "none"}}], max_await_time_ms=1) as stream:
        if not _place(stream):
            stream.try_next()
        return _place(stream)
