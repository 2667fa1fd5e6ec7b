"""Batches at the Weave SDK's door: whatever is wrong with one item, the others are stored.

The SDK drops a batch that is refused, and does not look into the answer to one that is taken. So a batch of which
anything could be stored is answered by 200, with `error` in the place of the result of each item that is not; only a
batch of which nothing could be is refused as a whole, which its program's log tells. The server's log has a line for
each batch with such items.
"""

from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import Response

from app.weave.errors import answer, log, reason, refusal
from app.weave.request_body import Body, Items
from stores.concurrency.time_slices import cooperative
from stores.errors import PayloadTooLargeError, StoreError

MAX_ITEMS: Final = 100_000
"""More than the SDK sends, whose batches grow to 31 MiB of items that have some hundred bytes each."""

_MOST_REASONS: Final = 1_000
_NO_REASON: Final = f"is not stored; only the first {_MOST_REASONS:,} such items of a batch are told why"

_BATCH: Final = "batch"
_LOGGED: Final = 3


async def batch_of(body: Body) -> Items:
    """The items of a batch.

    Raises:
        InvalidRequestError: the body is no JSON as a whole, or has no such list.
        PayloadTooLargeError: there are more than `MAX_ITEMS`.
    """
    items = await body.items(_BATCH)
    if len(items) > MAX_ITEMS:
        raise PayloadTooLargeError(f"has {len(items):,} items; the limit is {MAX_ITEMS:,}; send fewer at once", _BATCH)
    return items


@dataclass
class Outcome:
    """What came of each item of a batch, by position: a result, or the reason why it is not stored."""

    items: Items
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    is_partly_stored: bool = False
    """Whether items may be stored already, so that no error may say that nothing is."""
    _first: tuple[int, StoreError] | None = None

    def __post_init__(self) -> None:
        """Note the memory of the body, to which `release` leads back."""
        self._body_bytes = self.items.share.size

    def release(self) -> None:
        """Release the memory of the items that are stored, or refused."""
        self.items.share.release_to(self._body_bytes)

    def passing(self, error: StoreError, position: int) -> StoreError:
        """The error for the whole batch, to be sent again, if the server cannot take or store the item now."""
        cause, claim, _ = error.message.partition("; nothing of this ")
        if not claim or not self.is_partly_stored:
            return error
        # The intake knows nothing of the items before.
        partly = copy(error)
        partly.message = (
            f"{cause}; items before {self.items.at(position)} may be stored, send the whole batch again a little later"
        )
        return partly

    def refuse(self, position: int, error: StoreError) -> None:
        """Note why an item is not stored; of several reasons the first counts."""
        if position in self.refused:
            return
        self.refused[position] = reason(error) if len(self.refused) < _MOST_REASONS else _NO_REASON
        if self._first is None or position < self._first[0]:
            self._first = position, _by_itself(error)

    async def answer(self) -> Response:
        """The answer to the batch."""
        if self.refused:
            self._log()
        if self._first and len(self.refused) == len(self.items):
            return refusal(self._first[1])
        return answer({"res": [self._result(position) async for position in cooperative(range(len(self.items)))]})

    def _result(self, position: int) -> dict[str, Any]:
        if position in self.refused:
            return {"error": self.refused[position]}
        return self.results.get(position, {})

    def _log(self) -> None:
        reasons = "; ".join(self.refused[position] for position in sorted(self.refused)[:_LOGGED])
        more = "; and so on" if len(self.refused) > _LOGGED else ""
        count, total = len(self.refused), len(self.items)
        log.warning("%d of %d items of a batch at /weave are not stored: %s%s", count, total, reasons, more)


def _by_itself(error: StoreError) -> StoreError:
    """The error without what it was raised in, which leads back to the whole body."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
