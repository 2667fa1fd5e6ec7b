"""Reads whose first command goes straight over a connection of the driver's pool.

The driver begins each cursor with a session, and with a loop of attempts at a server of its choice: together they take
longer than a small read. Here a command is sent once, and where the driver would try again it is left to do so.
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
    otherwise: Callable[[], _C],
    read_concern: ReadConcern | None = None,
) -> "CommandCursor[Document] | _C":
    """What a command finds that has a cursor; it has the size of its first batch, which is given for the others.

    `otherwise` is the driver's own way to read the same. Without a read concern it is the collection's.
    """
    client = collection.database.client
    # Behind a load balancer a cursor keeps its connection.
    if client.options.load_balanced or not client.options.retry_reads:
        return otherwise()
    try:
        checkout = client._conn_for_reads(collection.read_preference, None, next(iter(command)))  # noqa: SLF001 -- see above
        with checkout as (connection, preference):
            answer = connection.command(
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
        return otherwise()
    except OperationFailure as error:
        if error.code not in _RETRYABLE_ERROR_CODES and not error.has_error_label("RetryableError"):
            raise
        return otherwise()
    return CommandCursor(collection, answer["cursor"], connection.address, batch_size)
