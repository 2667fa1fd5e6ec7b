"""Batches at the Weave SDK's door: whatever is wrong with one item, the others are stored.

The SDK drops a batch that is refused, and does not look into the answer to one that is taken. So a batch of which
anything could be stored is answered by 200, with `error` in the place of the result of each item that is not; only a
batch of which nothing could be is refused as a whole, which its program's log tells. The server's log has a line for
each batch with such items.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import Response

from app.weave.bodies import Items
from app.weave.errors import answer, log, reason, refusal
from stores.errors import StoreError

_LOGGED: Final = 3


@dataclass
class Outcome:
    """What came of each item of a batch, by position: a result, or the reason why it is not stored."""

    items: Items
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: dict[int, StoreError] = field(default_factory=dict)

    def refuse(self, position: int, error: StoreError) -> None:
        """Note why an item is not stored; of several reasons the first counts."""
        # What an error was raised in leads back to the whole body.
        self.refused.setdefault(position, error.with_traceback(None))

    def answer(self) -> Response:
        """The answer to the batch."""
        if self.refused:
            self._log()
        if self.refused and len(self.refused) == len(self.items):
            return refusal(self.refused[min(self.refused)])
        return answer({"res": [self._result(position) for position in range(len(self.items))]})

    def _result(self, position: int) -> dict[str, Any]:
        if position in self.refused:
            return {"error": reason(self.refused[position])}
        return self.results.get(position, {})

    def _log(self) -> None:
        reasons = "; ".join(reason(self.refused[position]) for position in sorted(self.refused)[:_LOGGED])
        more = "; and so on" if len(self.refused) > _LOGGED else ""
        count, total = len(self.refused), len(self.items)
        log.warning("%d of %d items of a batch at /weave are not stored: %s%s", count, total, reasons, more)
