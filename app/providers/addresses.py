"""Which addresses are the world's, and which lead into the server's own network."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

# RFC 6052 and RFC 8215: translators put an IPv4 address into the last 32 bits of these.
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
# RFC 4291: addresses "compatible" with IPv4, long obsolete; ::1 and :: are among them.
_COMPATIBLE: Final = IPv6Network("::/96")
# The one public address that is a machine's own: Azure's, of which its virtual machines ask their secrets.
_OF_CLOUDS: Final = IPv4Address("168.63.129.16")


def is_public(text: str) -> bool:
    """Whether an address, as the resolver gives it, is one of the world's, with all that is embedded in it."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(_is_public(each) for each in _meant(address))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return (
        address.is_global
        and address != _OF_CLOUDS
        and not (address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback)
    )


def _meant(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """An address, or the IPv4 addresses that one of IPv6 stands for."""
    if isinstance(address, IPv4Address):
        yield address
        return
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    elif any(address in network for network in _TRANSLATED):
        yield last
    elif address.sixtofour:
        yield address.sixtofour
    elif address.teredo:
        yield from address.teredo
    else:
        yield address
        if address in _COMPATIBLE:
            yield last
