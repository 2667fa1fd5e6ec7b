"""Quota keys: the API key of a request, or its network address without one."""

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from app.http.scope_state import CALLER

if TYPE_CHECKING:
    from stores.security.access import Caller

_NETWORK_BITS: Final = 64
"""Prefix length of an IPv6 quota key: a provider gives each customer at least a /64."""


def quota_key_of(scope: Scope) -> str:
    """Return the quota key of a connection.

    The address is the client's as uvicorn reports it. Behind a proxy it is the forwarded one if FORWARDED_ALLOW_IPS
    trusts the proxy, and the proxy's own otherwise.
    """
    client = scope.get("client")
    return quota_key_for(scope.get("state", {}).get(CALLER), client[0] if client else None)


def quota_key_for(caller: "Caller | None", address: str | None) -> str:
    """Return the quota key of a caller at an address: the API key's id, else the address, else `unknown`."""
    if caller is not None and not caller.is_anonymous:
        return f"key {caller.id}"
    return f"address {network_of(address)}" if address else "unknown"


@lru_cache(maxsize=1000)
def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and for IPv6 its /64 network."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], _NETWORK_BITS), strict=False))
    except ValueError:
        return address
