"""The base class of all writers."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from tests.app.calls_client import ServerGoneError
from tests.faults.client import FaultsClient, RefusedError

_PAUSE_SECONDS = 0.05
_BEFORE_AGAIN_SECONDS = 0.1


Thing = tuple[str, str]
"""A kind of entity, and a text that identifies one entity of this kind."""


def canonical_text(value: object) -> str:
    """Return the canonical text of a JSON value; equal values have equal texts."""
    return json.dumps(value, sort_keys=True)


class Writer(ABC):
    """Takes one step after the other, and reports afterwards which acknowledged data is missing or wrong."""

    def __init__(self, client: FaultsClient) -> None:
        self.client = client
        self.steps = 0
        self._number = -1
        self._refusals = 0
        self.sent_things: set[Thing] = set()
        """All entities that the writer sent; the database may contain each at most once."""

    async def write(self, stopped: asyncio.Event) -> None:
        """Take steps until stopped, whether they succeed or fail."""
        while not stopped.is_set():
            try:
                await self.step()
            except (RefusedError, ServerGoneError):
                self._refusals += 1
                await asyncio.sleep(_BEFORE_AGAIN_SECONDS)
                continue
            self._refusals = 0
            self.steps += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    @abstractmethod
    async def step(self) -> None:
        """Write something and record the acknowledgement."""

    def next_number(self) -> int:
        """Return the number of the next step.

        After a first rejection it is the number of the rejected step, so that the writer retries it unchanged.
        """
        if self._refusals % 2 == 0:
            self._number += 1
        return self._number

    async def lost(self) -> AsyncIterator[str]:
        """Yield a sentence for each acknowledged write that is missing or wrong, and for each write stored in part."""
        return
        yield
