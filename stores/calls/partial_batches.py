"""Batch writes that reject invalid parts and store the rest."""

from collections.abc import Sequence

from stores.calls.inputs import CallEnd, CallStart
from stores.calls.writes import made_ready, write_batch
from stores.concurrency.time_slices import cooperative
from stores.database import Database
from stores.errors import BadInputError, PayloadTooLargeError, StoreError

Refused = dict[int, StoreError]
"""The error of each rejected part, by position in the batch."""


async def write_partly(database: Database, batch: Sequence[CallStart | CallEnd]) -> Refused:
    """Store the valid parts of a batch; return the errors of the others by position.

    Nearly all batches are valid, so parts are checked one by one only after the whole batch was rejected.

    Raises:
        UnavailableError, ConflictError: if the database failed; no part counts as rejected, and the caller may retry
        all.
    """
    try:
        await write_batch(database, batch)
    except (BadInputError, PayloadTooLargeError):
        refused = await _looked_at(batch)
        good = [position for position in range(len(batch)) if position not in refused]
        return refused | await _write_good(database, batch, good)
    return {}


async def _looked_at(batch: Sequence[CallStart | CallEnd]) -> Refused:
    """Return the errors of the parts that are invalid by themselves."""
    refused: Refused = {}
    async for position, part in cooperative(enumerate(batch)):
        try:
            await made_ready(part.checked())
        except StoreError as error:
            refused[position] = error.with_traceback(None)  # the traceback would keep the whole batch in memory
    return refused


async def _write_good(database: Database, batch: Sequence[CallStart | CallEnd], good: Sequence[int]) -> Refused:
    try:
        await write_batch(database, [batch[position] for position in good])
    except PayloadTooLargeError:
        # A part is too large only together with its call's stored part; the database does not say which.
        return await _write_singly(database, batch, good)
    return {}


async def _write_singly(database: Database, batch: Sequence[CallStart | CallEnd], good: Sequence[int]) -> Refused:
    refused: Refused = {}
    for position in good:
        try:
            await write_batch(database, [batch[position]])
        except PayloadTooLargeError as error:
            refused[position] = error
    return refused
