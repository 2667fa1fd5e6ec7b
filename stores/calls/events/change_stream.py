"""A change stream over the calls, read batch by batch: one step for the event loop, however many changes come."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson.timestamp import Timestamp
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from stores.calls.events.changes import changes_of
from stores.calls.events.cursors import PLACE
from stores.calls.events.resume_tokens import moment_of, token_at
from stores.database import Collection, Document
from stores.database.thread_pool import run_in_driver_thread
from stores.errors import BadInputError

if TYPE_CHECKING:
    from pymongo.change_stream import ChangeStream
    from pymongo.collection import Collection as DriversCollection

Change = dict[str, Any]

POLL_SECONDS: Final = 0.2
"""How long a read waits for a change: so much later, at most, is noticed that the stream has to be another."""
_GLANCE_SECONDS: Final = 0.01
"""The same where it is only to be known whether there is a change."""
_BATCH: Final = 500

_FORGOTTEN: Final = (286, 280)
"""ChangeStreamHistoryLost, ChangeStreamFatalError: the oplog begins after the place, or another database's."""


class Stream:
    """A change stream that is open. Only one read may be under way."""

    def __init__(self, stream: "ChangeStream[Document]", start: str) -> None:
        self._stream = stream
        self.start = start
        """The place after which it has all."""

    @property
    def place(self) -> str:
        """Up to where all is read."""
        return _place(self._stream) or self.start

    @property
    def alive(self) -> bool:
        """Whether it may have more; it has not once the collection is dropped or renamed."""
        return self._stream.alive

    async def read(self) -> list[Change]:
        """The changes that are there; none if there was none for a while.

        Whoever waits for it must not be cancelled: the driver would open a second cursor, and leave it open.
        """
        return await run_in_driver_thread(_read, self._stream)


@asynccontextmanager
async def opened(
    calls: Collection, project_ids: Sequence[str] | None, place: str | None, *, anew: bool = False
) -> AsyncIterator[Stream]:
    """The changes of some projects, or of all, from the moment of a place on; about from now on if it is None.

    Those of that very moment come again: of a project that was not looked for before they may be new. One that begins
    anew sees nothing of what ended the stream before it.
    """
    if anew:
        place = await present(calls)
    stream, start = await run_in_driver_thread(_open_at_moment, calls.delegate, project_ids, place)
    try:
        yield Stream(stream, start)
    finally:
        await run_in_driver_thread(stream.close)


async def present(calls: Collection) -> str:
    """The place after all that happened so far."""
    return await run_in_driver_thread(_present, calls.delegate)


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Some of the changes after a place, and up to where these are all."""

    changes: list[Change]
    place: str


async def read_changes_after(calls: Collection, project_id: str, place: str) -> ChangeBatch:
    """What comes after a place in a project; nothing is left open.

    Raises:
        BadInputError: the database remembers no such place.
    """
    try:
        return await run_in_driver_thread(_stretch, calls.delegate, project_id, place)
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


def _open(
    calls: "DriversCollection[Document]",
    project_ids: Sequence[str] | None,
    place: str | None,
    moment: Timestamp | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> "ChangeStream[Document]":
    return calls.watch(
        changes_of(project_ids),
        full_document="updateLookup",
        start_after={"_data": place} if place and not moment else None,
        start_at_operation_time=moment,
        max_await_time_ms=int(poll_seconds * 1000),
        batch_size=_BATCH,
    )


def _open_at_moment(
    calls: "DriversCollection[Document]", project_ids: Sequence[str] | None, place: str | None
) -> tuple["ChangeStream[Document]", str]:
    moment = moment_of(place) if place else _last_moment(calls)
    start = token_at(moment) if moment else place or _present(calls)
    return _open(calls, project_ids, start, moment), start


def _last_moment(calls: "DriversCollection[Document]") -> Timestamp | None:
    """The moment of the last change that nothing can undo; None where it is not told, as by a router of shards.

    By itself MongoDB would begin after a change that a majority may have yet to confirm: who catches up with the past
    until there is no more would not know when to have reached that.
    """
    told = calls.database.client.admin.command("hello")
    moment: Timestamp | None = told.get("lastWrite", {}).get("majorityOpTime", {}).get("ts")
    return moment


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


def _stretch(calls: "DriversCollection[Document]", project_id: str, place: str) -> ChangeBatch:
    with _open(calls, [project_id], place, poll_seconds=_GLANCE_SECONDS) as stream:
        changes = _read(stream)
        return ChangeBatch(changes, _place(stream))


def _present(calls: "DriversCollection[Document]") -> str:
    with calls.watch([{"$match": {"operationType": "none"}}], max_await_time_ms=1) as stream:
        if not _place(stream):
            stream.try_next()
        return _place(stream)
