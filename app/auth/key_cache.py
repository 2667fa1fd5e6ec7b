"""The keys as a process knows them: kept in memory, and never gone by for longer than `TRUSTED_SECONDS` unread."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hmac import compare_digest
from typing import Final

from pymongo.errors import PyMongoError

from stores import times
from stores.errors import StoreError
from stores.keys import TRUSTED_SECONDS, Key, KeysStore, LiveKeys, digest, key_id_of

logger = logging.getLogger("loomql")

FRESH_SECONDS: Final = 0.25
"""How old what is known may be before it is read anew, beside the requests that go by it."""

_NO_HASH: Final = digest("")


class KeyCache:
    """The keys of a database.

    A request costs no command: what is known is read again every `FRESH_SECONDS` while there are requests, by one look
    at a mark, and the keys with it where that has changed. A request waits only where nothing was read lately.
    """

    def __init__(self, keys: KeysStore) -> None:
        self._keys = keys
        self._known = LiveKeys()
        self._began = self._fresh_until = self._trusted_until = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._waiting: defaultdict[Key | None, set[asyncio.Future[None]]] = defaultdict(set)
        self._watching: asyncio.Task[None] | None = None

    def cached(self) -> LiveKeys | None:
        """The keys, if they may be gone by as they are."""
        now = time.monotonic()
        if now >= self._fresh_until:
            if now >= self._trusted_until:
                return None
            self._read()
        return self._known

    async def read(self) -> LiveKeys:
        """The keys, read where they must be.

        Raises:
            StoreError: they cannot be read.
        """
        return self.cached() or await self._read_now()

    async def find(self, text: str) -> Key | None:
        """The key that a text is, if it lets anybody in now.

        Raises:
            StoreError: that cannot be found out.
        """
        known = self.cached() or await self._read_now()
        key = known.by_id.get(key_id_of(text) or "")
        is_it = compare_digest(digest(text), key.hash if key else _NO_HASH)
        return key if key and is_it and key.is_live(times.now()) else None

    def is_over(self, key: Key | None) -> bool:
        """Whether a key that was found lets nobody in any more, as far as is known; for None, whether there is a key.

        What is known is read again beside that.
        """
        known = self.cached()
        if known is None:
            self._read()
            known = self._known
        return _is_over(key, known)

    async def is_surely_over(self, key: Key | None) -> bool:
        """The same by what may be gone by.

        Raises:
            StoreError: that cannot be read.
        """
        return _is_over(key, await self.read())

    @contextmanager
    def on_end(self, key: Key | None) -> Iterator[asyncio.Future[None]]:
        """What is done when `is_over` is so, for as long as the block lasts."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key].add(ended)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield ended
        finally:
            self._waiting[key].discard(ended)
            if not self._waiting[key]:
                del self._waiting[key]
            ended.cancel()

    async def close(self) -> None:
        """End what is under way."""
        for task in (self._reading, self._watching):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError, StoreError, PyMongoError):
                    await task

    async def _read_now(self) -> LiveKeys:
        """What is known by a reading that began no longer ago than one may be trusted for, as of this call."""
        oldest = time.monotonic() - TRUSTED_SECONDS
        await asyncio.shield(self._read())
        if self._began < oldest:
            # The one that was under way took long, and may have seen what was changed, and answered, before this call.
            await asyncio.shield(self._read())
        return self._known

    def _read(self) -> asyncio.Task[None]:
        """Begin to read them, if that is not under way."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refresh())
            self._reading.add_done_callback(_look_at_what_failed)
        return self._reading

    async def _refresh(self) -> None:
        began = time.monotonic()
        mark = await self._keys.change_number()
        if mark != self._known.change_number:
            self._known = await self._keys.live_keys(mark)
        self._began, self._fresh_until, self._trusted_until = began, began + FRESH_SECONDS, began + TRUSTED_SECONDS

    async def _watch(self) -> None:
        """Tell those who wait for the end of keys, while there are any."""
        is_refused = False
        while self._waiting:
            try:
                await self._read_now()
                is_refused = False
            except StoreError:
                # While nothing can be read no key can be revoked either, and nothing new is there to be told.
                logger.debug("the keys cannot be read", exc_info=True)
            except PyMongoError:
                # Whoever ends a key later is to be heard, whatever stands in the way of reading them now.
                if not is_refused:
                    logger.exception("the keys cannot be read")
                is_refused = True
            for key, waiting in self._waiting.items():
                if _is_over(key, self._known):
                    for ended in waiting:
                        if not ended.done():
                            ended.set_result(None)
            await asyncio.sleep(FRESH_SECONDS)


def _is_over(key: Key | None, known: LiveKeys) -> bool:
    if key is None:
        return known.ever
    now = known.by_id.get(key.id)  # it may end sooner than when it was found
    return now is None or not now.is_live(times.now())


def _look_at_what_failed(reading: asyncio.Task[None]) -> None:
    """Whoever waits for what failed tells it; where nobody does, the next who needs it reads anew."""
    if not reading.cancelled():
        reading.exception()
