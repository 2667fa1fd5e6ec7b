"""Implementation of the provider interface with this process's environment variables."""

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from app.providers.secrets import Grant, Secrets
from app.providers.urls import Origin
from stores.providers import Endpoint, JsonObject, ProviderError

if TYPE_CHECKING:
    from app.providers.client import ProviderClient

TIMEOUT_SECONDS: Final = 600.0
_BASE_URLS: Final = {"openai": "OPENAI_BASE_URL"}


class EnvironmentProviders:
    """Providers whose secrets are in environment variables, called with OpenAI's client library.

    Args:
        environment: the variables; by default those of the process.
        grants: the secrets that custom providers may use, and their destinations.
        timeout_seconds: the limit for one response.
        allow_private: True if custom providers, and the URLs they return, may be in the server's own network.
        gateways: origins that may receive any header together with a key of the server.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        grants: frozenset[Grant] = frozenset(),
        timeout_seconds: float = TIMEOUT_SECONDS,
        *,
        allow_private: bool = False,
        gateways: frozenset[Origin] = frozenset(),
    ) -> None:
        self._gateways = gateways
        self._secrets = Secrets(os.environ if environment is None else environment, grants)
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._client: ProviderClient | None = None
        self._importing = asyncio.Lock()

    def secret(self, name: str) -> str | None:
        """Return the secret of a known provider; None if it is not set."""
        return self._secrets.of(name)

    def secret_at(self, name: str, base_url: str) -> str | None:
        """Return the secret that a custom provider names; None if it is not set.

        Raises:
            ProviderError: the secret may not be sent to the base URL.
        """
        return self._secrets.at(name, base_url)

    def base_url(self, provider: str) -> str | None:
        """Return OPENAI_BASE_URL for OpenAI, None for other providers or if it is not set."""
        variable = _BASE_URLS.get(provider)
        return self._secrets.of(variable) if variable else None

    async def complete(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Return the chat completion for a request."""
        return await (await self._ready()).complete(endpoint, request)

    async def stream(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Yield the chunks of a chat completion as they arrive."""
        client = await self._ready()
        async with aclosing(client.stream(endpoint, request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def generate_images(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Return the provider's response with images."""
        return await (await self._ready()).generate_images(endpoint, request)

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """Download the content of a URL that a provider returned."""
        return await (await self._ready()).download(endpoint, url, max_bytes)

    async def close(self) -> None:
        """Close the connections; the providers must not be used afterwards."""
        if self._client:
            await self._client.close()

    async def _ready(self) -> "ProviderClient":
        async with self._importing:
            if self._client is None:
                # The import takes about a second; in a thread it does not block other requests.
                try:
                    module = await asyncio.to_thread(importlib.import_module, "app.providers.client")
                except ImportError:
                    raise ProviderError(
                        "Completions and images need OpenAI's client library on the server: pip install 'loomql[llm]'."
                    ) from None
                self._client = module.ProviderClient(
                    self._timeout_seconds, allow_private=self._allow_private, gateways=self._gateways
                )
        return self._client
