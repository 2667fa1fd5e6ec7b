"""Sessions: who a connection comes from, for as long as that may be."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.auth.credentials import unauthenticated_error
from app.auth.key_cache import KeyCache
from stores import times
from stores.keys import Key
from stores.security.access import Caller

Ended = asyncio.Future[None]


class Session(Protocol):
    """Who a connection comes from."""

    @property
    def caller(self) -> Caller:
        """Who asks, and what they may do."""

    def is_valid(self) -> bool:
        """Whether it is not over, as far as is known."""

    async def check(self) -> None:
        """See that it is not over, by what nobody has to doubt.

        Raises:
            UnauthenticatedError: it is.
            StoreError: that cannot be found out.
        """

    def on_end(self) -> AbstractContextManager[Ended]:
        """What is done when it is over, for as long as the block lasts."""


@dataclass(frozen=True, slots=True)
class UnrestrictedSession:
    """That of anybody, where nobody is ever asked who they are."""

    caller: Caller

    def is_valid(self) -> bool:
        """Always."""
        return True

    async def check(self) -> None:
        """It is never over."""

    @contextmanager
    def on_end(self) -> Iterator[Ended]:
        """It is never over."""
        ended = Ended()
        yield ended
        ended.cancel()


class NoKeysSession(NamedTuple):
    """That of anybody, until there is a first key."""

    caller: Caller
    keyring: KeyCache

    def is_valid(self) -> bool:
        """Whether there is no key yet."""
        return not self.keyring.is_over(None)

    async def check(self) -> None:
        """See that there is no key yet."""
        if await self.keyring.is_surely_over(None):
            raise unauthenticated_error()

    def on_end(self) -> AbstractContextManager[Ended]:
        """It is over when the first key is made."""
        return self.keyring.on_end(None)


@dataclass(frozen=True, slots=True)
class KeySession:
    """That of whoever has a key."""

    key: Key
    keyring: KeyCache

    @property
    def caller(self) -> Caller:
        """Whoever has it."""
        return self.key.caller

    def is_valid(self) -> bool:
        """Whether the key still does."""
        return not self.keyring.is_over(self.key)

    async def check(self) -> None:
        """See that the key still does."""
        if await self.keyring.is_surely_over(self.key):
            raise unauthenticated_error()

    def on_end(self) -> AbstractContextManager[Ended]:
        """It is over when the key is revoked, or ends."""
        return self.keyring.on_end(self.key)


@dataclass(frozen=True, slots=True)
class TokenSession:
    """That of whoever has a token, which is over at a time in microseconds since the epoch."""

    caller: Caller
    expires_at: int

    def is_valid(self) -> bool:
        """Whether that is still to come."""
        return times.now() < self.expires_at

    async def check(self) -> None:
        """See that it is."""
        if not self.is_valid():
            raise unauthenticated_error()

    @contextmanager
    def on_end(self) -> Iterator[Ended]:
        """It is over at its time."""
        loop = asyncio.get_running_loop()
        ended: Ended = loop.create_future()
        timer = loop.call_later((self.expires_at - times.now()) / times.SECOND, _end, ended)
        try:
            yield ended
        finally:
            timer.cancel()
            ended.cancel()


def _end(ended: Ended) -> None:
    if not ended.done():
        ended.set_result(None)
