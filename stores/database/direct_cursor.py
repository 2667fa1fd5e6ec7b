"""Cursors whose first command goes directly over a connection of the driver's pool.

The driver starts each cursor with a session and a retry loop, which together take longer than a small read. This module
sends the command once, and falls back to the driver's own way if a retry is needed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pymongo.errors import ConnectionFailure, OperationFailure, ServerSelectionTimeoutError
from pymongo.helpers_shared import _RETRYABLE_ERROR_CODES
from pymongo.read_concern import ReadConcern
from pymongo.synchronous.command_cursor import CommandCursor

if TYPE_CHECKING:
    from pymongo.collection import Collection as DriversCollection

    from stores.database import Document

_C = TypeVar("_C")


def open_cursor(
    collection: "DriversCollection[Document]",
    command: dict[str, Any],
    batch_size: int,
    fallback: Callable[[], _C],
    read_concern: ReadConcern | None = None,
) -> "CommandCursor[Document] | _C":
    """Run a cursor command and return its cursor; the command sets the first batch size, `batch_size` the later ones.

    Args:
        collection: the collection that the command reads.
        command: the command with all its options.
        batch_size: rows per later batch.
        fallback: runs the same read through the driver, for a retry.
        read_concern: the collection's own if None.
    """
    client = collection.database.client
    # Behind a load balancer a cursor pins its connection, which the driver must track.
    if client.options.load_balanced or not client.options.retry_reads:
        return fallback()
    try:
        checkout = client._conn_for_reads(collection.read_preference, None, next(iter(command)))  # noqa: SLF001 -- see above
        with checkout as (connection, preference):
            reply = connection.command(
                collection.database.name,
                command,
                preference,
                collection.codec_options,
                read_concern=read_concern or collection.read_concern,
                client=client,
            )
    except ServerSelectionTimeoutError:
        raise
    except ConnectionFailure:
        return fallback()
    except OperationFailure as error:
        if error.code not in _RETRYABLE_ERROR_CODES and not error.has_error_label("RetryableError"):
            raise
        return fallback()
    return CommandCursor(collection, reply["cursor"], connection.address, batch_size)
