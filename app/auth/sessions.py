"""Sessions: the caller of a connection, and the end of the caller's access."""

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
    """The authenticated access of a connection."""

    @property
    def caller(self) -> Caller:
        """The caller, with its grants."""

    def is_valid(self) -> bool:
        """Return False if the session has ended, as far as the last read of the keys shows."""

    async def check(self) -> None:
        """Check that the session has not ended, by keys that may be trusted.

        Raises:
            UnauthenticatedError: it has ended.
            StoreError: the keys cannot be read.
        """

    def on_end(self) -> AbstractContextManager[Ended]:
        """Yield a future that completes when the session ends; it is cancelled at the end of the block."""


@dataclass(frozen=True, slots=True)
class UnrestrictedSession:
    """Session of every connection if no authentication is required; it never ends."""

    caller: Caller

    def is_valid(self) -> bool:
        """Return True."""
        return True

    async def check(self) -> None:
        """Do nothing."""

    @contextmanager
    def on_end(self) -> Iterator[Ended]:
        """Yield a future that never completes."""
        ended = Ended()
        yield ended
        ended.cancel()


class NoKeysSession(NamedTuple):
    """Session of a connection that needs no key because none exists; it ends when the first key is created."""

    caller: Caller
    key_cache: KeyCache

    def is_valid(self) -> bool:
        """Return True as long as no key exists."""
        return not self.key_cache.is_ended(None)

    async def check(self) -> None:
        """Check that no key exists."""
        if await self.key_cache.is_ended_for_certain(None):
            raise unauthenticated_error()

    def on_end(self) -> AbstractContextManager[Ended]:
        """Yield a future that completes when the first key is created."""
        return self.key_cache.on_end(None)


@dataclass(frozen=True, slots=True)
class KeySession:
    """Session of a connection with an API key; it ends when the key is revoked or expires."""

    key: Key
    key_cache: KeyCache

    @property
    def caller(self) -> Caller:
        """The key's caller."""
        return self.key.caller

    def is_valid(self) -> bool:
        """Return True as long as the key is live."""
        return not self.key_cache.is_ended(self.key)

    async def check(self) -> None:
        """Check that the key is live."""
        if await self.key_cache.is_ended_for_certain(self.key):
            raise unauthenticated_error()

    def on_end(self) -> AbstractContextManager[Ended]:
        """Yield a future that completes when the key is revoked or expires."""
        return self.key_cache.on_end(self.key)


@dataclass(frozen=True, slots=True)
class TokenSession:
    """Session of a connection with an issuer's token; it ends at `expires_at`, in microseconds since the epoch."""

    caller: Caller
    expires_at: int

    def is_valid(self) -> bool:
        """Return True before `expires_at`."""
        return times.now() < self.expires_at

    async def check(self) -> None:
        """Check that the token has not expired."""
        if not self.is_valid():
            raise unauthenticated_error()

    @contextmanager
    def on_end(self) -> Iterator[Ended]:
        """Yield a future that completes at `expires_at`."""
        loop = asyncio.get_running_loop()
        ended: Ended = loop.create_future()
        timer = loop.call_later((self.expires_at - times.now()) / times.SECOND, _complete, ended)
        try:
            yield ended
        finally:
            timer.cancel()
            ended.cancel()


def _complete(ended: Ended) -> None:
    if not ended.done():
        ended.set_result(None)
