"""The issuer's public keys: found by its discovery document, kept, and fetched anew where a token names another."""

import asyncio
import json
import time
import urllib.request
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

from app.access.entrance import is_for_this_machine
from stores.errors import UnavailableError

KEPT_SECONDS: Final = 600.0
"""How long keys are kept: an issuer may take one back."""

FLOOR_SECONDS: Final = 30.0
"""How long after one fetch another may be made, whatever tokens name."""

_LONGEST_SECONDS: Final = 86_400.0
"""How long the keys hold of an issuer that is away."""

_TIMEOUT_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1024 * 1024
_DISCOVERY: Final = "/.well-known/openid-configuration"
_AWAY: Final = "the issuer of tokens does not answer as it should"

Jwk = dict[str, Any]


class IssuerError(Exception):
    """The issuer's documents cannot be had, or are not what they should be."""


class Issuer:
    """An issuer by its URL, whose keys are fetched in a thread and never by two at once."""

    def __init__(self, url: str, floor_seconds: float = FLOOR_SECONDS) -> None:
        self._url = url
        self._floor_seconds = floor_seconds
        self._keys: list[Jwk] = []
        self._tried_at = self._fetched_at = -_LONGEST_SECONDS
        self._turn = asyncio.Lock()

    async def key(self, key_id: str | None) -> Jwk | None:
        """The key of an id, or the only one where a token names none; None where there is none.

        Raises:
            UnavailableError: the issuer has not been reached yet, or not for a day.
        """
        if time.monotonic() - self._fetched_at > KEPT_SECONDS or self._find(key_id) is None:
            await self._refresh(key_id)
        return self._find(key_id)

    def _find(self, key_id: str | None) -> Jwk | None:
        if key_id is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == key_id), None)

    async def _refresh(self, key_id: str | None) -> None:
        async with self._turn:
            now = time.monotonic()
            is_old = now - self._fetched_at > KEPT_SECONDS
            if (is_old or self._find(key_id) is None) and now - self._tried_at >= self._floor_seconds:
                self._tried_at = now
                try:
                    self._keys = await asyncio.to_thread(_fetched, self._url)
                    self._fetched_at = now
                except IssuerError as error:
                    cause = error
                else:
                    return
                if now - self._fetched_at > _LONGEST_SECONDS or not self._keys:
                    raise UnavailableError(_AWAY) from cause
            elif now - self._fetched_at > _LONGEST_SECONDS or not self._keys:
                raise UnavailableError(_AWAY)


def _fetched(url: str) -> list[Jwk]:
    """The signing keys that an issuer publishes.

    Raises:
        IssuerError: they cannot be had.
    """
    discovery = _document(url.rstrip("/") + _DISCOVERY)
    if discovery.get("issuer") != url:
        raise IssuerError(f"the discovery document is of the issuer {discovery.get('issuer')!r}")
    keys = _document(str(discovery.get("jwks_uri"))).get("keys")
    if not isinstance(keys, list):
        raise IssuerError("the document of keys has none")
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]


def check_url(url: str) -> str:
    """Hold a URL to https, or http on this machine.

    Raises:
        ValueError: it is another.
    """
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_for_this_machine(parts.hostname or ""))
    if not is_safe or not parts.hostname:
        raise ValueError("must be an https:// address")
    return url


def _document(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(check_url(url), timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 -- just checked
            check_url(answer.url)
            found = json.loads(answer.read(_MAX_BYTES))
    except HTTPError as error:
        error.close()
        raise IssuerError(f"{url[:200]}: the answer is {error.code}") from None
    except (OSError, ValueError) as error:
        raise IssuerError(f"{url[:200]}: {error}") from error
    if not isinstance(found, dict):
        raise IssuerError(f"{url[:200]} is no object")
    return found
