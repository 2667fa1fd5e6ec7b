"""The interface to model providers. The implementation, which sends HTTP requests, lies outside the stores."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

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


class Providers:
    """Client for model providers. Requests and responses are JSON objects of OpenAI's API.

    This class stands for a process that calls none, such as a CLI command; a server's subclass sends the requests.
    """

    def secret(self, _name: str) -> str | None:
        """Return a known provider's secret by a name such as `OPENAI_API_KEY`; None if it is not set."""
        return None

    def secret_at(self, _name: str, _base_url: str) -> str | None:
        """Return the secret that a custom provider names, for use at its base URL; None if it is not set.

        Raises:
            ProviderError: if the secret may not be sent there; the message says who can allow it, and how.
        """
        return None

    def base_url(self, _provider: str) -> str | None:
        """Return the base URL configured for a known provider; None means the provider's default."""
        return None

    async def complete(self, _endpoint: Endpoint, _request: JsonObject) -> JsonObject:
        """Send a chat completion request without `stream`; return the completion.

        Raises:
            ProviderError: if the request fails.
        """
        raise _no_providers()

    async def stream(self, _endpoint: Endpoint, _request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Yield the chunks of a streamed chat completion. A caller that stops early must close the generator.

        Raises:
            ProviderError: if the request fails, or the stream breaks off.
        """
        raise _no_providers()
        yield {}

    async def generate_images(self, _endpoint: Endpoint, _request: JsonObject) -> JsonObject:
        """Send an image generation request; return the response.

        Raises:
            ProviderError: if the request fails.
        """
        raise _no_providers()

    async def download(self, _endpoint: Endpoint, _url: str, _max_bytes: int) -> bytes:
        """Download a URL that the provider at the endpoint returned; read at most so many bytes.

        Raises:
            ProviderError: if the download fails or is larger.
        """
        raise _no_providers()


def _no_providers() -> ProviderError:
    return ProviderError("this process calls no model providers; send the request to a server")
