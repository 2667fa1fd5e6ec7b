"""Sessions: who a connection comes from, for as long as that may be."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.auth.credentials import refused
from app.auth.key_cache import Keyring
from stores import times
from stores.keys import Key
from stores.security.access import Caller

Ended = asyncio.Future[None]


class Session(Protocol):
    """Who a connection comes from."""

    @property
    def caller(self) -> Caller:
        """Who asks, and what they may do."""

    def lets_in(self) -> bool:
        """Whether it is not over, as far as is known."""

    async def check(self) -> None:
        """See that it is not over, by what nobody has to doubt.

        Raises:
            UnauthenticatedError: it is.
            StoreError: that cannot be found out.
        """

    def until_ended(self) -> AbstractContextManager[Ended]:
        """What is done when it is over, for as long as the block lasts."""


@dataclass(frozen=True, slots=True)
class FreeSession:
    """That of anybody, where nobody is ever asked who they are."""

    caller: Caller

    def lets_in(self) -> bool:
        """Always."""
        return True

    async def check(self) -> None:
        """It is never over."""

    @contextmanager
    def until_ended(self) -> Iterator[Ended]:
        """It is never over."""
        ended = Ended()
        yield ended
        ended.cancel()


class OpenSession(NamedTuple):
    """That of anybody, until there is a first key."""

    caller: Caller
    keyring: Keyring

    def lets_in(self) -> bool:
        """Whether there is no key yet."""
        return not self.keyring.is_over(None)

    async def check(self) -> None:
        """See that there is no key yet."""
        if await self.keyring.is_surely_over(None):
            raise refused()

    def until_ended(self) -> AbstractContextManager[Ended]:
        """It is over when the first key is made."""
        return self.keyring.until_ended(None)


@dataclass(frozen=True, slots=True)
class KeySession:
    """That of whoever has a key."""

    key: Key
    keyring: Keyring

    @property
    def caller(self) -> Caller:
        """Whoever has it."""
        return self.key.caller

    def lets_in(self) -> bool:
        """Whether the key still does."""
        return not self.keyring.is_over(self.key)

    async def check(self) -> None:
        """See that the key still does."""
        if await self.keyring.is_surely_over(self.key):
            raise refused()

    def until_ended(self) -> AbstractContextManager[Ended]:
        """It is over when the key is revoked, or ends."""
        return self.keyring.until_ended(self.key)


@dataclass(frozen=True, slots=True)
class TokenSession:
    """That of whoever has a token, which is over at a time in microseconds since the epoch."""

    caller: Caller
    expires_at: int

    def lets_in(self) -> bool:
        """Whether that is still to come."""
        return times.now() < self.expires_at

    async def check(self) -> None:
        """See that it is."""
        if not self.lets_in():
            raise refused()

    @contextmanager
    def until_ended(self) -> Iterator[Ended]:
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
