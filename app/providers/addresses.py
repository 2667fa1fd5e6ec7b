"""Origins of providers' URLs, and which addresses can lead into the server's own network.

URLs are limited to a form that all URL parsers read alike. The blocks are those of IANA's special-purpose registries
that are not globally reachable. The standard library's `is_global` differs between Python versions.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from stores.providers import ProviderError

_HOST: Final = r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?"
_BASE_URL: Final = re.compile(rf"{_HOST}(?:/[A-Za-z0-9._~%:@!$&'()*+,;=/-]*)?")
_ANY_URL: Final = re.compile(rf"{_HOST}(?:[/?][\x21\x24-\x5b\x5d-\x7e]*)?")
_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65535
_MAX_LENGTH: Final = 8192

_INTERNAL_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's metadata and secrets for virtual machines; not in the registry
            "169.254.0.0/16",  # link-local, where clouds serve credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # IETF protocols
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_UNICAST_V6: Final = IPv6Network("2000::/3")
"""The only block from which IANA assigns public addresses."""

_INTERNAL_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocols; Teredo, which embeds IPv4 addresses
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds IPv4 addresses, deprecated
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv6-only networks reach IPv4 addresses here, embedded in the last 32 bits (RFC 6052)."""


def is_public(text: str) -> bool:
    """True if an address from the resolver is public, and so is the IPv4 address embedded in it."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        embedded = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.ipv4_mapped
        if embedded is None:
            return address in _GLOBAL_UNICAST_V6 and not any(address in network for network in _INTERNAL_V6)
        address = embedded
    return not any(address in network for network in _INTERNAL_V4)


class Origin(NamedTuple):
    """Origin of a URL: scheme, lower-case host and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return `https://host`, with the port if it is not the scheme's default."""
        return f"{self.scheme}://{self.host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def origin_of_base_url(url: str, owner: str) -> Origin:
    """Return the origin of a base URL; `owner` is its owner's name in the error.

    Raises:
        ProviderError: the base URL has a form that LoomQL does not accept.
    """
    found = _origin(_BASE_URL, url)
    if found is None:
        raise ProviderError(
            f"The base URL of {owner} cannot be used: it must be https:// or http://, a host, perhaps a port and a "
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
