"""The headers of a request to a provider: those that it needs, and those that its endpoint adds."""

import re
from collections.abc import Set as AbstractSet
from typing import Final

from openai import Omit

from app.providers.urls import Origin, origin_of_base_url
from stores.completions.known_providers import KNOWN_PROVIDERS
from stores.providers import Endpoint, ProviderError

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, a token
_VALUE: Final = re.compile(r"[\x20-\x7e]{0,8192}")

# What says where a request goes, where it ends and how it is packed is not for others to say.
_RESERVED: Final = frozenset(
    {"connection", "expect", "forwarded", "host", "keep-alive", "te", "trailer", "upgrade", "via"}
)
_RESERVED_BEGINNINGS: Final = ("accept-", "content-", "proxy-", "sec-", "transfer-", "x-forwarded-", "x-stainless-")
# Gateways that take from such headers where to send a request would take what opens it there.
_ROUTING_BEGINNINGS: Final = (
    "helicone-",
    "x-portkey-",
    "x-litellm-",
    "litellm-",
    "cf-aig-",
    "x-target-",
    "x-upstream-",
)
_PLAIN: Final = frozenset(
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
"""Those of the known providers' own APIs, which lead nowhere."""

_OWN_APIS: Final = frozenset(origin_of_base_url(known.base_url, name) for name, known in KNOWN_PROVIDERS.items())
_OF_THE_LIBRARY: Final = ("x-stainless-retry-count", "x-stainless-read-timeout")


def headers_of(endpoint: Endpoint, gateways: AbstractSet[Origin] = frozenset()) -> dict[str, str | Omit]:
    """The headers that are added to a request, by name; the library's own are left out.

    Beside a key of the server's they are only those that cannot lead it elsewhere, unless the endpoint is the API of a
    provider itself, or among the gateways: one that is between may go by any header.

    Raises:
        ProviderError: the endpoint has a header that it must not have.
    """
    headers: dict[str, str | Omit] = dict.fromkeys(_OF_THE_LIBRARY, Omit())
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
    # Some servers read these two alike.
    meant = lower.replace("_", "-")
    if meant in _RESERVED or meant.startswith(_RESERVED_BEGINNINGS):
        raise ProviderError(f"The extra header {lower[:128]} cannot be set. Leave it out.")
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ProviderError(
            f"The extra header {name[:128]!r} is none of HTTP: names are letters, digits and dashes, values of at most "
            "8,192 characters of ASCII without line breaks."
        )


def _check_route(name: str, endpoint: Endpoint, origin: Origin) -> None:
    meant = name.lower().replace("_", "-")
    has_our_key = endpoint.api_key is not None and endpoint.api_key_name is not None
    is_unknown = has_our_key and origin not in _OWN_APIS and meant not in _PLAIN
    if is_unknown or meant.startswith(_ROUTING_BEGINNINGS):
        raise ProviderError(
            f"The extra header {name.lower()[:128]} may not be sent to {origin}: should that be a gateway, it could "
            "lead the key elsewhere. Leave it out; or whoever runs the server allows it by "
            f"LOOMQL_PROVIDER_HEADERS={str(origin).removeprefix('https://')}."
        )
