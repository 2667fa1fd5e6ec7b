"""HTTP client for providers, with limits on time, size and addresses; imported at the first request to a provider.

Custom hosts must have public addresses.
"""

import asyncio
import json
import logging
import math
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic
from typing import Any, Final, Self

import httpcore2
import httpx2

from app.providers.secrets import Origin, error_of, hidden, origin_of, origin_of_base_url
from stores.completions.endpoint_resolution import KNOWN_PROVIDERS
from stores.json import AnyJson, codec
from stores.providers import Endpoint, JsonObject, ProviderError

_CONNECTIONS: Final = httpx2.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=15)

_MAX_DOWNLOAD_BYTES: Final = 64 * 1024 * 1024
_MAX_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 0.5
_MAX_PAUSE_SECONDS: Final = 20.0
_MAX_MESSAGE_LENGTH: Final = 500
_RETRIED: Final = frozenset({429, 503})
_LONGEST_RETRY_AFTER: Final = 86_400.0

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, a token
_VALUE: Final = re.compile(r"[\x20-\x7e]{0,8192}")

_RESERVED: Final = re.compile(
    "connection|expect|forwarded|host|keep-alive|te|trailer|upgrade|via"
    "|(accept|content|proxy|sec|transfer|x-forwarded|x-stainless)-.*"
)
"""Headers that control routing, framing or encoding; endpoints must not set them."""

_ROUTING: Final = re.compile("(helicone|x-portkey|x-litellm|litellm|cf-aig|x-target|x-upstream)-.*")
"""Headers from which gateways take the destination; they would forward the key there."""

_HARMLESS: Final = re.compile("anthropic-(beta|version)|http-referer|openai-(beta|organization|project)|x-title")
"""Headers of the known providers' own APIs; they do not affect routing."""

_OWN_APIS: Final = frozenset(origin_of_base_url(known.base_url, name) for name, known in KNOWN_PROVIDERS.items())

# At level DEBUG these libraries log requests, whose content must not be in logs.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


# The blocks of IANA's special-purpose registries that are not globally reachable. The standard library's `is_global`
# differs between Python versions.
_INTERNAL: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's metadata and secrets for virtual machines; not in the registry
            "169.254.0.0/16",  # link-local, where clouds serve credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocols
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "2001::/23",  # IETF protocols; Teredo, which embeds IPv4 addresses
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds IPv4 addresses, deprecated
            "3fff::/20",  # documentation
        ),
    )
)
_GLOBAL_UNICAST_V6: Final = IPv6Network("2000::/3")
"""The only block from which IANA assigns public addresses."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv6-only networks reach IPv4 addresses here, embedded in the last 32 bits (RFC 6052)."""


def is_public(text: str) -> bool:
    """True if an address from the resolver is public, and so is the IPv4 address embedded in it."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.ipv4_mapped or address
    is_assigned = isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST_V6
    return is_assigned and not any(address in network for network in _INTERNAL)


class PublicOnly(httpcore2.AnyIOBackend):
    """Connects only to public addresses: it connects to the same address that it has checked.

    A hostname that resolves differently at each lookup (DNS rebinding) cannot bypass the check.
    """

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the base's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that accepts the connection.

        Raises:
            ProviderError: one of its addresses is not public.
            httpcore2.ConnectError: the host has no address, or none accepts the connection.
        """
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in await _public_addresses(host, port):
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure


async def _public_addresses(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError("the name has no address") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(map(is_public, addresses)):
        raise ProviderError(
            f"{host} is in the server's own network, which requests to providers must not reach. Use a public "
            "address, or ask the server's administrator to set LOOMQL_ALLOW_PRIVATE_PROVIDERS=true."
        )
    return addresses


class BoundedTransport(httpx2.AsyncHTTPTransport):
    """Limits the bytes of responses, and rejects compressed responses, whose decompressed size is unknown."""

    def __init__(self, max_bytes: int, *, public_only: bool) -> None:
        super().__init__(limits=_CONNECTIONS)
        self._max_bytes = max_bytes
        if public_only:
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=httpx2.create_ssl_context(),
                max_connections=_CONNECTIONS.max_connections,
                max_keepalive_connections=_CONNECTIONS.max_keepalive_connections,
                keepalive_expiry=_CONNECTIONS.keepalive_expiry,
                network_backend=PublicOnly(),
            )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and return a response whose stream is limited.

        Raises:
            ProviderError: the response is compressed, or announces too many bytes.
        """
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        refusal = self._rejection(response)
        if refusal:
            await response.aclose()
            raise refusal
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _BoundedStream(response.stream, self._max_bytes)
        return response

    def _rejection(self, response: httpx2.Response) -> ProviderError | None:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            return ProviderError("The answer is packed (Content-Encoding), though it was asked for as it is.")
        length = response.headers.get("Content-Length", "0")
        return too_large(self._max_bytes) if length.isdecimal() and int(length[:20]) > self._max_bytes else None


class _BoundedStream(httpx2.AsyncByteStream):
    """The bytes of a response, up to a limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for part in self._stream:
            received += len(part)
            if received > self._max_bytes:
                raise too_large(self._max_bytes)
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def too_large(max_bytes: int) -> ProviderError:
    """Return the error for a response above the limit."""
    return ProviderError(f"The answer is larger than {max_bytes:,} bytes, the limit. Ask for less.")


class ProviderClient:
    """HTTP clients for providers.

    Args:
        timeout_seconds: the limit for one response; an endpoint can set a shorter timeout.
        allow_private: True if custom providers, and the URLs they return, may be in the server's own network.
        gateways: origins that may receive any header together with a key of the server.
    """

    stall_seconds = 5.0
    """Time after which a download fails that makes no progress."""

    def __init__(
        self, timeout_seconds: float, *, allow_private: bool, gateways: frozenset[Origin] = frozenset()
    ) -> None:
        self._gateways = gateways
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._clients: dict[tuple[int, bool], httpx2.AsyncClient] = {}

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def post(self, path: str, endpoint: Endpoint, request: JsonObject, max_bytes: int) -> bytes:
        """Send a request to a path of an API and return the content of the response.

        Raises:
            ProviderError: the provider cannot be reached or answers with an error.
        """
        seconds = self._seconds(endpoint)
        with _errors_of(endpoint, request, seconds):
            client, sent = await self._prepared(path, endpoint, request, max_bytes)
            async with asyncio.timeout(seconds):
                response = await _send(client, sent, seconds)
                async with aclosing(response):
                    return await response.aread()

    async def events(
        self, path: str, endpoint: Endpoint, request: JsonObject, max_bytes: int
    ) -> AsyncGenerator[str, None]:
        """Send a request and yield the data of each event of the response, up to the final `[DONE]`.

        Raises:
            ProviderError: as for `post`.
        """
        seconds, left = self._seconds(endpoint), self._timeout_seconds
        with _errors_of(endpoint, request, seconds):
            client, sent = await self._prepared(path, endpoint, request, max_bytes)
            async with asyncio.timeout(seconds):
                response = await _send(client, sent, seconds)
            response.headers["Content-Type"] = "text/event-stream"  # some providers name another type
            async with aclosing(response):
                events = aiter(httpx2.EventSource(response, max_event_size=None))
                while True:
                    began = monotonic()
                    async with asyncio.timeout(min(seconds, left)):
                        event = await anext(events, None)
                    left -= monotonic() - began
                    if event is None or event.data.startswith("[DONE]"):
                        return
                    if event.data:
                        yield event.data

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """Download the content of a URL that a provider returned.

        The URL may be in the server's own network only if the provider's configured base URL has the same origin, or if
        the server allows private addresses.

        Raises:
            ProviderError: the download fails, or the content is larger than `max_bytes`.
        """
        origin = origin_of(url)
        if origin is None:
            raise ProviderError(
                "The provider returned a file address that is no URL: it must begin with https:// or http://."
            )
        is_trusted = not endpoint.is_custom and origin_of_base_url(endpoint.base_url, endpoint.provider) == origin
        client = self._http(_MAX_DOWNLOAD_BYTES, public_only=not (is_trusted or self._allow_private))
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                client.stream("GET", url, timeout=self.stall_seconds) as response,
            ):
                if not response.is_success:
                    raise ProviderError(f"{origin} answered {response.status_code} instead of the provider's file.")
                content = bytearray()
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > max_bytes:
                        raise too_large(max_bytes)
                return bytes(content)
        except (httpx2.RequestError, httpx2.InvalidURL, TimeoutError):
            raise ProviderError(f"The provider's file cannot be downloaded from {origin}.") from None

    def _seconds(self, endpoint: Endpoint) -> float:
        return min(endpoint.timeout_seconds or self._timeout_seconds, self._timeout_seconds)

    async def _prepared(
        self, path: str, endpoint: Endpoint, request: JsonObject, max_bytes: int
    ) -> tuple[httpx2.AsyncClient, httpx2.Request]:
        headers = headers_of(endpoint, self._gateways)
        client = self._http(max_bytes, public_only=endpoint.is_custom and not self._allow_private)
        # The messages may be megabytes; encoding them in a thread does not delay other requests.
        content = (await asyncio.to_thread(codec.encode, request)).encode()
        url, parameters = endpoint.base_url.rstrip("/") + path, dict(endpoint.parameters)
        return client, client.build_request("POST", url, params=parameters, headers=headers, content=content)

    def _http(self, max_bytes: int, *, public_only: bool) -> httpx2.AsyncClient:
        kind = max_bytes, public_only
        if kind not in self._clients:
            transport = BoundedTransport(max_bytes, public_only=public_only)
            self._clients[kind] = httpx2.AsyncClient(transport=transport, trust_env=False, timeout=None)
        return self._clients[kind]


async def _send(client: httpx2.AsyncClient, request: httpx2.Request, seconds: float) -> httpx2.Response:
    """Send a request, and retry it if the provider has not processed it: it never arrived, or was postponed.

    `seconds` limits all attempts together. The content of the returned response is not read yet.

    Raises:
        _StatusError: the provider answered with an error.
        httpx2.RequestError: it cannot be reached.
    """
    deadline = monotonic() + seconds
    for number in range(1, _MAX_ATTEMPTS + 1):
        failure: httpx2.ConnectError | _StatusError
        pause = _PAUSE_SECONDS * number
        try:
            response = await client.send(request, stream=True)
        except httpx2.ConnectError as error:
            failure = error
        else:
            if response.is_success:
                return response
            failure = await _StatusError.read(response)
            if failure.retry_after_seconds is not None:
                pause = failure.retry_after_seconds
        is_last = number == _MAX_ATTEMPTS or pause > min(_MAX_PAUSE_SECONDS, deadline - monotonic())
        if is_last or not (isinstance(failure, httpx2.ConnectError) or failure.is_postponed):
            break
        await asyncio.sleep(pause)
    raise failure


@dataclass
class _StatusError(Exception):
    """The provider answered with an error status.

    `body` is the error in the JSON of the response, or its text. `retry_after_seconds` is None if the provider sends
    none.
    """

    status: int
    body: AnyJson
    retry_after_seconds: float | None

    @classmethod
    async def read(cls, response: httpx2.Response) -> Self:
        """Read the error from a response, and close it."""
        async with aclosing(response):
            body: AnyJson = _decoded(await response.aread(), response.charset_encoding).strip()
        with suppress(ValueError, RecursionError):
            body = json.loads(body)  # unlike `codec`, it accepts lone surrogates
        if isinstance(body, dict):
            body = body.get("error", body)
        return cls(response.status_code, body, _seconds_after(response))

    @property
    def is_postponed(self) -> bool:
        """True if the provider has not processed the request and wants it later."""
        reasons = (self.body.get("code"), self.body.get("type")) if isinstance(self.body, dict) else ()
        return self.status in _RETRIED and "insufficient_quota" not in reasons

    @property
    def message(self) -> str:
        """The provider's message: from its JSON, otherwise its text."""
        if isinstance(self.body, dict):
            words = self.body.get("message") or self.body.get("error") or self.body.get("detail")
            return words if isinstance(words, str) else json.dumps(self.body, ensure_ascii=False)
        return self.body if isinstance(self.body, str) else ""


def _decoded(content: bytes, charset: str | None) -> str:
    """Return the text of an error; a charset that is none of text, such as base64, counts as UTF-8."""
    try:
        return content.decode(charset or "utf-8", "replace")
    except (LookupError, UnicodeError):
        return content.decode(errors="replace")


def _seconds_after(response: httpx2.Response) -> float | None:
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None


@contextmanager
def _errors_of(endpoint: Endpoint, request: JsonObject, seconds: float) -> Iterator[None]:
    """Raise failures of the block as errors that name the setting or input to change, without secrets.

    Raises:
        ProviderError: the block failed.
    """
    status = retry_after_seconds = None
    try:
        yield
    except ProviderError as error:
        text = f": {error.message}"
    except TimeoutError:
        text = (
            f" did not answer within {seconds:g} seconds. Ask for less, or give it a longer timeout, up to "
            "LOOMQL_COMPLETION_TIMEOUT_SECONDS on the server."
        )
    except _StatusError as error:
        words = _shortened(hidden(error.message, endpoint))
        status, retry_after_seconds = error.status, error.retry_after_seconds
        text = f" answered {status}, {_meaning(status, endpoint)}" + (f": {words}" if words else ".")
    except (httpx2.RemoteProtocolError, httpx2.ReadError):
        text = " broke off the connection in the middle of its answer. Ask again."
    except httpx2.InvalidURL:
        text = " cannot be reached: its base URL is invalid; check it."
    except httpx2.RequestError:
        suspect = "its base URL" if endpoint.is_custom else "the server's way to the network"
        text = f" cannot be reached; check {suspect}, and whether it is up."
    else:
        return
    raise error_of(endpoint, request, text, status, retry_after_seconds) from None


def _meaning(status: int, endpoint: Endpoint) -> str:
    match status:
        case 401 | 403:
            return _refused_key(endpoint)
        case 404:
            return "there is no such model, or no such base URL"
        case 413:
            return "the request is too large for it"
        case 429:
            return "it has enough requests for now; ask again later, or look at the account's limits"
        case _ if status < 400:  # noqa: PLR2004 -- what HTTP calls redirects
            return "which leads elsewhere and is not followed; give the base URL that it leads to"
        case _ if status < 500:  # noqa: PLR2004 -- what HTTP calls a client's errors
            return "it does not take the request"
        case _:
            return "it failed; ask again later"


def _refused_key(endpoint: Endpoint) -> str:
    if endpoint.api_key and endpoint.api_key_name:
        return f"it refuses the key; check {endpoint.api_key_name} in the server's environment"
    is_own = endpoint.api_key or any(name.lower() == "authorization" for name in endpoint.headers)
    return "it refuses the key that was sent with the request" if is_own else "it wants a key"


def _shortened(words: str) -> str:
    """Return the start of a provider's message on one line. Hide secrets first, or part of one may remain."""
    line = " ".join(words[: 8 * _MAX_MESSAGE_LENGTH].split()).encode(errors="replace").decode()
    return line if len(line) <= _MAX_MESSAGE_LENGTH else f"{line[:_MAX_MESSAGE_LENGTH]}…"


def headers_of(endpoint: Endpoint, gateways: AbstractSet[Origin] = frozenset()) -> httpx2.Headers:
    """Return the headers of a request: required ones, and extra ones of the endpoint.

    A key of the server limits extra headers to those that cannot redirect it, because a gateway may route by any
    header. Exceptions are the known providers' own APIs and the origins in `gateways`.

    Raises:
        ProviderError: the endpoint has a header that is invalid or not allowed.
    """
    headers = httpx2.Headers({"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "loomql"})
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    origin = origin_of_base_url(endpoint.base_url, endpoint.provider)
    has_our_key = endpoint.api_key is not None and endpoint.api_key_name is not None
    for name, value in endpoint.headers.items():
        lower = name.lower()
        meant = lower.replace("_", "-")  # some servers treat them alike
        if _RESERVED.fullmatch(meant):
            raise ProviderError(f"The extra header {lower[:128]} cannot be set. Leave it out.")
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ProviderError(
                f"The extra header {name[:128]!r} is none of HTTP: names are letters, digits and dashes, values of at "
                "most 8,192 characters of ASCII without line breaks."
            )
        is_unknown = has_our_key and origin not in _OWN_APIS and not _HARMLESS.fullmatch(meant)
        if origin not in gateways and (is_unknown or _ROUTING.fullmatch(meant)):
            raise ProviderError(
                f"The extra header {lower[:128]} may not be sent to {origin}: a gateway there could forward the key "
                "elsewhere. Omit the header, or ask the server's administrator to set "
                f"LOOMQL_PROVIDER_HEADERS={str(origin).removeprefix('https://')}."
            )
        headers[name] = value
    return headers
