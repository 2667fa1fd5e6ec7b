"""What the driver raises, as the stores' own errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bson.errors import InvalidDocument
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    WTimeoutError,
)

from stores.errors import PayloadTooLargeError, StoreTimeoutError, UnavailableError

RETRY_LATER: Final = "the database cannot be reached; nothing of this is known to be stored, try again"
TOO_LARGE: Final = (17419, 10334, 388)
"""MongoDB's codes for a document beyond 16 MiB, one beyond BSON, one beyond what a small server's cache takes."""
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
    except (ConnectionFailure, ConfigurationError, WTimeoutError) as error:
        raise UnavailableError(RETRY_LATER) from error
    except ExecutionTimeout as error:
        raise StoreTimeoutError(TOO_SLOW) from error
    except (DocumentTooLarge, InvalidDocument) as error:
        raise PayloadTooLargeError("a document is larger than the 16 MiB that MongoDB takes") from error
    except OperationFailure as error:
        if not _codes(error).isdisjoint(TOO_LARGE):
            raise PayloadTooLargeError("this is larger than the database takes at once") from error
        if error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError"):
            raise UnavailableError(RETRY_LATER) from error
        raise


def _codes(error: OperationFailure) -> set[int | None]:
    """The codes of a failure; one of several writes has those of each that failed beneath."""
    if not isinstance(error, BulkWriteError):
        return {error.code}
    return {error.code, *(failed.get("code") for failed in (error.details or {}).get("writeErrors", ()))}
