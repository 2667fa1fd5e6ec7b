"""The keys as a process knows them: kept in memory, and never gone by for longer than `TRUSTED_SECONDS` unread."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hmac import compare_digest
from typing import Final

from stores import times
from stores.errors import StoreError
from stores.keys import TRUSTED_SECONDS, Key, KeysStore, Known, digest, key_id_of

FRESH_SECONDS: Final = 0.25
"""How old what is known may be before it is read anew, beside the requests that go by it."""

_NO_HASH: Final = digest("")


class Keyring:
    """The keys of a database.

    A request costs no command: what is known is read again every `FRESH_SECONDS` while there are requests, by one look
    at a mark, and the keys with it where that has changed. A request waits only where nothing was read lately.
    """

    def __init__(self, keys: KeysStore) -> None:
        self._keys = keys
        self._known = Known()
        self._fresh_until = self._trusted_until = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._ending: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._watching: asyncio.Task[None] | None = None

    def known(self) -> Known | None:
        """The keys, if they may be gone by as they are."""
        now = time.monotonic()
        if now >= self._fresh_until:
            if now >= self._trusted_until:
                return None
            self._read()
        return self._known

    async def current(self) -> Known:
        """The keys, read where they must be.

        Raises:
            StoreError: they cannot be read.
        """
        return self.known() or await self._read_now()

    async def find(self, text: str) -> Key | None:
        """The key that a text is, if it lets anybody in now.

        Raises:
            StoreError: that cannot be found out.
        """
        known = self.known() or await self._read_now()
        key = known.by_id.get(key_id_of(text) or "")
        is_it = compare_digest(digest(text), key.hash if key else _NO_HASH)
        return key if key and is_it and key.is_live(times.now()) else None

    def lets_in(self, key: Key) -> bool:
        """Whether a key that was found still lets anybody in, as far as is known."""
        return key.id in self._known.by_id and key.is_live(times.now())

    @contextmanager
    def until_ended(self, key: Key) -> Iterator[asyncio.Future[None]]:
        """What is done when a key ends that was found, for as long as the block lasts."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending[key.id].add(ended)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            yield ended
        finally:
            self._ending[key.id].discard(ended)
            if not self._ending[key.id]:
                del self._ending[key.id]
            ended.cancel()

    async def close(self) -> None:
        """End what is under way."""
        for task in (self._reading, self._watching):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError, StoreError):
                    await task

    async def _read_now(self) -> Known:
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
        mark = await self._keys.mark()
        if mark != self._known.mark:
            self._known = await self._keys.known(mark)
        self._fresh_until, self._trusted_until = began + FRESH_SECONDS, began + TRUSTED_SECONDS

    async def _watch(self) -> None:
        """Tell those who wait for the end of keys, while there are any."""
        while self._ending:
            # While nothing can be read no key can be revoked either, and nothing new is there to be told to anybody.
            with suppress(StoreError):
                await self._read_now()
            now = times.now()
            for key_id, waiting in self._ending.items():
                key = self._known.by_id.get(key_id)
                if key is None or not key.is_live(now):
                    for ended in waiting:
                        if not ended.done():
                            ended.set_result(None)
            await asyncio.sleep(FRESH_SECONDS)
        self._watching = None


def _look_at_what_failed(reading: asyncio.Task[None]) -> None:
    """Whoever waits for what failed tells it; where nobody does, the next who needs it reads anew."""
    if not reading.cancelled():
        reading.exception()
