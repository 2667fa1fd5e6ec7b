"""Cache of verified tokens, so that a request need not verify the signature again."""

import time
from collections import OrderedDict
from hashlib import sha256
from typing import Final

from app.auth.sessions import TokenSession

MAX_AGE_SECONDS: Final = 300.0
MAX_TOKENS: Final = 4_096
"""Number of tokens kept, in some 3 MB; beyond that the least recently used one is dropped and verified again."""


class TokenCache:
    """Sessions of verified tokens by the SHA-256 of the token; cleared when the issuer's keys change."""

    def __init__(self, limit: int = MAX_TOKENS) -> None:
        self._limit = limit
        self._version = 0
        self._kept: OrderedDict[bytes, tuple[float, TokenSession]] = OrderedDict()

    def find(self, token: str, version: int) -> TokenSession | None:
        """Return the session of a token verified under this version of the keys; None if unknown or expired."""
        self._clear_if_other_version(version)
        digest = _digest(token)
        until, session = self._kept.get(digest, (0.0, None))
        if session is None or time.monotonic() >= until or not session.is_valid():
            self._kept.pop(digest, None)
            return None
        self._kept.move_to_end(digest)
        return session

    def keep(self, token: str, version: int, session: TokenSession) -> None:
        """Keep the session of a token that was verified under this version of the keys."""
        self._clear_if_other_version(version)
        self._kept[_digest(token)] = (time.monotonic() + MAX_AGE_SECONDS, session)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def _clear_if_other_version(self, version: int) -> None:
        if version != self._version:
            self._kept.clear()
            self._version = version

    def __len__(self) -> int:
        """Return the number of tokens kept."""
        return len(self._kept)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
