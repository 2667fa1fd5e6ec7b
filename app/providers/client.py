"""OpenAI's client library with limits on time, size and addresses; imported at the first request to a provider."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream, Omit

from app.providers.errors import failure_of, may_be_tried_again, retry_after
from app.providers.headers import headers_of
from app.providers.secrets import parsed, secrets_of
from app.providers.stream_redaction import StreamedSecrets
from app.providers.transport import BoundedTransport, too_large
from app.providers.urls import Origin, origin_of, origin_of_base_url
from stores.errors import BadInputError
from stores.json import codec
from stores.providers import Endpoint, JsonObject, ProviderError

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""Limit in bytes of a chat completion, streamed or not."""

MAX_IMAGES_BYTES: Final = 64 * 1024 * 1024
"""Limit in bytes of a response with images."""

_LARGE_BYTES: Final = 256 * 1024
"""Bytes of a response above which a thread parses it."""

_CHECK: Final = "check that the base URL is that of an API like OpenAI's"
_MAX_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 0.5
_MAX_PAUSE_SECONDS: Final = 20.0
_FAILURES: Final = (openai.OpenAIError, httpx2.RequestError, httpx2.InvalidURL, TimeoutError, ProviderError)

_T = TypeVar("_T")

# At level DEBUG these libraries log requests, whose content must not be in logs.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _Client(AsyncOpenAI):
    """The library's client, which sends no headers derived from the process's environment or machine."""

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        return {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "loomql"}


class _Texts(AsyncStream[str]):
    """The data of each event of a stream, up to the final `[DONE]`."""

    async def __stream__(self) -> AsyncIterator[str]:
        try:
            async for event in self._iter_events():
                if event.data.startswith("[DONE]"):
                    return
                if event.data:
                    yield event.data
        finally:
            await self.response.aclose()


class ProviderClient:
    """HTTP clients for providers.

    Args:
        timeout_seconds: the limit for one response; an endpoint can set a shorter timeout.
        allow_private: True if custom providers, and the URLs they return, may be in the server's own network.
        gateways: origins that may receive any header together with a key of the server.
    """

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

    async def complete(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Return the chat completion for a request.

        Raises:
            ProviderError: the provider fails, or its response is not a chat completion.
        """
        answer = await self._posted("/chat/completions", endpoint, request, MAX_ANSWER_BYTES)
        if not isinstance(answer.get("choices"), list):
            if answer.get("error"):
                raise failure_of(_reported_error(answer["error"]), endpoint, request, 0)
            raise _invalid_response(f"has no choices, so it is no chat completion; {_CHECK}", endpoint, request)
        return answer

    async def generate_images(self, endpoint: Endpoint, request: JsonObject) -> JsonObject:
        """Return the provider's response with images.

        Raises:
            ProviderError: the provider fails, or its response has no images.
        """
        answer = await self._posted("/images/generations", endpoint, request, MAX_IMAGES_BYTES)
        if not isinstance(answer.get("data"), list):
            raise _invalid_response(f"has no data, so there are no images in it; {_CHECK}", endpoint, request)
        return answer

    async def _posted(self, path: str, endpoint: Endpoint, request: JsonObject, max_bytes: int) -> JsonObject:
        seconds = self._seconds(endpoint)
        try:
            client = self._client(endpoint, max_bytes)
            options, body = self._options(endpoint, seconds), await _encoded(request)

            def post() -> Awaitable[httpx2.Response]:
                return client.post(path, cast_to=httpx2.Response, content=body, options=options)

            async with asyncio.timeout(seconds):
                response = await _with_retries(post, seconds)
        except _FAILURES as error:
            raise failure_of(error, endpoint, request, seconds) from None
        return await _parsed(response.content, endpoint, request)

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
        is_empty, is_finished = True, False
        async with aclosing(self._texts(endpoint, request)) as texts:
            async for text in texts:
                chunk = await _parsed(text.encode(errors="surrogatepass"), endpoint, request)
                if chunk.get("error"):
                    raise failure_of(_reported_error(chunk["error"]), endpoint, request, 0)
                is_empty, is_finished = False, is_finished or _finishes(chunk)
                yield chunk
        if is_empty:
            raise _invalid_response(f"has no chunks, so it is no stream; {_CHECK}", endpoint, request)
        if not is_finished:
            raise _invalid_response("was cut off before it was finished; ask again", endpoint, request)

    async def _texts(self, endpoint: Endpoint, request: JsonObject) -> AsyncGenerator[str, None]:
        seconds, left = self._seconds(endpoint), self._timeout_seconds
        try:
            client = self._client(endpoint, MAX_ANSWER_BYTES)
            options, body = self._options(endpoint, seconds), await _encoded({**request, "stream": True})

            def post() -> Awaitable[_Texts]:
                return client.post(
                    "/chat/completions", cast_to=str, content=body, options=options, stream=True, stream_cls=_Texts
                )

            async with asyncio.timeout(seconds):
                stream = await _with_retries(post, seconds)
            async with stream:
                texts, is_more = stream.__aiter__(), True
                while is_more:
                    began = time.monotonic()
                    async with asyncio.timeout(min(seconds, left)):
                        text = await anext(texts, None)
                    left -= time.monotonic() - began
                    is_more = text is not None
                    if text is not None:
                        yield text
        except _FAILURES as error:
            raise failure_of(error, endpoint, request, seconds) from None

    async def download(self, endpoint: Endpoint, url: str, max_bytes: int) -> bytes:
        """Download the content of a URL that a provider returned.

        The URL may be in the server's own network only if the provider's configured base URL has the same origin, or if
        the server allows private addresses.

        Raises:
            ProviderError: the download fails, or the content is larger than `max_bytes`.
        """
        origin = origin_of(url)
        if origin is None:
            raise ProviderError("The provider names what is no URL of its answer: it must begin with https://.")
        is_trusted = not endpoint.is_custom and origin_of_base_url(endpoint.base_url, endpoint.provider) == origin
        client = self._http(MAX_IMAGES_BYTES, public_only=not (is_trusted or self._allow_private))
        try:
            async with asyncio.timeout(self._timeout_seconds), client.stream("GET", url) as response:
                if not response.is_success:
                    raise ProviderError(f"{origin} answered {response.status_code} instead of the provider's file.")
                return await _read(response, max_bytes)
        except (httpx2.RequestError, httpx2.InvalidURL, TimeoutError):
            raise ProviderError(f"The provider's file cannot be downloaded from {origin}.") from None

    def _seconds(self, endpoint: Endpoint) -> float:
        return min(endpoint.timeout_seconds or self._timeout_seconds, self._timeout_seconds)

    def _options(self, endpoint: Endpoint, seconds: float) -> Any:  # noqa: ANN401 -- the library's own dict
        headers = headers_of(endpoint, self._gateways)
        return {"headers": headers, "params": dict(endpoint.parameters), "timeout": seconds}

    def _client(self, endpoint: Endpoint, max_bytes: int) -> _Client:
        origin_of_base_url(endpoint.base_url, endpoint.provider)
        http = self._http(max_bytes, public_only=endpoint.is_custom and not self._allow_private)
        # A dummy key keeps the library from searching for one; the real header is among the options.
        return _Client(api_key="-", base_url=endpoint.base_url, max_retries=0, http_client=http)

    def _http(self, max_bytes: int, *, public_only: bool) -> httpx2.AsyncClient:
        kind = max_bytes, public_only
        if kind not in self._clients:
            transport = BoundedTransport(max_bytes, public_only=public_only)
            self._clients[kind] = httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
        return self._clients[kind]


async def _encoded(request: JsonObject) -> bytes:
    # The messages may be megabytes; encoding them in a thread does not delay other requests.
    return (await asyncio.to_thread(codec.encode, request)).encode()


async def _with_retries(post: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    """Send a request, and retry it if the provider has not processed it; `seconds` limits all attempts together."""
    deadline = time.monotonic() + seconds
    for number in range(1, _MAX_ATTEMPTS):
        try:
            return await post()
        except openai.APIError as error:
            requested = retry_after(error)
            pause = _PAUSE_SECONDS * number if requested is None else requested
            if not may_be_tried_again(error) or pause > min(_MAX_PAUSE_SECONDS, deadline - time.monotonic()):
                raise
        await asyncio.sleep(pause)
    return await post()


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


def _invalid_response(reason: str, endpoint: Endpoint, request: JsonObject) -> ProviderError:
    return failure_of(ProviderError(f"the answer {reason}."), endpoint, request, 0)


def _reported_error(error: object) -> ProviderError:
    message = error.get("message") if isinstance(error, dict) else error
    return ProviderError(str(message)[:500])


def _finishes(chunk: JsonObject) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(isinstance(one, dict) and one.get("finish_reason") for one in choices)


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > max_bytes:
            raise too_large(max_bytes)
    return bytes(content)
