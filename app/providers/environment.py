"""The port to providers, on this process's environment."""

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
    """Providers whose secrets are in environment variables, reached by OpenAI's client library.

    Args:
        environment: the variables; by default those of the process.
        grants: the secrets that custom providers may use, and where.
        timeout_seconds: the longest that one answer may take.
        allow_private: whether custom providers, and what they name, may be in the server's own network.
        gateways: where any header may be sent beside a key of the server's.
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
        """The secret of a known provider; None where there is none."""
        return self._secrets.of(name)

    def secret_at(self, name: str, base_url: str) -> str | None:
        """The secret that a custom provider names; None where there is none.

        Raises:
            ProviderError: it may not be sent there.
        """
        return self._secrets.at(name, base_url)

    def base_url(self, provider: str) -> str | None:
        """What OPENAI_BASE_URL says, of OpenAI; None of any other."""
        variable = _BASE_URLS.get(provider)
        return self._secrets.of(variable) if variable else None

    async def complete(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """The chat completion that answers a request."""
        return await (await self._ready()).complete(endpoint, request)

    async def stream(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """The chunks of a chat completion as they come."""
        client = await self._ready()
        async with aclosing(client.stream(endpoint, request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def generate_images(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """The images that answer a request."""
        return await (await self._ready()).generate_images(endpoint, request)

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """The content of a URL that the provider at an endpoint named."""
        return await (await self._ready()).download(endpoint, url, max_bytes)

    async def close(self) -> None:
        """Give the connections back; the providers must not be used afterwards."""
        if self._client:
            await self._client.close()

    async def _ready(self) -> "ProviderClient":
        async with self._importing:
            if self._client is None:
                # The library takes a second or so to import, which others need not wait for.
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
