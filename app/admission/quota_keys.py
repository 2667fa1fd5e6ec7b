"""On whose account a request goes: that of its key, and without one that of the address it came from."""

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from app.http.scope_state import CALLER

if TYPE_CHECKING:
    from stores.security.access import Caller

_NETWORK_BITS: Final = 64
"""What one customer of a provider has of IPv6 at least: addresses within are no different callers."""


def quota_key_of(scope: Scope) -> str:
    """The account of a connection.

    The address is that of the client as the server knows it: behind a proxy what uvicorn's FORWARDED_ALLOW_IPS lets
    that say, else the proxy's own.
    """
    client = scope.get("client")
    return account_of(scope.get("state", {}).get(CALLER), client[0] if client else None)


def account_of(caller: "Caller | None", address: str | None) -> str:
    """The account of a caller at an address."""
    if caller is not None and not caller.is_anonymous:
        return f"key {caller.id}"
    return f"address {network_of(address)}" if address else "unknown"


@lru_cache(maxsize=1000)
def network_of(address: str) -> str:
    """An address, of IPv6 the network it is in."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], _NETWORK_BITS), strict=False))
    except ValueError:
        return address
