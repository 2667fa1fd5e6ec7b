"""Change streams over the calls, read in batches: one event-loop step per batch."""

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
"""Wait of one read for a change, which delays the reaction to changed subscriptions by at most as much."""
_GLANCE_SECONDS: Final = 0.01
"""Wait of a read that only checks for changes."""
_BATCH: Final = 500

_FORGOTTEN: Final = (286, 280)
"""ChangeStreamHistoryLost and ChangeStreamFatalError: the token is older than the oplog, or of another database."""


class Stream:
    """An open change stream; it allows only one read at a time."""

    def __init__(self, stream: "ChangeStream[Document]", start: str) -> None:
        self._stream = stream
        self.start = start
        """Token after which the stream is complete."""

    @property
    def place(self) -> str:
        """Token up to which everything was read."""
        return _place(self._stream) or self.start

    @property
    def alive(self) -> bool:
        """False once the collection is dropped or renamed."""
        return self._stream.alive

    async def read(self) -> list[Change]:
        """Return the available changes; empty if none arrives within `POLL_SECONDS`.

        Do not cancel the caller: the driver would open a second cursor and leave it open.
        """
        return await run_in_driver_thread(_read, self._stream)


@asynccontextmanager
async def opened(
    calls: Collection, project_ids: Sequence[str] | None, place: str | None, *, anew: bool = False
) -> AsyncIterator[Stream]:
    """Open the changes of some projects, or of all, from a token's timestamp on; from about now if it is None.

    Changes with exactly that timestamp are repeated, since they are new for added projects. With `restart`, the stream
    starts now, after the event that ended the previous stream.
    """
    if anew:
        place = await present(calls)
    stream, start = await run_in_driver_thread(_open_at_moment, calls.delegate, project_ids, place)
    try:
        yield Stream(stream, start)
    finally:
        await run_in_driver_thread(stream.close)


async def present(calls: Collection) -> str:
    """Return the token after everything that happened so far."""
    return await run_in_driver_thread(_present, calls.delegate)


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes after a token, complete up to `token`."""

    changes: list[Change]
    place: str


async def read_changes_after(calls: Collection, project_id: str, place: str) -> ChangeBatch:
    """Read a batch of a project's changes after a token; no stream stays open.

    Raises:
        BadInputError: if the oplog does not contain the token.
    """
    try:
        return await run_in_driver_thread(_stretch, calls.delegate, project_id, place)
    except OperationFailure as error:
        if passes(error) or error.timeout:
            raise
        # If there are no events at all, this raises instead: the token is not to blame.
        await present(calls)
        if error.code in _FORGOTTEN:
            raise BadInputError(
                "a place that the database no longer remembers, since its oplog holds the last hours or days alone; "
                "take callEventsCursor, query with calls what happened meanwhile, and subscribe after that cursor",
                PLACE,
            ) from error
        raise BadInputError("not a place in this database's events; take callEventsCursor", PLACE) from error


def passes(error: PyMongoError) -> bool:
    """Return True if a stream's error may be transient, so that it can resume."""
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
    """Return the timestamp of the last majority-confirmed write; None if it is unknown, as behind a shard router.

    By default MongoDB starts after the last write, which a majority may not have confirmed yet. A subscriber that
    catches up could then not detect when it has reached the start.
    """
    told = calls.database.client.admin.command("hello")
    moment: Timestamp | None = told.get("lastWrite", {}).get("majorityOpTime", {}).get("ts")
    return moment


def _read(stream: "ChangeStream[Document]") -> list[Change]:
    found: list[Change] = []
    while (change := stream.try_next()) is not None:
        found.append(change)
        # Take what has arrived without a further command.
        if not stream._cursor._has_next():  # noqa: SLF001 -- the driver has no public API; tests count its commands
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
