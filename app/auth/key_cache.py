"""The cached API keys of a database: a request costs no database command, and a revoked key ends within a second."""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hmac import compare_digest
from typing import Final

from pymongo.errors import PyMongoError

from stores import times
from stores.errors import StoreError
from stores.keys import Key, KeysStore, LiveKeys, digest, key_id_of

logger = logging.getLogger("loomql")

_NO_HASH: Final = digest("")


def complete(ended: asyncio.Future[None]) -> None:
    """Complete a future that its waiter may have cancelled."""
    if not ended.done():
        ended.set_result(None)


class KeyCache:
    """The cached keys of a database.

    A request costs no database command. While requests arrive, a background task reads a version mark every
    `key_fresh_seconds` and the keys only if the mark changed. A request waits only if the last read is older than
    `key_trusted_seconds`.
    """

    def __init__(self, keys: KeysStore) -> None:
        self._keys = keys
        self._timings = keys.database.timings
        self._known = LiveKeys()
        self._read_started_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._futures: defaultdict[Key | None, set[asyncio.Future[None]]] = defaultdict(set)
        self._watcher: asyncio.Task[None] | None = None

    def cached(self) -> LiveKeys | None:
        """Return the cached keys, or None if they are too old to be trusted; refresh them in the background."""
        age = time.monotonic() - self._read_started_at
        if age >= self._timings.key_fresh_seconds:
            if age >= self._timings.key_trusted_seconds:
                return None
            self._read()
        return self._known

    async def read(self) -> LiveKeys:
        """Return keys that may be trusted; read them if the cached ones are too old.

        Raises:
            StoreError: the keys cannot be read.
        """
        return self.cached() or await self._read_now()

    async def find(self, text: str) -> Key | None:
        """Return the live key that a text is, or None if it is none.

        Raises:
            StoreError: the keys cannot be read.
        """
        known = await self.read()
        key = known.by_id.get(key_id_of(text) or "")
        is_match = compare_digest(digest(text), key.hash if key else _NO_HASH)
        return key if key and is_match and key.is_live(times.now()) else None

    def is_ended(self, key: Key | None) -> bool:
        """Return True if a key has been revoked or has expired; for None, if any key exists.

        Answers from the last read, whatever its age, and refreshes it in the background.
        """
        known = self.cached()
        if known is None:
            self._read()
            known = self._known
        return _is_ended(key, known)

    @contextmanager
    def on_end(self, key: Key | None) -> Iterator[asyncio.Future[None]]:
        """Yield a future that completes when `is_ended(key)` becomes true, or is cancelled at the end of the block."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[key].add(ended)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            yield ended
        finally:
            self._futures[key].discard(ended)
            if not self._futures[key]:
                del self._futures[key]
            ended.cancel()

    async def close(self) -> None:
        """Cancel the background tasks."""
        for task in (self._reading, self._watcher):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError, StoreError, PyMongoError):
                    await task

    async def _read_now(self) -> LiveKeys:
        """Return keys from a read that started no earlier than `key_trusted_seconds` before this call."""
        oldest = time.monotonic() - self._timings.key_trusted_seconds
        await asyncio.shield(self._read())
        if self._read_started_at < oldest:
            # The read in flight started too early: it may have missed a change that was acknowledged before this call.
            await asyncio.shield(self._read())
        return self._known

    def _read(self) -> asyncio.Task[None]:
        """Return the read in flight; start one if there is none."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refresh())
            self._reading.add_done_callback(_retrieve_exception)
        return self._reading

    async def _refresh(self) -> None:
        started_at = time.monotonic()
        number = await self._keys.change_number()
        if number != self._known.change_number:
            self._known = await self._keys.live_keys(number)
        self._read_started_at = started_at

    async def _watch(self) -> None:
        """Complete the futures of ended keys, for as long as any future waits."""
        is_logged = False
        while self._futures:
            try:
                await self._read_now()
                is_logged = False
            except StoreError:
                # While the keys cannot be read, no key can be revoked either.
                logger.debug("API keys cannot be read; the next attempt follows", exc_info=True)
            except PyMongoError:
                # Keep polling after an unexpected error: a later read may find a key revoked.
                if not is_logged:
                    logger.exception("API keys cannot be read; the next attempt follows")
                is_logged = True
            for key, futures in self._futures.items():
                if _is_ended(key, self._known):
                    for ended in futures:
                        complete(ended)
            await asyncio.sleep(self._timings.key_fresh_seconds)


def _is_ended(key: Key | None, known: LiveKeys) -> bool:
    if key is None:
        return known.change_number > 0
    now = known.by_id.get(key.id)  # it may have been revoked since `key` was read
    return now is None or not now.is_live(times.now())


def _retrieve_exception(reading: asyncio.Task[None]) -> None:
    """Mark the exception as retrieved: callers that await the read get it, and otherwise the next caller retries."""
    if not reading.cancelled():
        reading.exception()
