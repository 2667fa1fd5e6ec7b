"""Change streams over the calls, read in batches: one event-loop step per batch; and their conversion into events."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson.timestamp import Timestamp
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from stores import times
from stores.calls.documents import FIELDS_WITHOUT_EVENTS
from stores.calls.events.event import CURSOR_ARGUMENT, CallEvent, Cursors, timestamp_of, token_at
from stores.database import Collection, Document
from stores.database.driver import run_in_driver_thread
from stores.errors import BadInputError

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.change_stream import ChangeStream
    from pymongo.collection import Collection as DriversCollection

Change = dict[str, Any]

POLL_SECONDS: Final = 0.2
"""Wait of one read for a change, which delays the reaction to changed subscriptions by at most as much."""
_CHECK_SECONDS: Final = 0.01
"""Wait of a read that only checks for changes."""

_TOKEN_LOST: Final = (286, 280)
"""ChangeStreamHistoryLost and ChangeStreamFatalError: the token is older than the oplog, or of another database."""

Pipeline = list[dict[str, Any]]

_PATH_LISTS: Final = (
    {"$map": {"input": {"$objectToArray": "$updateDescription.updatedFields"}, "in": "$$this.k"}},
    "$updateDescription.removedFields",
    {"$map": {"input": "$updateDescription.truncatedArrays", "in": "$$this.field"}},
)

_CHANGED_PATHS: Final[dict[str, Any]] = {"$concatArrays": [{"$ifNull": [part, []]} for part in _PATH_LISTS]}
"""The paths that an update changed."""

_EVENT_STAGES: Final[Pipeline] = [
    # Backfilled fields (`calls_backfill`) and text indexing are no events.
    {
        "$match": {
            "$expr": {
                "$or": [
                    {"$ne": ["$operationType", "update"]},
                    {"$not": [{"$setIsSubset": [_CHANGED_PATHS, list(FIELDS_WITHOUT_EVENTS)]}]},
                ]
            }
        }
    },
    {"$set": {"changed": _CHANGED_PATHS, "visible": "$updateDescription.updatedFields.visible"}},
    # BSON copies are half of a document, and the document already contains what an update wrote; neither is sent.
    {
        "$project": dict.fromkeys((f"fullDocument.{name}" for name in ("inputs", "output", "attributes", "summary")), 0)
        | {"updateDescription": 0, "documentKey": 0, "ns": 0}
    },
]


@dataclass(frozen=True, slots=True)
class Stream:
    """An open change stream, complete after the token `start`; it allows only one read at a time."""

    cursor: "ChangeStream[Document]"
    start: str

    @property
    def token(self) -> str:
        """Token up to which everything was read."""
        return _token(self.cursor) or self.start

    async def read(self) -> list[Change]:
        """Return the available changes; empty if none arrives within `POLL_SECONDS`.

        Do not cancel the caller: the driver would open a second cursor and leave it open.
        """
        return await run_in_driver_thread(_read, self.cursor)


@asynccontextmanager
async def open_stream(calls: Collection, project_ids: Sequence[str] | None, token: str | None) -> AsyncIterator[Stream]:
    """Open the changes of some projects, or of all, from a token's timestamp on; from about now if it is None.

    Changes with exactly that timestamp are repeated, since they are new for added projects.
    """
    stream, start = await run_in_driver_thread(_open_at_timestamp, calls.delegate, project_ids, token)
    try:
        yield Stream(stream, start)
    finally:
        await run_in_driver_thread(stream.close)


async def current_token(calls: Collection) -> str:
    """Return the token after everything that happened so far."""
    return await run_in_driver_thread(_read_current_token, calls.delegate)


async def read_changes_after(calls: Collection, project_id: str, token: str) -> tuple[list[Change], str]:
    """Read a batch of a project's changes after a token, and the token up to which it is complete.

    No stream stays open.

    Raises:
        BadInputError: if the oplog does not contain the token.
    """
    try:
        return await run_in_driver_thread(_read_batch, calls.delegate, project_id, token)
    except OperationFailure as error:
        if is_transient(error) or error.timeout:
            raise
        # If there are no events at all, this raises instead: the token is not to blame.
        await current_token(calls)
        if error.code in _TOKEN_LOST:
            raise BadInputError(
                "the cursor is older than the database's oplog, which covers only the last hours or days; get "
                "callEventsCursor, query calls for what happened meanwhile, and subscribe after that cursor",
                CURSOR_ARGUMENT,
            ) from error
        raise BadInputError(
            "the cursor is not valid in this database; use callEventsCursor", CURSOR_ARGUMENT
        ) from error


def is_transient(error: PyMongoError) -> bool:
    """Return True if a stream's error may be transient, so that it can resume."""
    return isinstance(error, ConnectionFailure) or error.has_error_label("ResumableChangeStreamError")


def _open(
    calls: "DriversCollection[Document]",
    project_ids: Sequence[str] | None,
    token: str | None,
    timestamp: Timestamp | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> "ChangeStream[Document]":
    match: dict[str, Any] = {"operationType": {"$in": ["insert", "update", "replace"]}}
    if project_ids is not None:
        # The project begins the key, so MongoDB leaves out changes of others before it looks up documents. A range of
        # keys per project would take ten times as long for 100 projects.
        key = {"$convert": {"input": "$documentKey._id", "to": "string", "onError": "", "onNull": ""}}
        match["$expr"] = {"$in": [{"$first": {"$split": [key, ":"]}}, {"$literal": sorted(project_ids)}]}
    return calls.watch(
        [{"$match": match}, *_EVENT_STAGES],
        full_document="updateLookup",
        start_after={"_data": token} if token and not timestamp else None,
        start_at_operation_time=timestamp,
        max_await_time_ms=int(poll_seconds * 1000),
        batch_size=500,
    )


def _open_at_timestamp(
    calls: "DriversCollection[Document]", project_ids: Sequence[str] | None, token: str | None
) -> tuple["ChangeStream[Document]", str]:
    timestamp = timestamp_of(token) if token else _last_timestamp(calls)
    start = token_at(timestamp) if timestamp else token or _read_current_token(calls)
    return _open(calls, project_ids, start, timestamp), start


def _last_timestamp(calls: "DriversCollection[Document]") -> Timestamp | None:
    """Return the timestamp of the last majority-confirmed write; None if it is unknown.

    By default MongoDB starts after the last write, which a majority may not have confirmed yet. A subscriber that
    catches up could then not detect when it has reached the start.
    """
    response = calls.database.client.admin.command("hello")
    timestamp: Timestamp | None = response.get("lastWrite", {}).get("majorityOpTime", {}).get("ts")
    if timestamp is None and (following := timestamp_of(_read_current_token(calls))):
        # A router knows no last write. It starts at the following timestamp, which the next write may have.
        timestamp = Timestamp(following.time, following.inc - 1)
    return timestamp


def _read(stream: "ChangeStream[Document]") -> list[Change]:
    changes: list[Change] = []
    while (change := stream.try_next()) is not None:
        changes.append(change)
        # Take what has arrived without a further command.
        if not stream._cursor._has_next():  # noqa: SLF001 -- the driver has no public API; tests count its commands
            break
    return changes


def _token(stream: "ChangeStream[Document]") -> str:
    token: str = (stream.resume_token or {}).get("_data", "")
    return token


def _read_batch(calls: "DriversCollection[Document]", project_id: str, token: str) -> tuple[list[Change], str]:
    with _open(calls, [project_id], token, poll_seconds=_CHECK_SECONDS) as stream:
        changes = _read(stream)
        return changes, _token(stream)


def _read_current_token(calls: "DriversCollection[Document]") -> str:
    with calls.watch([{"$match": {"operationType": "none"}}], max_await_time_ms=1) as stream:
        if not _token(stream):
            stream.try_next()
        return _token(stream)


def token_of(change: Mapping[str, Any]) -> str:
    """Return a change's resume token; tokens sort lexically."""
    token: str = change["_id"]["_data"]
    return token


def age_seconds(change: Mapping[str, Any]) -> float:
    """Return a change's age in seconds, by MongoDB's clock and ours.

    It is 0 if MongoDB's clock is ahead of ours, or if the change has no time.
    """
    written_at: datetime | None = change.get("wallTime")
    return max(0.0, (times.now() - times.from_datetime(written_at)) / 1e6) if written_at else 0.0


def to_event(change: Mapping[str, Any], cursors: Cursors) -> CallEvent | None:
    """Convert a change to an event; None if it is no event. A call written whole gives `ended`.

    An update carries the call as it is when the change is read, perhaps later. A call that is removed by then gives no
    event.
    """
    call = change.get("fullDocument")
    if not call:
        return None
    event_type = _event_type(change, call)
    return CallEvent(event_type, call, token_of(change), cursors) if event_type else None


def _event_type(change: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    if change["operationType"] != "update":
        event_type = "ended" if "ended_at" in call else "started"
        return event_type if call.get("visible") else None
    changed = set(change.get("changed") or ())
    visible_after = change.get("visible")
    if visible_after is False and "started_at" in call:
        # An end that deletes a call before its start hides nothing.
        return "deleted"
    if visible_after is None and not _was_visible(change, call):
        return None
    if "ended_at" in changed or (visible_after and "ended_at" in call):
        return "ended"
    return "started" if visible_after or "started_at" in changed else "updated"


def _was_visible(change: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    """Return True if the call was visible at an update that neither showed nor hid it, even if it is deleted now."""
    if call.get("visible"):
        return True
    written_at: datetime | None = change.get("wallTime")
    deleted_at = call.get("deleted_at")
    # Both times are MongoDB's, in milliseconds: a tie is delivered rather than missed.
    return bool(
        "started_at" in call and deleted_at is not None and written_at and times.from_datetime(written_at) <= deleted_at
    )
