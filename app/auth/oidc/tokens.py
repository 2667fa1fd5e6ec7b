"""Verification of an issuer's tokens, and a cache of verified ones, so that a request need not verify again."""

import importlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from app.auth.oidc.claim_grants import ClaimGrant
from app.auth.oidc.issuer_keys import Issuer
from app.auth.sessions import TokenSession
from stores import times
from stores.security.access import Caller

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures only. `none` and HMAC are excluded: a public key could pass as an HMAC secret."""

_KEY_TYPES: Final = ("RSA", "EC", "OKP")
_LEEWAY_SECONDS: Final = 30
_REQUIRED: Final = ["exp", "iss", "aud", "sub"]

_MAX_CACHED_SECONDS: Final = 300.0
_MAX_CACHED_TOKENS: Final = 4_096
"""Number of tokens kept, in some 3 MB; beyond that the least recently used one is dropped and verified again."""

_logger = logging.getLogger("loomql")


class OidcError(Exception):
    """OpenID Connect cannot be used; the message says what to change."""


class OidcTokens:
    """Verifies tokens of one issuer for one audience, and derives grants from their claims."""

    def __init__(self, issuer: str, audience: str, grants: Sequence[ClaimGrant], keys: Issuer | None = None) -> None:
        self._jwt = _library()
        self._issuer = issuer
        self._audience = audience
        self._grants = grants
        self._keys = keys or Issuer(issuer)
        self._verified = TokenCache()

    async def keep_fresh(self) -> None:
        """Refresh the issuer's keys until cancelled."""
        await self._keys.keep_fresh()

    async def session(self, token: str) -> TokenSession | None:
        """Return the session of a token, or None if the token is not valid.

        Raises:
            UnavailableError: the issuer's keys cannot be fetched.
        """
        if self._keys.has_valid_keys() and (session := self._verified.find(token, self._keys.version)):
            return session
        if claims := await self._verify(token):
            grants = tuple(each.grant for each in self._grants if each.matches(claims))
            session = TokenSession(Caller(f"oidc:{claims['sub']}", grants), int(claims["exp"]) * times.SECOND)
            if session.is_valid():  # PyJWT's leeway is only for the start of validity
                self._verified.keep(token, self._keys.version, session)
                return session
        return None

    async def _verify(self, token: str) -> dict[str, Any] | None:
        try:
            header = self._jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                return None
            key = await self._keys.key(header.get("kid"))
            if key is None or key.get("kty") not in _KEY_TYPES:
                return None
            return self._claims(token, key)
        except (self._jwt.PyJWTError, ValueError, TypeError) as error:
            _logger.debug("rejected a token: %s", type(error).__name__)
            return None

    def _claims(self, token: str, key: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._jwt.decode(
            token,
            self._jwt.PyJWK(key),
            algorithms=ALGORITHMS,
            audience=self._audience,
            issuer=self._issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
        return found


def _library() -> Any:  # noqa: ANN401 -- a module
    try:
        return importlib.import_module("jwt")
    except ImportError as error:
        raise OidcError("LOOMQL_OIDC_ISSUER is set, but PyJWT is not installed: pip install 'loomql[oidc]'") from error


class TokenCache:
    """Sessions of verified tokens by the SHA-256 of the token; cleared when the issuer's keys change."""

    def __init__(self, limit: int = _MAX_CACHED_TOKENS) -> None:
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
        self._kept[_digest(token)] = (time.monotonic() + _MAX_CACHED_SECONDS, session)
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
