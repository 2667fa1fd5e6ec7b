"""Addresses and host names that only this machine can reach."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """Return True if only this machine reaches the address, or if it is not an IP address but a socket path."""
    ip = _ip(address)
    return ip is None or ip.is_loopback


def is_for_this_machine(host: str) -> bool:
    """Return True if a server at `host` is reachable only from this machine; the only known name is localhost."""
    ip = _ip(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
