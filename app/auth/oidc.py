"""OpenID Connect: an issuer's tokens, accepted like API keys; needs the extra `loomql[oidc]`.

A token's claims grant roles by a setting: a list of `CLAIM=VALUE ROLE PROJECTS`, separated by semicolons, such as
`groups=ml writer acme/*; email_verified=true reader demo/assistant`. The issuer's public keys are cached, refreshed,
and fetched again for an unknown key id. Verified tokens are cached, so that a request need not verify again.
"""

import asyncio
import http.client
import importlib
import io
import json
import logging
import math
import re
import socket
import threading
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

from app.auth.sessions import Session
from app.http.connections import is_for_this_machine
from stores import times
from stores.errors import BadInputError, StoreError, UnavailableError
from stores.security.access import Caller, Grant, Role

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures only. `none` and HMAC are excluded: a public key could pass as an HMAC secret."""

_KEY_TYPES: Final = ("RSA", "EC", "OKP")

_MAX_CACHED_SECONDS: Final = 300.0
_MAX_CACHED_TOKENS: Final = 4_096
"""Number of tokens kept, in some 3 MB; beyond that the least recently used one is dropped and verified again."""

REFRESH_SECONDS: Final = 540.0
"""Age in seconds at which cached keys are refreshed in the background, so that none is older than ten minutes."""

MIN_INTERVAL_SECONDS: Final = 30.0
"""Minimum time in seconds between two fetches, whatever key ids tokens name."""

TIMEOUT_SECONDS: Final = 5.0
"""Limit in seconds of a whole fetch."""

_SIGN_IN_SECONDS: Final = 1.0
"""Limit in seconds of the time for which the Explorer's page waits for the issuer's discovery document."""

_MAX_AGE_SECONDS: Final = 86_400.0
"""Time in seconds for which cached keys stay valid while the issuer is unreachable."""

_UNREACHABLE: Final = "the OpenID Connect issuer is unreachable or returns invalid documents (LOOMQL_OIDC_ISSUER)"

_ANY_VALUE: Final = "*"
"""Value of a grant that matches any claim but false, null and empty texts, lists and objects."""

_EMPTY: Final[tuple[object, ...]] = ("", "false", [], {})
"""Values of a claim that count as empty; some issuers write `"false"` for false."""

_WORDS: Final = 3

_PLAIN_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._-]+(:\d+)?")

Jwk = dict[str, Any]

_logger = logging.getLogger("loomql")


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """A grant to tokens whose claim equals a value, or contains it as a list; dots lead into claims that are objects.

    Booleans and numbers are written as in JSON: `true`, `3`.
    """

    claim: str
    value: str
    grant: Grant

    def matches(self, claims: Mapping[str, Any]) -> bool:
        """Return True if a token's claims match."""
        claim_value: object = claims
        for step in self.claim.split("."):
            claim_value = claim_value.get(step) if isinstance(claim_value, Mapping) else None
        values = claim_value.split() if self.claim == "scope" and isinstance(claim_value, str) else claim_value
        return any(map(self._matches_value, values if isinstance(values, list) else [values]))

    def _matches_value(self, value: object) -> bool:
        if self.value == _ANY_VALUE:
            return value is not None and value is not False and value not in _EMPTY
        return self.value == (json.dumps(value) if isinstance(value, bool | int | float) else value)


def parse_claim_grants(text: str) -> list[ClaimGrant]:
    """Parse the setting.

    Raises:
        ValueError: an entry is not `CLAIM=VALUE ROLE PROJECTS`.
    """
    return [_parse_entry(each.strip()) for each in text.split(";") if each.strip()]


def _parse_entry(text: str) -> ClaimGrant:
    parts = text.split()
    claim, equals, value = parts[0].partition("=")
    if len(parts) != _WORDS or not (claim and equals and value):
        raise ValueError(f"{text[:64]!r} is not CLAIM=VALUE ROLE PROJECTS, such as groups=ml writer acme/*")
    try:
        return ClaimGrant(claim, value, Grant.parse(parts[2], Role.parse(parts[1])))
    except BadInputError as error:
        raise ValueError(error.message) from None


_MAX_BYTES: Final = 1024 * 1024


class IssuerError(Exception):
    """A document of the issuer cannot be fetched or is not valid."""


def check_url(url: str) -> str:
    """Check that a URL uses https, or http on this machine, and return it.

    Raises:
        ValueError: it does not.
    """
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_for_this_machine(parts.hostname or ""))
    if not is_safe or not parts.hostname:
        raise ValueError("must be an https:// URL")
    return url


def fetch_json(url: str, deadline: float) -> dict[str, Any]:
    """Fetch the JSON object at a URL; `deadline` is a time of `time.monotonic`.

    A socket timeout applies to each read only: without the deadline, a server that sends single bytes could block the
    thread.

    Raises:
        IssuerError: the fetch failed or timed out, or the document is no JSON object or too large.
    """
    try:
        handlers = (_Http(), _Https())
        for handler in handlers:
            handler.deadline = deadline
        with urllib.request.build_opener(*handlers).open(check_url(url)) as response:
            text = response.read(_MAX_BYTES)
            if response.length:
                raise IssuerError(f"{url[:200]} is truncated or larger than {_MAX_BYTES:,} bytes")
            document = json.loads(text)
    except HTTPError as error:
        error.close()
        raise IssuerError(f"{url[:200]}: HTTP status {error.code}") from None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise IssuerError(f"{url[:200]}: {error}") from error
    if not isinstance(document, dict):
        raise IssuerError(f"{url[:200]}: the document is not a JSON object")
    return document


def _seconds_left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


class _DeadlineHandler(urllib.request.AbstractHTTPHandler):
    """Opens connections with the time left until the deadline, also after redirects."""

    deadline = 0.0

    def do_open(
        self, http_class: Callable[..., http.client.HTTPConnection], req: urllib.request.Request, **options: Any
    ) -> http.client.HTTPResponse:
        """Send a request; every redirect must lead to a safe URL, too."""
        check_url(req.full_url)
        req.timeout = _seconds_left(self.deadline)

        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            opened = http_class(host, **options)
            opened.response_class = cast("type[http.client.HTTPResponse]", partial(_Response, self.deadline))
            return opened

        return super().do_open(connection, req, **options)


class _Http(_DeadlineHandler, urllib.request.HTTPHandler):
    pass


class _Https(_DeadlineHandler, urllib.request.HTTPSHandler):
    pass


class _Response(http.client.HTTPResponse):
    """A response whose head and body are read before the deadline."""

    def __init__(self, deadline: float, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, deadline))


class _DeadlineReader(io.RawIOBase):
    """A socket reader that waits no longer than until the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._raw = raw
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        """Read available bytes; wait for them until the deadline."""
        self._socket.settimeout(_seconds_left(self._deadline))
        count: int | None = self._raw.readinto(buffer)  # its type is unknown to typeshed
        return count

    def close(self) -> None:
        """Close the wrapped reader, too."""
        self._raw.close()
        super().close()


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
        self._token_endpoint = ""
        self._tried_at = self._fetched_at = -math.inf
        self._fetch: asyncio.Task[None] | None = None
        self._failure = ""

    async def key(self, key_id: str | None) -> Jwk | None:
        """Return the key with an id, or the only key if the id is None; None if there is none.

        Waits for the issuer only if the id is unknown.

        Raises:
            UnavailableError: the issuer has not answered yet, or not for a day.
        """
        is_known = self.has_valid_keys() and self._find(key_id) is not None
        if not is_known and (fetch := self._start_fetch()):
            await asyncio.wait({fetch}, timeout=self._timeout_seconds)
        if not self.has_valid_keys():
            raise UnavailableError(_UNREACHABLE)
        return self._find(key_id)

    async def sign_in_origins(self) -> list[str]:
        """Return the origins that a page must reach to sign in: of the issuer, and of its token endpoint if known.

        Waits briefly for an issuer that has not answered yet.
        """
        if not self._token_endpoint and (fetch := self._start_fetch()):
            await asyncio.wait({fetch}, timeout=_SIGN_IN_SECONDS)
        return list(dict.fromkeys(filter(None, map(_origin, (self._url, self._token_endpoint)))))

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
                keys, endpoint = await asyncio.wrap_future(_fetch_in_thread(self._url, now + self._timeout_seconds))
        except (IssuerError, TimeoutError) as error:
            reason = str(error) or "timed out"
            if reason != self._failure:
                _logger.warning("%s: %s", _UNREACHABLE, reason)
            self._failure = reason
            return
        self._fetched_at, self._failure, self._token_endpoint = now, "", endpoint
        if keys != self._keys:
            self._keys = keys
            self.version += 1


def _origin(url: str) -> str:
    """Return the origin of a URL; empty if it is not safe, or if a content security policy cannot contain it."""
    try:
        parts = urlsplit(check_url(url))
    except ValueError:
        return ""
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin if _PLAIN_ORIGIN.fullmatch(origin) else ""


def _fetch_in_thread(url: str, deadline: float) -> Future[tuple[list[Jwk], str]]:
    """Fetch the keys and the token endpoint in a daemon thread, for which a server that stops does not wait."""
    future: Future[tuple[list[Jwk], str]] = Future()
    future.set_running_or_notify_cancel()

    def fetch() -> None:
        try:
            future.set_result(_fetch_keys(url, deadline))
        except Exception as error:  # noqa: BLE001 -- the future raises it in the waiting task
            future.set_exception(error)

    threading.Thread(target=fetch, name="issuer-keys", daemon=True).start()
    return future


def _fetch_keys(url: str, deadline: float) -> tuple[list[Jwk], str]:
    """Fetch the signing keys that an issuer publishes, and the address of its token endpoint; empty if it has none.

    Raises:
        IssuerError: the issuer is unreachable, or a document is not valid.
    """
    discovery = fetch_json(f"{url.rstrip('/')}/.well-known/openid-configuration", deadline)
    if discovery.get("issuer") != url:
        raise IssuerError(f"the discovery document names another issuer: {discovery.get('issuer')!r}")
    keys = fetch_json(str(discovery.get("jwks_uri")), deadline).get("keys")
    if not isinstance(keys, list):
        raise IssuerError("the key document has no list of keys")
    signing = [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
    return signing, str(discovery.get("token_endpoint", ""))


class OidcError(StoreError):
    """OpenID Connect cannot be used; the message says what to change."""


class OidcTokens:
    """Verifies tokens of one issuer for one audience, and derives grants from their claims."""

    def __init__(self, issuer: str, audience: str, grants: Sequence[ClaimGrant], keys: Issuer | None = None) -> None:
        try:
            self._jwt = importlib.import_module("jwt")
        except ImportError as error:
            raise OidcError(
                "LOOMQL_OIDC_ISSUER is set, but PyJWT is not installed: pip install 'loomql[oidc]'"
            ) from error
        self._issuer = issuer
        self._audience = audience
        self._grants = grants
        self._keys = keys or Issuer(issuer)
        self._verified = TokenCache()

    async def keep_fresh(self) -> None:
        """Refresh the issuer's keys until cancelled."""
        await self._keys.keep_fresh()

    async def sign_in_origins(self) -> list[str]:
        """Return the origins that a page must reach to sign in."""
        return await self._keys.sign_in_origins()

    async def session(self, token: str) -> Session | None:
        """Return the session of a token, or None if the token is not valid.

        Raises:
            UnavailableError: the issuer's keys cannot be fetched.
        """
        if self._keys.has_valid_keys() and (session := self._verified.find(token, self._keys.version)):
            return session
        if claims := await self._verify(token):
            grants = tuple(each.grant for each in self._grants if each.matches(claims))
            session = Session(Caller(f"oidc:{claims['sub']}", grants), expires_at=int(claims["exp"]) * times.SECOND)
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
            claims: dict[str, Any] = self._jwt.decode(
                token,
                self._jwt.PyJWK(key),
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=30,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (self._jwt.PyJWTError, ValueError, TypeError) as error:
            _logger.debug("rejected a token: %s", type(error).__name__)
            return None
        return claims


class TokenCache:
    """Sessions of verified tokens by the SHA-256 of the token, for one version of the issuer's keys."""

    def __init__(self, limit: int = _MAX_CACHED_TOKENS) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, tuple[int, float, Session]] = OrderedDict()

    def find(self, token: str, version: int) -> Session | None:
        """Return the session of a token verified under this version of the keys; None if unknown or expired."""
        digest = _digest(token)
        if (kept := self._kept.pop(digest, None)) is None:
            return None
        verified_by, until, session = kept
        if verified_by != version or time.monotonic() >= until or not session.is_valid():
            return None
        self._kept[digest] = kept
        return session

    def keep(self, token: str, version: int, session: Session) -> None:
        """Keep the session of a token that was verified under this version of the keys."""
        self._kept[_digest(token)] = version, time.monotonic() + _MAX_CACHED_SECONDS, session
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        """Return the number of tokens kept."""
        return len(self._kept)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
