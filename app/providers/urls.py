"""URLs of providers, limited to a form that all URL parsers read alike."""

import re
from typing import Final, NamedTuple

from stores.providers import ProviderError

_HOST: Final = r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?"
_BASE_URL: Final = re.compile(rf"{_HOST}(?:/[A-Za-z0-9._~%:@!$&'()*+,;=/-]*)?")
_ANY_URL: Final = re.compile(rf"{_HOST}(?:[/?][\x21\x24-\x5b\x5d-\x7e]*)?")
_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65535
_MAX_LENGTH: Final = 8192


class Origin(NamedTuple):
    """Origin of a URL: scheme, lower-case host and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return `https://host`, with the port if it is not the scheme's default."""
        return f"{self.scheme}://{self.host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def origin_of_base_url(url: str, whose: str) -> Origin:
    """Return the origin of a base URL; `whose` names its owner in the error.

    Raises:
        ProviderError: the base URL has a form that LoomQL does not accept.
    """
    found = _origin(_BASE_URL, url)
    if found is None:
        raise ProviderError(
            f"The base URL of {whose} cannot be used: it must be https:// or http://, a host, perhaps a port and a "
            "path, such as https://llm.example.com/v1; without a user, a query or a fragment."
        )
    return found


def origin_of(url: str) -> Origin | None:
    """Return the origin of any URL, None if LoomQL does not accept its form."""
    return _origin(_ANY_URL, url)


def _origin(form: re.Pattern[str], url: str) -> Origin | None:
    match = form.fullmatch(url) if len(url) <= _MAX_LENGTH else None
    if match is None:
        return None
    scheme, host, digits = match.groups()
    port = int(digits or _PORTS[scheme])
    return Origin(scheme, host.lower(), port) if 0 < port <= _LAST_PORT else None
