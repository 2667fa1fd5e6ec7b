"""Who may come in: what a connection says of its caller, and what the caller may do."""

from app.auth.authenticator import Entrance, demand_of
from app.auth.callers import access_of, caller_of
from app.auth.guard import ruled
from app.auth.key_cache import Keyring
from app.auth.middleware import KEYRING, Authentication

__all__ = ["KEYRING", "Authentication", "Entrance", "Keyring", "access_of", "caller_of", "demand_of", "ruled"]
