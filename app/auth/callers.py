"""The caller of a connection, as authentication has set it, and what a route lets them do."""

from typing import Final, NamedTuple

from starlette.requests import HTTPConnection

from app.http.scope_state import CALLER
from stores.security.access import Caller, Role

ACCESS: Final = "access"


class RouteAccess(NamedTuple):
    """A caller at a route that takes a role, in projects that only its content names."""

    caller: Caller
    role: Role

    def check(self, project_id: str, argument: str | None = "project_id") -> None:
        """See that they have the role in a project.

        Raises:
            ForbiddenError: they have not.
        """
        self.caller.require_role(self.role, project_id, argument)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks."""
    caller: Caller = connection.scope["state"][CALLER]
    return caller


def access_of(connection: HTTPConnection) -> RouteAccess:
    """What the route of a connection lets its caller do."""
    access: RouteAccess = connection.scope["state"][ACCESS]
    return access
