"""Translation of driver errors into store errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

DUPLICATE_KEY: Final = 11000
"""MongoDB's code for a duplicate key."""
TOO_LARGE: Final = (17419, 10334, 388)
"""MongoDB's codes for a document over 16 MiB, one over the BSON limit, and one over a small server's cache."""
SNAPSHOT_TOO_OLD: Final = frozenset({239, 250})
"""MongoDB's codes for a snapshot that a mongod no longer has, and for one of which a cluster does not know where the
documents were: the collection was not sharded yet, or it is too long ago.
"""
CONVERSION_FAILURE: Final = 241
"""MongoDB's code for a value that an expression cannot convert."""
TOO_COMPLEX: Final = 51156
"""MongoDB's code for a regular expression that exceeds its match limit: the text has too many parts."""
TRANSIENT_CODES: Final = frozenset(
    {
        *(6, 7, 89, 9001, 133, 134),  # another member is unreachable or does not satisfy the read preference yet
        *(91, 189, 10107, 11600, 11602, 13435, 13436),  # the server shuts down or is no longer primary
        *(43, 175, 237, 246, 11601),  # the cursor, session or snapshot is gone, or the operation was killed
        *(24, 112, 251, 290),  # a write conflict, a held lock, or the transaction is gone
        *(202, 262, 365),  # the server is overloaded
        14031,  # its disk is full
    }
)
"""MongoDB's codes for transient failures. The driver labels none of them if it does not retry the command itself."""

_SNAPSHOT_UNAVAILABLE: Final = 246
"""MongoDB's code for a snapshot read during an index build; a transaction that fails with it is retried."""
_OF_TRANSACTION: Final = "TransientTransactionError"
_UNKNOWN: Final = 8
_NO_SPACE: Final = "28: No space left on device"
"""MongoDB's message, under its code for unknown errors, if the disk is full while it writes an index."""

TOO_SLOW: Final = (
    "the query timed out in the database; narrow the filter, or request fewer rows or fields "
    "(the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
)


@contextmanager
def translate_driver_errors() -> Iterator[None]:
    """Context manager that raises driver errors as store errors, with messages of LoomQL.

    Raises:
        UnavailableError: if no usable server was reached, a majority did not confirm a write, or MongoDB builds an
            index during a snapshot read.
        StoreTimeoutError: if MongoDB ended the command at its time limit.
        PayloadTooLargeError: if a document exceeds MongoDB's maximum.
        TooComplexError: if MongoDB cannot extract a path because a payload has too many parts.
    """
    try:
        yield
    except Exception as error:
        translated = store_error(error)
        if translated in (None, error):
            raise
        raise translated from error


def unreachable() -> UnavailableError:
    """Return the error for a database that does not answer."""
    return UnavailableError("the database is unreachable", unstored="assume nothing was stored, and retry")


def store_error(error: Exception) -> StoreError | None:
    """Return the store error for a driver error, and a store error itself; None for any other error."""
    match error:
        case StoreError():
            return error
        case ConnectionFailure() | ConfigurationError() | WriteConcernError():
            return unreachable()
        case ExecutionTimeout():
            return StoreTimeoutError(TOO_SLOW)
        case DocumentTooLarge() | InvalidDocument():
            return PayloadTooLargeError("a document is larger than MongoDB's maximum of 16 MiB; send less in one item")
        case OperationFailure() if not _codes(error).isdisjoint(TOO_LARGE):
            return PayloadTooLargeError("the data is too large for one database operation; send less at once")
        case OperationFailure() if TOO_COMPLEX in _codes(error):
            return TooComplexError()
        case OperationFailure() if error.code == _SNAPSHOT_UNAVAILABLE and not error.has_error_label(_OF_TRANSACTION):
            return UnavailableError("the database is building an index; retry shortly")
        case OperationFailure() if _is_transient(error):
            return unreachable()
        case _:
            return None


def _is_transient(error: OperationFailure) -> bool:
    """True if a retry may succeed."""
    if error.has_error_label("RetryableWriteError") or error.has_error_label(_OF_TRANSACTION):
        return True
    details: Mapping[str, Any] = (error.details or {}) if isinstance(error, BulkWriteError) else {}
    is_unconfirmed = bool(details.get("writeConcernErrors")) and not details.get("writeErrors")
    is_disk_full = any(
        failure.get("code") == _UNKNOWN and _NO_SPACE in str(failure.get("errmsg")) for failure in _failures(error)
    )
    return is_unconfirmed or is_disk_full or not _codes(error).isdisjoint(TRANSIENT_CODES)


def _codes(error: OperationFailure) -> set[int | None]:
    """Return the codes of a failure and of the writes that failed in it."""
    return {error.code, *(failed.get("code") for failed in _failures(error))}


def _failures(error: OperationFailure) -> list[Mapping[str, Any]]:
    """Return MongoDB's report of a failure, or of each failed write of a bulk write."""
    details: Mapping[str, Any] = error.details or {}
    if isinstance(error, BulkWriteError):
        return list(details.get("writeErrors", ()))
    return [{"code": error.code, "errmsg": details.get("errmsg")}]


def duplicate_writes(error: BulkWriteError, advice: str = "retry") -> list[int]:
    """Return the positions of the writes of a bulk that failed because their key exists; `advice` ends the error.

    Raises:
        BulkWriteError: if a write failed for another reason.
        UnavailableError: if a majority did not confirm the others.
    """
    details: Mapping[str, Any] = error.details or {}
    failures = _failures(error)
    if any(failure["code"] != DUPLICATE_KEY for failure in failures):
        raise error
    if details.get("writeConcernErrors"):
        raise UnavailableError(f"the database did not confirm the write; {advice}") from error
    return [failure["index"] for failure in failures]
