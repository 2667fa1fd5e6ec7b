"""What the driver raises, as the stores' own errors."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final

from bson.errors import InvalidDocument
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    WriteConcernError,
)

from stores.errors import PayloadTooLargeError, StoreError, StoreTimeoutError, TooComplexError, UnavailableError

RETRY_LATER: Final = "the database cannot be reached; nothing of this is known to be stored, try again"
DUPLICATE_KEY: Final = 11000
"""MongoDB's code for what is there already."""
TOO_LARGE: Final = (17419, 10334, 388)
"""MongoDB's codes for a document beyond 16 MiB, one beyond BSON, one beyond what a small server's cache takes."""
CONVERSION_FAILURE: Final = 241
"""MongoDB's code for a value that an expression cannot convert."""
TOO_COMPLEX: Final = 51156
"""MongoDB's code for a regular expression whose match it gave up: the text has too many parts."""
TRANSIENT_CODES: Final = frozenset(
    {
        *(6, 7, 89, 9001, 133, 134),  # another member is out of reach, or has yet to come near
        *(91, 189, 10107, 11600, 11602, 13435, 13436),  # the server shuts down or is no primary any more
        *(43, 175, 237, 246, 11601),  # what a command read from is gone, or somebody ended the command
        *(24, 112, 251, 290),  # others stood in its way, or its transaction is gone
        *(202, 262, 365),  # the server has too much to do
        14031,  # its disk is full
    }
)
"""MongoDB's codes for what may be over soon, that the driver does not label where it does not try again by itself."""

_UNKNOWN: Final = 8
_NO_SPACE: Final = "28: No space left on device"
"""What MongoDB says under its code for what it does not know, where the disk is full as it writes an index."""

TOO_SLOW: Final = (
    "the database did not finish in time; narrow the filter or the query, or ask for less "
    "(the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
)


class _Turning:
    """A block that does so; it keeps nothing, so one is enough for all."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End; what is raised is the stores' own, where they have one for it."""
        if error is not None and (turned := _turned(error)) is not None:
            raise turned from error


_TURNING: Final = _Turning()


def translate_driver_errors() -> AbstractContextManager[None]:
    """Turn what the driver raises inside into the stores' errors, its words left behind.

    Raises:
        UnavailableError: no server that can answer was reached, or a majority did not confirm a write.
        StoreTimeoutError: the server gave up at its time limit.
        PayloadTooLargeError: a document is larger than MongoDB takes.
        TooComplexError: a query needs the text of a part of a payload, and the payload has too many parts.
    """
    return _TURNING


def _turned(error: BaseException) -> StoreError | None:
    """A driver's error as one of the stores', None where they have none for it."""
    match error:
        case ConnectionFailure() | ConfigurationError() | WriteConcernError():
            return UnavailableError(RETRY_LATER)
        case ExecutionTimeout():
            return StoreTimeoutError(TOO_SLOW)
        case DocumentTooLarge() | InvalidDocument():
            return PayloadTooLargeError("a document is larger than the 16 MiB that MongoDB takes")
        case OperationFailure() if not _codes(error).isdisjoint(TOO_LARGE):
            return PayloadTooLargeError("this is larger than the database takes at once")
        case OperationFailure() if TOO_COMPLEX in _codes(error):
            return TooComplexError()
        case OperationFailure() if _is_passing(error):
            return UnavailableError(RETRY_LATER)
        case _:
            return None


def _is_passing(error: OperationFailure) -> bool:
    """Whether to send it again may help."""
    if error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError"):
        return True
    details: dict[str, Any] = dict(error.details or {}) if isinstance(error, BulkWriteError) else {}
    is_unconfirmed = bool(details.get("writeConcernErrors")) and not details.get("writeErrors")
    return is_unconfirmed or not _codes(error).isdisjoint(TRANSIENT_CODES) or any(map(_is_of_space, _failures(error)))


def _is_of_space(failure: Mapping[str, Any]) -> bool:
    return failure.get("code") == _UNKNOWN and _NO_SPACE in str(failure.get("errmsg"))


def _codes(error: OperationFailure) -> set[int | None]:
    """The codes of a failure and of what failed beneath it."""
    return {error.code, *(failed.get("code") for failed in _failures(error))}


def _failures(error: OperationFailure) -> list[Mapping[str, Any]]:
    """What MongoDB tells of a failure, or of each write that failed of several."""
    details: Mapping[str, Any] = error.details or {}
    if isinstance(error, BulkWriteError):
        return list(details.get("writeErrors", ()))
    return [{"code": error.code, "errmsg": details.get("errmsg")}]


_SNAPSHOT_UNAVAILABLE: Final = 246


@contextmanager
def translate_index_build_error() -> Iterator[None]:
    """Reads at one moment, which a database that makes an index just then refuses."""
    try:
        yield
    except OperationFailure as error:
        if error.code == _SNAPSHOT_UNAVAILABLE:
            raise UnavailableError("the database is making an index right now; try again") from error
        raise
