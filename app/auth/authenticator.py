"""The entrance: whether somebody has to say who they are, and who they are then."""

from typing import Literal, Protocol

from app.auth.credentials import no_key_yet, secret_of, unauthenticated_error
from app.auth.key_cache import KeyCache
from app.auth.sessions import KeySession, NoKeysSession, Session, TokenSession, UnrestrictedSession
from app.http.loopback import is_for_this_machine, is_loopback
from stores.keys import PREFIX
from stores.security.access import Caller

KeyPolicy = Literal["auto", "required", "off"]
"""Whether keys are required: once there is one and off the loopback, always, or never."""


class TokenVerifier(Protocol):
    """What knows tokens that others issue."""

    async def session(self, token: str) -> TokenSession | None:
        """The session of a token; None for one that is not believed."""


class Authenticator:
    """Where everybody comes in, by whatever door.

    Args:
        demand: whether keys are required.
        anonymous: who comes in where they are not.
        tokens: what knows the tokens of an issuer; with it, everybody has to say who they are.
    """

    def __init__(self, demand: KeyPolicy, anonymous: Caller, tokens: TokenVerifier | None = None) -> None:
        self._free = UnrestrictedSession(anonymous) if demand == "off" else None
        self._is_required = demand == "required" or tokens is not None
        self._anonymous = anonymous
        self._tokens = tokens

    async def authenticate(self, authorization: str | None, keyring: KeyCache, address: str) -> Session:
        """The session of a connection that came in at an address of ours, with what it says by Authorization.

        Raises:
            UnauthenticatedError: it has to say who it is, and does not, or is not believed.
            StoreError: the keys cannot be read.
        """
        if self._free:
            return self._free
        known = keyring.cached() or await keyring.read()
        if not (self._is_required or known.ever) and is_loopback(address):
            return NoKeysSession(self._anonymous, keyring)
        secret = secret_of(authorization) if authorization else None
        if secret and secret.startswith(PREFIX):
            if key := await keyring.find(secret):
                return KeySession(key, keyring)
        elif secret and self._tokens and (session := await self._tokens.session(secret)):
            return session
        raise unauthenticated_error() if known.ever or self._tokens else no_key_yet()


def key_policy_for(setting: KeyPolicy, host: str) -> KeyPolicy:
    """What a setting comes to for a server that is to listen at a host."""
    return "required" if setting == "auto" and not is_for_this_machine(host) else setting
