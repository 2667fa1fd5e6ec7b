"""HTTP transports for providers: custom hosts must have public addresses, and response sizes are limited."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import httpcore2
import httpx2

from app.providers.addresses import is_public
from stores.providers import ProviderError

_CONNECTIONS: Final = httpx2.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=15)


class PublicOnly(httpcore2.AsyncNetworkBackend):
    """Connects only to public addresses: it connects to the same address that it has checked.

    A hostname that resolves differently at each lookup (DNS rebinding) cannot bypass the check.
    """

    def __init__(self) -> None:
        self._backend = httpcore2.AnyIOBackend()

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
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
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
