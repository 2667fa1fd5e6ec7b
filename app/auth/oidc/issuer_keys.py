"""Public keys of an OpenID Connect issuer: cached, refreshed, and fetched again for an unknown key id."""

import asyncio
import logging
import math
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from app.auth.oidc.json_fetch import IssuerError, fetch_json
from stores.errors import UnavailableError

REFRESH_SECONDS: Final = 540.0
"""Age in seconds at which cached keys are refreshed in the background, so that none is older than ten minutes."""

MIN_INTERVAL_SECONDS: Final = 30.0
"""Minimum time in seconds between two fetches, whatever key ids tokens name."""

TIMEOUT_SECONDS: Final = 5.0
"""Limit in seconds of a whole fetch."""

_MAX_AGE_SECONDS: Final = 86_400.0
"""Time in seconds for which cached keys stay valid while the issuer is unreachable."""

_DISCOVERY: Final = "/.well-known/openid-configuration"
_UNREACHABLE: Final = "the OpenID Connect issuer is unreachable or returns invalid documents (LOOMQL_OIDC_ISSUER)"

Jwk = dict[str, Any]

_logger = logging.getLogger("loomql")


class Issuer:
    """The keys of one issuer, by its URL. One fetch runs at a time, in a thread."""

    def __init__(
        self, url: str, min_interval_seconds: float = MIN_INTERVAL_SECONDS, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.version = 0
        """Increases whenever the keys change."""
        self._url = url
        self._min_interval_seconds = min_interval_seconds
        self._timeout_seconds = timeout_seconds
        self._keys: list[Jwk] = []
        self._tried_at = self._fetched_at = -math.inf
        self._fetch: asyncio.Task[None] | None = None
        self._failure = ""

    async def key(self, key_id: str | None) -> Jwk | None:
        """Return the key with an id, or the only key if the id is None; None if there is none.

        Waits for the issuer only if the id is unknown.

        Raises:
            UnavailableError: the issuer has not answered yet, or not for a day.
        """
        if not self.has_valid_keys() or self._find(key_id) is None:
            await self._wait_for_fetch()
        if not self.has_valid_keys():
            raise UnavailableError(_UNREACHABLE)
        return self._find(key_id)

    def has_valid_keys(self) -> bool:
        """Return True if the cached keys are valid; refresh them in the background if they are old."""
        age = time.monotonic() - self._fetched_at
        if age > REFRESH_SECONDS:
            self._start_fetch()
        return age <= _MAX_AGE_SECONDS

    async def keep_fresh(self) -> None:
        """Refresh the keys periodically, so that a key that the issuer withdrew stops working even without requests."""
        while True:
            self.has_valid_keys()
            await asyncio.sleep(self._min_interval_seconds)

    def _find(self, key_id: str | None) -> Jwk | None:
        if key_id is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == key_id), None)

    async def _wait_for_fetch(self) -> None:
        if fetch := self._start_fetch():
            await asyncio.wait({fetch}, timeout=self._timeout_seconds)

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """Return the fetch in flight or start one; None if the last one started too recently."""
        if self._fetch and not self._fetch.done():
            return self._fetch
        now = time.monotonic()
        if now - self._tried_at < self._min_interval_seconds:
            return None
        self._tried_at = now
        self._fetch = asyncio.create_task(self._refresh(now))
        return self._fetch

    async def _refresh(self, now: float) -> None:
        try:
            # A thread that hangs beyond every timeout, for example in a DNS lookup, is abandoned.
            async with asyncio.timeout(self._timeout_seconds + 1):
                keys = await asyncio.wrap_future(_fetch_in_thread(self._url, now + self._timeout_seconds))
        except (IssuerError, TimeoutError) as error:
            reason = str(error) or "timed out"
            if reason != self._failure:
                _logger.warning("%s: %s", _UNREACHABLE, reason)
            self._failure = reason
            return
        self._fetched_at, self._failure = now, ""
        if keys != self._keys:
            self._keys = keys
            self.version += 1


def _fetch_in_thread(url: str, deadline: float) -> Future[list[Jwk]]:
    """Fetch the keys in a daemon thread, for which a server that stops does not wait."""
    future: Future[list[Jwk]] = Future()
    future.set_running_or_notify_cancel()

    def fetch() -> None:
        try:
            future.set_result(_fetch_keys(url, deadline))
        except Exception as error:  # noqa: BLE001 -- the future raises it in the waiting task
            future.set_exception(error)

    threading.Thread(target=fetch, name="issuer-keys", daemon=True).start()
    return future


def _fetch_keys(url: str, deadline: float) -> list[Jwk]:
    """Fetch the signing keys that an issuer publishes.

    Raises:
        IssuerError: the issuer is unreachable, or a document is not valid.
    """
    discovery = fetch_json(url.rstrip("/") + _DISCOVERY, deadline)
    if discovery.get("issuer") != url:
        raise IssuerError(f"the discovery document names another issuer: {discovery.get('issuer')!r}")
    keys = fetch_json(str(discovery.get("jwks_uri")), deadline).get("keys")
    if not isinstance(keys, list):
        raise IssuerError("the key document has no list of keys")
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
