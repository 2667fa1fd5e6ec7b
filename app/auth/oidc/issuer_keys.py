"""The issuer's public keys: found by its discovery document, kept, and fetched anew where a token names another."""

import asyncio
import logging
import math
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from app.auth.oidc.json_fetch import IssuerError, fetch_json
from stores.errors import UnavailableError

KEPT_SECONDS: Final = 540.0
"""How old keys are when they are fetched anew, beside whoever asks; so that they are not older than ten minutes."""

FLOOR_SECONDS: Final = 30.0
"""How long after one fetch another may be made, whatever tokens name."""

TIMEOUT_SECONDS: Final = 5.0
"""How long a fetch may take as a whole."""

_LONGEST_SECONDS: Final = 86_400.0
"""How long the keys hold of an issuer that is away."""

_DISCOVERY: Final = "/.well-known/openid-configuration"
_AWAY: Final = "the issuer of tokens does not answer as it should"

Jwk = dict[str, Any]

_log = logging.getLogger("loomql")


class Issuer:
    """An issuer by its URL, whose keys are fetched in a thread and never by two at once."""

    def __init__(
        self, url: str, floor_seconds: float = FLOOR_SECONDS, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.version = 0
        """Another one when the keys are others."""
        self._url = url
        self._floor_seconds = floor_seconds
        self._timeout_seconds = timeout_seconds
        self._keys: list[Jwk] = []
        self._tried_at = self._fetched_at = -math.inf
        self._fetch: asyncio.Task[None] | None = None
        self._failure = ""

    async def key(self, key_id: str | None) -> Jwk | None:
        """The key of an id, or the only one where a token names none; None where there is none.

        Only who names a key that is not known waits for the issuer.

        Raises:
            UnavailableError: the issuer has not been reached yet, or not for a day.
        """
        if not self.is_known() or self._find(key_id) is None:
            await self._wait()
        if not self.is_known():
            raise UnavailableError(_AWAY)
        return self._find(key_id)

    def is_known(self) -> bool:
        """Whether its keys hold; those that are no longer new are fetched meanwhile."""
        age = time.monotonic() - self._fetched_at
        if age > KEPT_SECONDS:
            self._begin()
        return age <= _LONGEST_SECONDS

    async def keep_fresh(self) -> None:
        """Fetch them now and then for good: one that the issuer took back is not to wait here for who uses it."""
        while True:
            self.is_known()
            await asyncio.sleep(self._floor_seconds)

    def _find(self, key_id: str | None) -> Jwk | None:
        if key_id is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == key_id), None)

    async def _wait(self) -> None:
        if fetch := self._begin():
            await asyncio.wait({fetch}, timeout=self._timeout_seconds)

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or that may be made; None where it is too early for another."""
        if self._fetch and not self._fetch.done():
            return self._fetch
        now = time.monotonic()
        if now - self._tried_at < self._floor_seconds:
            return None
        self._tried_at = now
        self._fetch = asyncio.create_task(self._refresh(now))
        return self._fetch

    async def _refresh(self, now: float) -> None:
        try:
            # A thread that hangs where no timeout reaches, such as in the look-up of a name, is left to itself.
            async with asyncio.timeout(self._timeout_seconds + 1):
                found = await asyncio.wrap_future(_fetching(self._url, now + self._timeout_seconds))
        except (IssuerError, TimeoutError) as error:
            told = str(error) or "it took too long"
            if told != self._failure:
                _log.warning("%s: %s", _AWAY, told)
            self._failure = told
            return
        self._fetched_at, self._failure = now, ""
        if found != self._keys:
            self._keys = found
            self.version += 1


def _fetching(url: str, deadline: float) -> Future[list[Jwk]]:
    """The keys as they are fetched in a thread, for which a server that stops does not wait."""
    future: Future[list[Jwk]] = Future()
    future.set_running_or_notify_cancel()

    def fetch() -> None:
        try:
            future.set_result(_fetched(url, deadline))
        except Exception as error:  # noqa: BLE001 -- it is raised where they are waited for
            future.set_exception(error)

    threading.Thread(target=fetch, name="issuer-keys", daemon=True).start()
    return future


def _fetched(url: str, deadline: float) -> list[Jwk]:
    """The signing keys that an issuer publishes.

    Raises:
        IssuerError: they cannot be had.
    """
    discovery = fetch_json(url.rstrip("/") + _DISCOVERY, deadline)
    if discovery.get("issuer") != url:
        raise IssuerError(f"the discovery document is of the issuer {discovery.get('issuer')!r}")
    keys = fetch_json(str(discovery.get("jwks_uri")), deadline).get("keys")
    if not isinstance(keys, list):
        raise IssuerError("the document of keys has none")
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
