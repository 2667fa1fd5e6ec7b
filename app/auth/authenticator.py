"""Authentication: the session of a connection, by its credentials and the key policy."""

from typing import Literal, Protocol

from app.auth.credentials import no_keys_error, secret_of, unauthenticated_error
from app.auth.key_cache import KeyCache
from app.auth.sessions import KeySession, NoKeysSession, Session, TokenSession, UnrestrictedSession
from app.http.loopback import is_for_this_machine, is_loopback
from stores.keys import PREFIX
from stores.security.access import Caller

KeyPolicy = Literal["auto", "required", "off"]
"""Policy for API keys. `auto`: required once a key exists, and always beyond the loopback. `off`: never required."""


class TokenVerifier(Protocol):
    """Verifier of tokens that an OpenID Connect issuer signs."""

    async def session(self, token: str) -> TokenSession | None:
        """Return the session of a token, or None if the token is not valid."""


class Authenticator:
    """Finds the session of a connection, at any endpoint.

    Args:
        policy: whether API keys are required.
        anonymous: the caller of connections that need no key.
        tokens: verifies tokens of an issuer; with it, every connection needs a key or a token.
    """

    def __init__(self, policy: KeyPolicy, anonymous: Caller, tokens: TokenVerifier | None = None) -> None:
        self._free = UnrestrictedSession(anonymous) if policy == "off" else None
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
        known = key_cache.cached() or await key_cache.read()
        if not (self._is_required or known.ever) and is_loopback(address):
            return NoKeysSession(self._anonymous, key_cache)
        secret = secret_of(authorization) if authorization else None
        if secret and secret.startswith(PREFIX):
            if key := await key_cache.find(secret):
                return KeySession(key, key_cache)
        elif secret and self._tokens and (session := await self._tokens.session(secret)):
            return session
        raise unauthenticated_error() if known.ever or self._tokens else no_keys_error()


def key_policy_for(setting: KeyPolicy, host: str) -> KeyPolicy:
    """Return the policy for a server that listens at `host`: `auto` means `required` beyond the loopback."""
    return "required" if setting == "auto" and not is_for_this_machine(host) else setting
