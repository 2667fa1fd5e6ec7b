"""Sessions: the caller of each connection, found by its credentials, and the end of the caller's access.

Credentials are a key or token in the Authorization header or in a WebSocket's first message. A key is checked against
cached keys: a request costs no database command, and a revoked key ends within a second.
"""

import asyncio
import base64
import binascii
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pymongo.errors import PyMongoError

from app.http.connections import first_header, is_for_this_machine, is_loopback
from stores import times
from stores.errors import StoreError, UnauthenticatedError
from stores.keys import PREFIX, Key, KeysStore, LiveKeys, digest, key_id_of
from stores.security.access import Caller

if TYPE_CHECKING:
    from app.auth.oidc import OidcTokens

KeyPolicy = Literal["auto", "required", "off"]
"""Policy for API keys. `auto`: required once a key exists, and always beyond the loopback. `off`: never required."""

MAX_CHARACTERS: Final = 16_384
_MESSAGE_MEMBERS: Final = ("authorization", "apikey")
"""Members of a WebSocket's first message that may hold credentials, in any letter case."""

FIRST_KEY: Final = "loomql key create --project '*' --role admin"
"""Command that creates the first key."""


def unauthenticated_error() -> UnauthenticatedError:
    """Return the error for missing, wrong, revoked and expired credentials alike."""
    return UnauthenticatedError(
        "send a key that is neither revoked nor expired: Authorization: Bearer KEY, or Basic with the key as the "
        "password; `loomql key create --project PROJECT --role ROLE` on the server creates one"
    )


def authorization_header(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the value of the first Authorization header; None if there is none."""
    header = first_header(headers, b"authorization")
    return None if header is None else header.decode("latin-1")


def authorization_in_message(payload: Mapping[str, object]) -> str | None:
    """Return the credentials in a WebSocket's first message, as the value of an Authorization header.

    The message is `{"Authorization": "Bearer KEY"}` or `{"apiKey": KEY}`; None if it has neither.
    """
    members = {name.lower(): value for name, value in payload.items() if name.lower() in _MESSAGE_MEMBERS}
    if isinstance(header := members.get("authorization"), str):
        return header
    key = members.get("apikey")
    return f"Bearer {key}" if isinstance(key, str) else None


def secret_of(authorization: str) -> str | None:
    """Return the key or token in the value of an Authorization header; None if it holds none.

    Of Bearer it is the rest of the value. Of Basic it is the password, or the user name if there is no password.
    """
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    if len(rest) > MAX_CHARACTERS:
        return None
    match scheme.lower():
        case "bearer":
            return rest or None
        case "basic":
            return _password(rest)
        case _:
            return None


def _password(encoded: str) -> str | None:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, _, password = text.partition(":")
    return password or user or None


logger = logging.getLogger("loomql")

_NO_HASH: Final = digest("")
"""Compared for an unknown key, so that the refusal takes as long as that of a known one."""


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


class Session(NamedTuple):
    """The authenticated access of a connection; without `key_cache` and `expires_at` it never ends.

    Args:
        caller: the caller, with its grants.
        key_cache: the cached keys, by which it ends.
        key: the API key, at whose end it ends; None for a session that ends when the first key is created.
        expires_at: end of an issuer's token, in microseconds since the epoch.
    """

    caller: Caller
    key_cache: KeyCache | None = None
    key: Key | None = None
    expires_at: int | None = None

    @property
    def is_endless(self) -> bool:
        """True if the session never ends."""
        return self.key_cache is None and self.expires_at is None

    def is_valid(self) -> bool:
        """Return False if the session has ended, as far as the last read of the keys shows."""
        if self.key_cache is not None:
            return not self.key_cache.is_ended(self.key)
        return self.expires_at is None or times.now() < self.expires_at

    async def check(self) -> None:
        """Check that the session has not ended, by keys that may be trusted.

        Raises:
            UnauthenticatedError: it has ended.
            StoreError: the keys cannot be read.
        """
        if self.key_cache is not None:
            await self.key_cache.read()
        if not self.is_valid():
            raise unauthenticated_error()

    @contextmanager
    def on_end(self) -> Iterator[asyncio.Future[None]]:
        """Yield a future that completes when the session ends; it is cancelled at the end of the block."""
        if self.key_cache is not None:
            with self.key_cache.on_end(self.key) as ended:
                yield ended
            return
        loop = asyncio.get_running_loop()
        ended, timer = loop.create_future(), None
        if self.expires_at is not None:
            timer = loop.call_later((self.expires_at - times.now()) / times.SECOND, complete, ended)
        try:
            yield ended
        finally:
            if timer:
                timer.cancel()
            ended.cancel()


class Authenticator:
    """Finds the session of a connection, at any endpoint.

    Args:
        policy: whether API keys are required.
        anonymous: the caller of connections that need no key.
        tokens: verifies tokens of an issuer; with it, every connection needs a key or a token.
    """

    def __init__(self, policy: KeyPolicy, anonymous: Caller, tokens: "OidcTokens | None" = None) -> None:
        self._free = Session(anonymous) if policy == "off" else None
        self._is_required = policy == "required" or tokens is not None
        self._anonymous = anonymous
        self._tokens = tokens

    async def authenticate(self, authorization: str | None, key_cache: KeyCache, address: str) -> Session:
        """Return the session of a connection.

        Args:
            authorization: the value of its Authorization header, or None.
            key_cache: the cached keys.
            address: the server's own address that the connection came in at.

        Raises:
            UnauthenticatedError: credentials are required, and they are missing or invalid.
            StoreError: the keys cannot be read.
        """
        if self._free:
            return self._free
        known = await key_cache.read()
        if not (self._is_required or known.change_number) and is_loopback(address):
            return Session(self._anonymous, key_cache)
        secret = secret_of(authorization) if authorization else None
        if secret and secret.startswith(PREFIX):
            if key := await key_cache.find(secret):
                return Session(key.caller, key_cache, key)
        elif secret and self._tokens and (session := await self._tokens.session(secret)):
            return session
        if known.change_number or self._tokens:
            raise unauthenticated_error()
        # Short, because a WebSocket's close frame holds 123 bytes.
        raise UnauthenticatedError(f"no key exists yet; create the first one on the server: {FIRST_KEY}")


def key_policy_for(setting: KeyPolicy, host: str) -> KeyPolicy:
    """Return the policy for a server that listens at `host`: `auto` means `required` beyond the loopback."""
    return "required" if setting == "auto" and not is_for_this_machine(host) else setting
