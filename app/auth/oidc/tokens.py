"""Tokens: whether one is the issuer's, for this server, and in its time; and who has it."""

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
"""Signatures that a public key proves. Never `none`, nor those by a secret, for which a public key could be taken."""

_KINDS: Final = ("RSA", "EC", "OKP")
_LEEWAY_SECONDS: Final = 30
_REQUIRED: Final = ["exp", "iss", "aud", "sub"]

_log = logging.getLogger("loomql")


class OidcError(Exception):
    """Tokens cannot be taken; the message says what to change."""


class OidcTokens:
    """The tokens of an issuer for an audience, and what their claims grant."""

    def __init__(self, issuer: str, audience: str, grants: Sequence[ClaimGrant], keys: Issuer | None = None) -> None:
        self._jwt = _library()
        self._issuer = issuer
        self._audience = audience
        self._grants = grants
        self._keys = keys or Issuer(issuer)
        self._verified = TokenCache()

    async def keep_fresh(self) -> None:
        """Keep the issuer's keys fresh, for good."""
        await self._keys.keep_fresh()

    async def session(self, token: str) -> TokenSession | None:
        """The session of a token; None for one that is not believed.

        Raises:
            UnavailableError: the issuer's keys cannot be had.
        """
        if self._keys.is_known() and (kept := self._verified.find(token, self._keys.version)):
            return kept
        if claims := await self._believed(token):
            grants = tuple(each.grant for each in self._grants if each.holds_for(claims))
            session = TokenSession(Caller(f"oidc:{claims['sub']}", grants), int(claims["exp"]) * times.SECOND)
            if session.is_valid():  # the leeway is for its beginning
                self._verified.keep(token, self._keys.version, session)
                return session
        return None

    async def _believed(self, token: str) -> dict[str, Any] | None:
        try:
            header = self._jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                return None
            key = await self._keys.key(header.get("kid"))
            if key is None or key.get("kty") not in _KINDS:
                return None
            return self._claims(token, key)
        except (self._jwt.PyJWTError, ValueError, TypeError) as error:
            _log.debug("a token is refused: %s", type(error).__name__)
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
