"""What all writers have in common."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from tests.app.calls_client import ServerGoneError
from tests.faults.client import FaultsClient, RefusedError

_PAUSE_SECONDS = 0.05
_BEFORE_AGAIN_SECONDS = 0.1


Thing = tuple[str, str]
"""A kind of what is stored, and what tells one from all others."""


def told(value: object) -> str:
    """A JSON value as the text that two have who are the same."""
    return json.dumps(value, sort_keys=True)


class Writer(ABC):
    """Takes one step after the other, and can tell afterwards what is not as it was acknowledged."""

    def __init__(self, client: FaultsClient) -> None:
        self.client = client
        self.steps = 0
        self._number = -1
        self._refusals = 0
        self.sent_things: set[Thing] = set()
        """All that it sent to be stored; each is to be there once at most."""

    async def write(self, stopped: asyncio.Event) -> None:
        """Take steps until stopped, whatever becomes of them."""
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
        """Write something, and keep what was acknowledged of it."""

    def next_number(self) -> int:
        """The number of a step: that of the last, so that the same is sent again, where that was refused for once."""
        if self._refusals % 2 == 0:
            self._number += 1
        return self._number

    async def lost(self) -> AsyncIterator[str]:
        """What was acknowledged and is not there, or not so, and what is there by half; a sentence each."""
        return
        yield
