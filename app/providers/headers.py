"""Headers of requests to providers: required ones, and extra ones of the endpoint."""

import re
from collections.abc import Set as AbstractSet
from typing import Final

from openai import Omit

from app.providers.urls import Origin, origin_of_base_url
from stores.completions.known_providers import KNOWN_PROVIDERS
from stores.providers import Endpoint, ProviderError

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, a token
_VALUE: Final = re.compile(r"[\x20-\x7e]{0,8192}")

# Endpoints must not set headers that control routing, framing or encoding.
_RESERVED: Final = frozenset(
    {"connection", "expect", "forwarded", "host", "keep-alive", "te", "trailer", "upgrade", "via"}
)
_RESERVED_PREFIXES: Final = ("accept-", "content-", "proxy-", "sec-", "transfer-", "x-forwarded-", "x-stainless-")
# Gateways that take the destination from such headers would forward the key there.
_ROUTING_PREFIXES: Final = (
    "helicone-",
    "x-portkey-",
    "x-litellm-",
    "litellm-",
    "cf-aig-",
    "x-target-",
    "x-upstream-",
)
_HARMLESS: Final = frozenset(
    {
        "anthropic-beta",
        "anthropic-version",
        "http-referer",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "x-title",
    }
)
"""Headers of the known providers' own APIs; they do not affect routing."""

_OWN_APIS: Final = frozenset(origin_of_base_url(known.base_url, name) for name, known in KNOWN_PROVIDERS.items())
_LIBRARY_HEADERS: Final = ("x-stainless-retry-count", "x-stainless-read-timeout")


def headers_of(endpoint: Endpoint, gateways: AbstractSet[Origin] = frozenset()) -> dict[str, str | Omit]:
    """Return the headers to add to a request by name; `Omit` removes a header of the library.

    A key of the server limits extra headers to those that cannot redirect it, because a gateway may route by any
    header. Exceptions are the known providers' own APIs and the origins in `gateways`.

    Raises:
        ProviderError: the endpoint has a header that is invalid or not allowed.
    """
    headers: dict[str, str | Omit] = dict.fromkeys(_LIBRARY_HEADERS, Omit())
    headers["Authorization"] = f"Bearer {endpoint.api_key}" if endpoint.api_key else Omit()
    origin = origin_of_base_url(endpoint.base_url, endpoint.provider)
    for name, value in endpoint.headers.items():
        _check(name, value)
        if origin not in gateways:
            _check_route(name, endpoint, origin)
        if name.lower() == "authorization":
            headers["Authorization"] = value
        else:
            headers[name] = value
    return headers


def _check(name: str, value: str) -> None:
    lower = name.lower()
    # Some servers treat "_" and "-" alike.
    meant = lower.replace("_", "-")
    if meant in _RESERVED or meant.startswith(_RESERVED_PREFIXES):
        raise ProviderError(f"The extra header {lower[:128]} cannot be set. Leave it out.")
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ProviderError(
            f"The extra header {name[:128]!r} is none of HTTP: names are letters, digits and dashes, values of at most "
            "8,192 characters of ASCII without line breaks."
        )


def _check_route(name: str, endpoint: Endpoint, origin: Origin) -> None:
    meant = name.lower().replace("_", "-")
    has_our_key = endpoint.api_key is not None and endpoint.api_key_name is not None
    is_unknown = has_our_key and origin not in _OWN_APIS and meant not in _HARMLESS
    if is_unknown or meant.startswith(_ROUTING_PREFIXES):
        raise ProviderError(
            f"The extra header {name.lower()[:128]} may not be sent to {origin}: a gateway there could forward the key "
            "elsewhere. Omit the header, or ask the server's administrator to set "
            f"LOOMQL_PROVIDER_HEADERS={str(origin).removeprefix('https://')}."
        )
