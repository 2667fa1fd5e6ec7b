"""Errors of providers, with messages that say who must change what."""

import json
import math
from typing import Any, Final

import httpx2
import openai

from app.providers.secrets import hidden
from stores.providers import Endpoint, JsonObject, ProviderError

_MAX_MESSAGE_LENGTH: Final = 500
_RETRIED: Final = frozenset({429, 503})
_LONGEST_RETRY_AFTER: Final = 86_400.0


def failure_of(error: Exception, endpoint: Endpoint, request: JsonObject, seconds: float) -> ProviderError:
    """Convert an exception of the client library, or a timeout, to an error without secrets."""
    who = f"{endpoint.provider} (model {str(request.get('model'))[:200]})"
    match error:
        case ProviderError():
            return ProviderError(f"{who}: {hidden(error.message, endpoint)}", error.status, error.retry_after_seconds)
        case openai.APITimeoutError() | TimeoutError():
            message = f"{who} did not answer within {seconds:g} seconds. Ask for less, or give it a longer timeout"
            return ProviderError(f"{message}, up to LOOMQL_COMPLETION_TIMEOUT_SECONDS on the server.")
        case openai.APIStatusError():
            return _of_status(error, who, endpoint)
        case openai.APIConnectionError() | httpx2.RequestError():
            return _of_connection(error, who, endpoint)
        case httpx2.InvalidURL():
            return ProviderError(f"{who} cannot be reached: its base URL is invalid; check it.")
        case openai.APIError():
            return ProviderError(f"{who} failed: {_shortened(hidden(error.message, endpoint))}")
        case _:
            raise error


def may_be_tried_again(error: Exception) -> bool:
    """True if the provider has not processed the failed request: it never arrived, or was postponed."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _RETRIED and "insufficient_quota" not in (error.code or "", error.type or "")
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else None
    return isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)


def retry_after(error: Exception) -> float | None:
    """Return the seconds to wait before a retry, None if the provider sends none."""
    if not isinstance(error, openai.APIStatusError):
        return None
    try:
        seconds = float(error.response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None


def _of_status(error: openai.APIStatusError, who: str, endpoint: Endpoint) -> ProviderError:
    status = error.status_code
    words = _shortened(hidden(_provider_message(error), endpoint))
    said = f": {words}" if words else "."
    return ProviderError(f"{who} answered {status}, {_meaning(status, endpoint)}{said}", status, retry_after(error))


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


def _of_connection(error: Exception, who: str, endpoint: Endpoint) -> ProviderError:
    cause: BaseException | None = error
    while cause and not isinstance(cause, ProviderError):
        cause = cause.__cause__
    if isinstance(cause, ProviderError):
        return ProviderError(f"{who}: {cause.message}")
    kind = error.__cause__
    if isinstance(kind, httpx2.RemoteProtocolError | httpx2.ReadError):
        return ProviderError(f"{who} broke off the connection in the middle of its answer. Ask again.")
    whose = "its base URL" if endpoint.is_custom else "the server's way to the network"
    return ProviderError(f"{who} cannot be reached; check {whose}, and whether it is up.")


def _provider_message(error: openai.APIStatusError) -> str:
    """Return the provider's message: from its JSON, otherwise its text."""
    body: Any = error.body
    if isinstance(body, dict):
        words = body.get("message") or body.get("error") or body.get("detail")
        return words if isinstance(words, str) else json.dumps(body, ensure_ascii=False)
    return body if isinstance(body, str) else ""


def _shortened(words: str) -> str:
    """Return the start of a provider's message on one line. Hide secrets first, or part of one may remain."""
    line = " ".join(words[: 8 * _MAX_MESSAGE_LENGTH].split()).encode(errors="replace").decode()
    return line if len(line) <= _MAX_MESSAGE_LENGTH else f"{line[:_MAX_MESSAGE_LENGTH]}…"
