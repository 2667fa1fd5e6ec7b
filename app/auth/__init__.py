"""Authentication of callers, and the role that each route requires."""

from app.auth.authenticator import Authenticator, key_policy_for
from app.auth.callers import access_of, caller_of
from app.auth.guard import guard_routes
from app.auth.key_cache import KeyCache
from app.auth.middleware import KEY_CACHE, AuthenticationMiddleware

__all__ = [
    "KEY_CACHE",
    "AuthenticationMiddleware",
    "Authenticator",
    "KeyCache",
    "access_of",
    "caller_of",
    "guard_routes",
    "key_policy_for",
]
