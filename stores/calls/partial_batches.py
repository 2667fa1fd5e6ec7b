"""Batch writes that reject invalid parts and store the rest."""

from collections.abc import Sequence

from stores.calls.inputs import CallEnd, CallStart
from stores.calls.writes import prepare_fields, write_batch
from stores.concurrency.time_slices import cooperative
from stores.database import Database
from stores.errors import BadInputError, PayloadTooLargeError, StoreError

Rejected = dict[int, StoreError]
"""The error of each rejected part, by position in the batch."""


async def write_partly(database: Database, batch: Sequence[CallStart | CallEnd]) -> Rejected:
    """Store the valid parts of a batch; return the errors of the others by position.

    Nearly all batches are valid, so parts are checked one by one only after the whole batch was rejected.

    Raises:
        UnavailableError, ConflictError: if the database failed; no part counts as rejected, and the caller may retry
        all.
    """
    try:
        await write_batch(database, batch)
    except (BadInputError, PayloadTooLargeError):
        rejected = await _check_parts(batch)
        valid = [position for position in range(len(batch)) if position not in rejected]
        return rejected | await _write_valid(database, batch, valid)
    return {}


async def _check_parts(batch: Sequence[CallStart | CallEnd]) -> Rejected:
    """Return the errors of the parts that are invalid by themselves."""
    rejected: Rejected = {}
    async for position, part in cooperative(enumerate(batch)):
        try:
            await prepare_fields(part.checked())
        except StoreError as error:
            rejected[position] = error.with_traceback(None)  # the traceback would keep the whole batch in memory
    return rejected


async def _write_valid(database: Database, batch: Sequence[CallStart | CallEnd], valid: Sequence[int]) -> Rejected:
    try:
        await write_batch(database, [batch[position] for position in valid])
    except PayloadTooLargeError:
        # A part is too large only together with its call's stored part; the database does not say which.
        return await _write_one_by_one(database, batch, valid)
    return {}


async def _write_one_by_one(database: Database, batch: Sequence[CallStart | CallEnd], valid: Sequence[int]) -> Rejected:
    rejected: Rejected = {}
    for position in valid:
        try:
            await write_batch(database, [batch[position]])
        except PayloadTooLargeError as error:
            rejected[position] = error
    return rejected
