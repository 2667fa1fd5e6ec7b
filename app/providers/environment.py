"""Implementation of the provider interface with the secrets in this process's environment variables."""

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from app.providers.secrets import Grant, Origin, StreamedSecrets, error_of, origin_of_base_url, parsed, secrets_of
from stores.errors import BadInputError
from stores.providers import Endpoint, JsonObject, ProviderError, Providers

if TYPE_CHECKING:
    from app.providers.client import ProviderClient

TIMEOUT_SECONDS: Final = 600.0

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""Limit in bytes of a chat completion, streamed or not."""

MAX_IMAGES_BYTES: Final = 64 * 1024 * 1024
"""Limit in bytes of a response with images, and of an image."""

_LARGE_BYTES: Final = 256 * 1024
"""Bytes of a response above which a thread parses it."""

_CHAT: Final = "/chat/completions"
_CHECK: Final = "check that the base URL is that of an API like OpenAI's"


class EnvironmentProviders(Providers):
    """Providers whose secrets are in environment variables. The HTTP client is imported at the first request.

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
        self._environment = os.environ if environment is None else environment
        self._grants = grants
        self._options = {"timeout_seconds": timeout_seconds, "allow_private": allow_private, "gateways": gateways}
        self._client: ProviderClient | None = None

    def secret(self, name: str) -> str | None:
        """Return the secret of a known provider; None if it is not set or empty."""
        return self._environment.get(name, "").strip() or None

    def secret_at(self, name: str, base_url: str) -> str | None:
        """Return the secret that a custom provider names; None if it is not set.

        Users who can write objects can name any variable and any address. So the server's administrator must allow each
        pair of secret and destination. The error does not reveal which variables are set.

        Raises:
            ProviderError: the secret may not be sent to the base URL.
        """
        origin = origin_of_base_url(base_url, "the provider")
        if Grant(name, origin) not in self._grants:
            shown = str(origin).removeprefix("https://")
            raise ProviderError(
                f"The secret {name[:128]!r} may not be sent to {origin}. Ask the server's administrator to set "
                f"LOOMQL_PROVIDER_SECRETS={name[:128]}@{shown}, and {name[:128]} in the server's environment."
            )
        return self.secret(name)

    def base_url(self, provider: str) -> str | None:
        """Return OPENAI_BASE_URL for OpenAI, None for other providers or if it is not set."""
        return self.secret("OPENAI_BASE_URL") if provider == "openai" else None

    async def complete(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Return the chat completion for a request.

        Raises:
            ProviderError: the provider fails, or its response is not a chat completion.
        """
        content = await (await self._ready()).post(_CHAT, endpoint, request, MAX_ANSWER_BYTES)
        answer = await _parsed(content, endpoint, request)
        if not isinstance(answer.get("choices"), list):
            _check_for_error(answer, endpoint, request)
            raise _invalid_response(f"has no choices, so it is no chat completion; {_CHECK}", endpoint, request)
        return answer

    async def generate_images(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Return the provider's response with images.

        Raises:
            ProviderError: the provider fails, or its response has no images.
        """
        content = await (await self._ready()).post("/images/generations", endpoint, request, MAX_IMAGES_BYTES)
        answer = await _parsed(content, endpoint, request)
        if not isinstance(answer.get("data"), list):
            raise _invalid_response(f"has no data, so there are no images in it; {_CHECK}", endpoint, request)
        return answer

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """Download the content of a URL that a provider returned.

        Raises:
            ProviderError: the download fails, or the content is larger than `max_bytes`.
        """
        return await (await self._ready()).download(endpoint, url, max_bytes)

    async def stream(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Yield the chunks of a chat completion.

        The endpoint's timeout applies to each chunk, the server's to the sum of all waiting.

        Raises:
            ProviderError: the provider fails, or the stream is empty or truncated.
        """
        secrets = StreamedSecrets(secrets_of(endpoint))
        try:
            async with aclosing(self._chunks(endpoint, request)) as chunks:
                async for chunk in chunks:
                    for passed in secrets.passed(chunk):
                        yield passed
        except ProviderError:
            for kept_back in secrets.rest():
                yield kept_back
            raise
        for kept_back in secrets.rest():
            yield kept_back

    async def _chunks(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        client = await self._ready()
        is_empty, is_finished = True, False
        async with aclosing(client.events(_CHAT, endpoint, {**request, "stream": True}, MAX_ANSWER_BYTES)) as texts:
            async for text in texts:
                chunk = await _parsed(text.encode(errors="surrogatepass"), endpoint, request)
                _check_for_error(chunk, endpoint, request)
                is_empty, is_finished = False, is_finished or _finishes(chunk)
                yield chunk
        if is_empty:
            raise _invalid_response(f"has no chunks, so it is no stream; {_CHECK}", endpoint, request)
        if not is_finished:
            raise _invalid_response("was cut off before it was finished; ask again", endpoint, request)

    async def close(self) -> None:
        """Close the connections; the providers must not be used afterwards."""
        if self._client:
            await self._client.close()

    async def _ready(self) -> "ProviderClient":
        if self._client is None:
            # The import takes a while; in a thread it does not block other requests.
            try:
                module = await asyncio.to_thread(importlib.import_module, "app.providers.client")
            except ImportError:
                raise ProviderError(
                    "Completions and images need an HTTP client library on the server: pip install 'loomql[llm]'."
                ) from None
            self._client = self._client or module.ProviderClient(**self._options)
        return self._client


async def _parsed(text: bytes, endpoint: Endpoint, request: JsonObject) -> JsonObject:
    """Parse the JSON object that a provider sent, and hide secrets of the endpoint in it."""
    secrets = secrets_of(endpoint)
    try:
        value = await asyncio.to_thread(parsed, text, secrets) if len(text) > _LARGE_BYTES else parsed(text, secrets)
    except BadInputError as error:
        raise _invalid_response(f"is {error.message}; {_CHECK}", endpoint, request) from None
    if not isinstance(value, dict):
        raise _invalid_response(f"is no JSON object; {_CHECK}", endpoint, request)
    return value


def _check_for_error(answer: JsonObject, endpoint: Endpoint, request: JsonObject) -> None:
    """Check that a response reports no error.

    Raises:
        ProviderError: it does.
    """
    if error := answer.get("error"):
        message = error.get("message") if isinstance(error, dict) else error
        raise error_of(endpoint, request, f": {str(message)[:500]}")


def _invalid_response(reason: str, endpoint: Endpoint, request: JsonObject) -> ProviderError:
    return error_of(endpoint, request, f": the answer {reason}.")


def _finishes(chunk: JsonObject) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(isinstance(one, dict) and one.get("finish_reason") for one in choices)
