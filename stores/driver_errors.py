"""What the driver raises, as the stores' own errors."""

from collections.abc import Iterator
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

from stores.errors import PayloadTooLargeError, StoreTimeoutError, UnavailableError

RETRY_LATER: Final = "the database cannot be reached; nothing of this is known to be stored, try again"
TOO_LARGE: Final = (17419, 10334, 388)
"""MongoDB's codes for a document beyond 16 MiB, one beyond BSON, one beyond what a small server's cache takes."""
PASSING: Final = frozenset(
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

TOO_SLOW: Final = (
    "the database did not finish in time; narrow the filter or the query, or ask for less "
    "(the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
)


@contextmanager
def driver_errors() -> Iterator[None]:
    """Turn what the driver raises inside into the stores' errors, its words left behind.

    Raises:
        UnavailableError: no server that can answer was reached, or a majority did not confirm a write.
        StoreTimeoutError: the server gave up at its time limit.
        PayloadTooLargeError: a document is larger than MongoDB takes.
    """
    try:
        yield
    except (ConnectionFailure, ConfigurationError, WriteConcernError) as error:
        raise UnavailableError(RETRY_LATER) from error
    except ExecutionTimeout as error:
        raise StoreTimeoutError(TOO_SLOW) from error
    except (DocumentTooLarge, InvalidDocument) as error:
        raise PayloadTooLargeError("a document is larger than the 16 MiB that MongoDB takes") from error
    except OperationFailure as error:
        if not _codes(error).isdisjoint(TOO_LARGE):
            raise PayloadTooLargeError("this is larger than the database takes at once") from error
        if _is_passing(error):
            raise UnavailableError(RETRY_LATER) from error
        raise


def _is_passing(error: OperationFailure) -> bool:
    """Whether to send it again may help."""
    if error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError"):
        return True
    details: dict[str, Any] = dict(error.details or {}) if isinstance(error, BulkWriteError) else {}
    is_unconfirmed = bool(details.get("writeConcernErrors")) and not details.get("writeErrors")
    return is_unconfirmed or not _codes(error).isdisjoint(PASSING)


def _codes(error: OperationFailure) -> set[int | None]:
    """The codes of a failure; one of several writes has those of each that failed beneath."""
    if not isinstance(error, BulkWriteError):
        return {error.code}
    return {error.code, *(failed.get("code") for failed in (error.details or {}).get("writeErrors", ()))}
