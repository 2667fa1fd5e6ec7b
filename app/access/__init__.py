"""Who may come in: what a connection says of its caller, and what the caller may do."""

from app.access.authentication import KEYRING, Authentication
from app.access.callers import access_of, caller_of
from app.access.entrance import Entrance, demand_of
from app.access.guard import ruled
from app.access.keyring import Keyring

__all__ = ["KEYRING", "Authentication", "Entrance", "Keyring", "access_of", "caller_of", "demand_of", "ruled"]
