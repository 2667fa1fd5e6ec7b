"""The authenticated caller of a connection, and the access that a route grants."""

from typing import Final, NamedTuple

from starlette.requests import HTTPConnection

from app.http.scope_state import CALLER
from stores.security.access import Caller, Role

ACCESS: Final = "access"


class RouteAccess(NamedTuple):
    """A caller at a route that requires `role`, in projects that only the request body names."""

    caller: Caller
    role: Role

    def check(self, project_id: str, argument: str | None = "project_id") -> None:
        """Check that the caller has the role in a project; `argument` is the one that an error names.

        Raises:
            ForbiddenError: the caller does not have it.
        """
        self.caller.require_role(self.role, project_id, argument)


def caller_of(connection: HTTPConnection) -> Caller:
    """Return the caller of a connection, as authentication set it."""
    caller: Caller = connection.scope["state"][CALLER]
    return caller


def access_of(connection: HTTPConnection) -> RouteAccess:
    """Return the access that the route of a connection grants to its caller."""
    access: RouteAccess = connection.scope["state"][ACCESS]
    return access
