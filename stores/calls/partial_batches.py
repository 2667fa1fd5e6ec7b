"""Writing batches of which each part stands for itself: what breaks a rule is left out, and all else is stored."""

from collections.abc import Sequence

from stores.calls.inputs import CallEnd, CallStart
from stores.calls.writes import made_ready, write_batch
from stores.concurrency.time_slices import cooperative
from stores.database import Database
from stores.errors import BadInputError, PayloadTooLargeError, StoreError

Refused = dict[int, StoreError]
"""Why parts are not stored, by their positions."""


async def write_partly(database: Database, batch: Sequence[CallStart | CallEnd]) -> Refused:
    """Store the parts that break no rule; why the others are not stored, by position.

    Nearly all batches are good, so that a look at each part is taken only once a batch was refused as a whole.

    Raises:
        UnavailableError, ConflictError: nothing is refused then, and all of it may be sent again.
    """
    try:
        await write_batch(database, batch)
    except (BadInputError, PayloadTooLargeError):
        refused = await _looked_at(batch)
        good = [position for position in range(len(batch)) if position not in refused]
        return refused | await _write_good(database, batch, good)
    return {}


async def _looked_at(batch: Sequence[CallStart | CallEnd]) -> Refused:
    """What the parts themselves have against them."""
    refused: Refused = {}
    async for position, part in cooperative(enumerate(batch)):
        try:
            await made_ready(part.checked())
        except StoreError as error:
            refused[position] = error.with_traceback(None)  # which leads back to all of the batch
    return refused


async def _write_good(database: Database, batch: Sequence[CallStart | CallEnd], good: Sequence[int]) -> Refused:
    try:
        await write_batch(database, [batch[position] for position in good])
    except PayloadTooLargeError:
        # One of them is too large only together with what is there already, which the database does not name.
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
