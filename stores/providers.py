"""The interface to model providers. The implementation, which sends HTTP requests, lies outside the stores."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from stores.errors import StoreError

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible base URL with its credentials and headers.

    `is_custom` marks a base URL from a stored object. Any writer of objects chose it, so it must not reach the server's
    own network. `provider` and `api_key_name` appear in error messages. `timeout_seconds` is the request's own timeout;
    None means the server's maximum.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_custom: bool = False
    provider: str = "the provider"
    api_key_name: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None


class ProviderError(StoreError):
    """A request to a provider failed; the message is safe to show and says what to change.

    `status` is the provider's HTTP status, None without a response. `retry_after_seconds` is the wait that the provider
    asks for.
    """

    code = "PROVIDER_ERROR"

    def __init__(self, message: str, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Providers(Protocol):
    """Client for model providers. Requests and responses are JSON objects of OpenAI's API."""

    def secret(self, name: str) -> str | None:
        """Return a known provider's secret by a name such as `OPENAI_API_KEY`; None if it is not set."""

    def secret_at(self, name: str, base_url: str) -> str | None:
        """Return the secret that a custom provider names, for use at its base URL; None if it is not set.

        Raises:
            ProviderError: if the secret may not be sent there; the message says who can allow it, and how.
        """

    def base_url(self, provider: str) -> str | None:
        """Return the base URL configured for a known provider; None means the provider's default."""

    async def complete(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Send a chat completion request without `stream`; return the completion.

        Raises:
            ProviderError: if the request fails.
        """

    def stream(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Yield the chunks of a streamed chat completion. A caller that stops early must close the generator.

        Raises:
            ProviderError: if the request fails, or the stream breaks off.
        """

    async def generate_images(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Send an image generation request; return the response.

        Raises:
            ProviderError: if the request fails.
        """

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """Download a URL that the provider at `endpoint` returned; read at most `max_bytes`.

        Raises:
            ProviderError: if the download fails or is larger.
        """


class NoProviders:
    """The providers of a process that calls none, such as a CLI command."""

    def secret(self, _name: str) -> str | None:
        """Return None: no secret is set."""
        return None

    def secret_at(self, _name: str, _base_url: str) -> str | None:
        """Return None: no secret is set."""
        return None

    def base_url(self, _provider: str) -> str | None:
        """Return None: no base URL is configured."""
        return None

    async def complete(self, _endpoint: Endpoint, _request: JsonObject) -> JsonObject:
        """Raise ProviderError."""
        _raise_no_providers()

    async def stream(self, _endpoint: Endpoint, _request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Raise ProviderError."""
        _raise_no_providers()
        yield {}

    async def generate_images(self, _endpoint: Endpoint, _request: JsonObject) -> JsonObject:
        """Raise ProviderError."""
        _raise_no_providers()

    async def download(self, _endpoint: Endpoint, _url: str, _max_bytes: int) -> bytes:
        """Raise ProviderError."""
        _raise_no_providers()


def _raise_no_providers() -> NoReturn:
    raise ProviderError("this process calls no model providers; send the request to a server")
