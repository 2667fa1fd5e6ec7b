"""The loopback: what of a machine's addresses and names nobody but the machine itself reaches."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """Whether nobody but this machine reaches an address of its own; names and sockets' paths are no IP address."""
    found = _ip(address)
    return found is None or found.is_loopback


def is_for_this_machine(host: str) -> bool:
    """Whether who listens at a host is there for this machine alone; of names only localhost is known to be."""
    found = _ip(host)
    return host == "localhost" if found is None else found.is_loopback


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
