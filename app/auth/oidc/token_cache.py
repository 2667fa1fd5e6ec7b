"""Tokens that were verified a short while ago, so that a request need not pay for the signature again."""

import time
from collections import OrderedDict
from hashlib import sha256
from typing import Final

from app.auth.sessions import TokenSession

KEPT_SECONDS: Final = 300.0
MOST: Final = 4_096
"""Tokens that are kept, in some 3 MB; beyond that the one that was used least recently is verified again."""


class TokenCache:
    """The sessions of good tokens by hashes of them; none beyond its end, or when the issuer's keys are others."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._version = 0
        self._kept: OrderedDict[bytes, tuple[float, TokenSession]] = OrderedDict()

    def find(self, token: str, version: int) -> TokenSession | None:
        """The session of a token that was good under this version of the keys, if it still is."""
        self._go_by(version)
        name = _name(token)
        until, session = self._kept.get(name, (0.0, None))
        if session is None or time.monotonic() >= until or not session.is_valid():
            self._kept.pop(name, None)
            return None
        self._kept.move_to_end(name)
        return session

    def keep(self, token: str, version: int, session: TokenSession) -> None:
        """Keep the session of a token that is good under this version of the keys."""
        self._go_by(version)
        self._kept[_name(token)] = (time.monotonic() + KEPT_SECONDS, session)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _go_by(self, version: int) -> None:
        if version != self._version:
            self._kept.clear()
            self._version = version

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)


def _name(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
