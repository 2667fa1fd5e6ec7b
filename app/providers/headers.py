"""The headers of a request to a provider: those that it needs, and those that its endpoint adds."""

import re
from typing import Final

from openai import Omit

from stores.providers import Endpoint, ProviderError

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, a token
_VALUE: Final = re.compile(r"[\x20-\x7e]{0,8192}")

# What says where a request goes, where it ends and how it is packed is not for others to say.
_RESERVED: Final = frozenset(
    {"connection", "expect", "forwarded", "host", "keep-alive", "te", "trailer", "upgrade", "via"}
)
_RESERVED_BEGINNINGS: Final = ("accept-", "content-", "proxy-", "sec-", "transfer-", "x-forwarded-", "x-stainless-")
# Gateways that take from such headers where to send a request would take the server's key there.
_ROUTING_BEGINNINGS: Final = (
    "helicone-",
    "x-portkey-",
    "x-litellm-",
    "litellm-",
    "cf-aig-",
    "x-target-",
    "x-upstream-",
)
_OF_THE_LIBRARY: Final = ("x-stainless-retry-count", "x-stainless-read-timeout")


def headers_of(endpoint: Endpoint) -> dict[str, str | Omit]:
    """The headers that are added to a request, by name; the library's own are left out.

    Raises:
        ProviderError: the endpoint has a header that it must not have.
    """
    headers: dict[str, str | Omit] = dict.fromkeys(_OF_THE_LIBRARY, Omit())
    headers["Authorization"] = f"Bearer {endpoint.api_key}" if endpoint.api_key else Omit()
    for name, value in endpoint.headers.items():
        _check(name, value)
        if name.lower() == "authorization":
            headers["Authorization"] = value
        else:
            headers[name] = value
    return headers


def _check(name: str, value: str) -> None:
    lower = name.lower()
    # Some servers read these two alike.
    meant = lower.replace("_", "-")
    if meant in _RESERVED or meant.startswith((*_RESERVED_BEGINNINGS, *_ROUTING_BEGINNINGS)):
        raise ProviderError(f"The extra header {lower[:128]} cannot be set. Leave it out.")
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ProviderError(
            f"The extra header {name[:128]!r} is none of HTTP: names are letters, digits and dashes, values of at most "
            "8,192 characters of ASCII without line breaks."
        )
