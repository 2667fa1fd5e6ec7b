"""Providers of models, as the stores see them: a port, for what leaves the process is not the stores' business."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from stores.errors import StoreError

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is reached: an OpenAI-compatible base URL, and what opens it.

    A base URL that comes from a stored object is `is_custom`: whoever may write objects chose it, so that it must not
    lead into the server's own network. `provider` and `api_key_name` are for errors; `timeout_seconds` is what the
    request asks for, None for as long as the server allows.
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
    """A provider did not do what it was asked; the message is safe to show, and says what to change.

    `status` is the HTTP status that the provider answered, None where none came; `retry_after_seconds` is what it
    asks to wait before the next try.
    """

    code = "PROVIDER_ERROR"

    def __init__(self, message: str, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Providers(Protocol):
    """What reaches providers. Requests and answers are those of OpenAI's API, as JSON objects."""

    def secret(self, name: str) -> str | None:
        """The secret of a provider that LoomQL knows, by a name such as `OPENAI_API_KEY`; None where there is none."""

    def secret_at(self, name: str, base_url: str) -> str | None:
        """The secret that a custom provider names, for use at its base URL; None where there is none.

        Raises:
            ProviderError: that secret may not be sent there; the message says who can allow it, and how.
        """

    def base_url(self, provider: str) -> str | None:
        """The base URL that whoever runs the server set for a known provider; None leaves it its own."""

    async def complete(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """The chat completion that answers a request, whose `stream` is not set.

        Raises:
            ProviderError: there is none, for whatever reason.
        """

    def stream(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """The chunks of a chat completion as they come, to be closed by whoever stops reading before their end.

        Raises:
            ProviderError: there are none, or the stream was cut off.
        """

    async def generate_images(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """The images that answer a request.

        Raises:
            ProviderError: there are none, for whatever reason.
        """

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """The content of a URL that the provider at an endpoint named, at most so many bytes.

        Raises:
            ProviderError: it cannot be had, or is larger.
        """


class NoProviders:
    """The providers of a process that reaches none, such as a command's."""

    def secret(self, _name: str) -> str | None:
        """None."""
        return None

    def secret_at(self, _name: str, _base_url: str) -> str | None:
        """None."""
        return None

    def base_url(self, _provider: str) -> str | None:
        """None."""
        return None

    async def complete(self, _endpoint: Endpoint, _request: JsonObject) -> JsonObject:
        """Raise."""
        _refuse()

    async def stream(self, _endpoint: Endpoint, _request: JsonObject) -> AsyncGenerator[JsonObject, None]:
        """Raise."""
        _refuse()
        yield {}

    async def generate_images(self, _endpoint: Endpoint, _request: JsonObject) -> JsonObject:
        """Raise."""
        _refuse()

    async def download(self, _endpoint: Endpoint, _url: str, _max_bytes: int) -> bytes:
        """Raise."""
        _refuse()


def _refuse() -> NoReturn:
    raise ProviderError("this process reaches no providers of models; ask the server")
