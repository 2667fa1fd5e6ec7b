"""Verification of an issuer's tokens."""

import importlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from app.auth.oidc.claim_grants import ClaimGrant
from app.auth.oidc.issuer_keys import Issuer
from app.auth.oidc.token_cache import TokenCache
from app.auth.sessions import TokenSession
from stores import times
from stores.security.access import Caller

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures only. `none` and HMAC are excluded: a public key could pass as an HMAC secret."""

_KEY_TYPES: Final = ("RSA", "EC", "OKP")
_LEEWAY_SECONDS: Final = 30
_REQUIRED: Final = ["exp", "iss", "aud", "sub"]

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
