"""Errors of the stores; each message tells the caller what to change."""

from copy import copy
from typing import ClassVar, Self


class StoreError(Exception):
    """A failure whose message is safe to show to a client.

    `argument` names the input at fault in snake_case, as a dotted path with list positions (`batch.3.start.id`). It is
    None if no single input is at fault. `unstored` ends the message: the claim that nothing was stored, with advice.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, cause: str, argument: str | None = None, *, unstored: str | None = None) -> None:
        self._claim = f"; {unstored}" if unstored else ""
        self.message = cause + self._claim
        self.argument = argument
        super().__init__(self.message)

    @property
    def cause_if_unstored(self) -> str | None:
        """The message without its claim that nothing was stored; None if it makes no such claim."""
        cause = self.message.removesuffix(self._claim)
        return None if cause == self.message else cause

    def prefixed(self, parent: str) -> "StoreError":
        """Return a copy with `parent` before its argument: `id` becomes `start.id` for the parent `start`."""
        argument = parent if self.argument is None else f"{parent}.{self.argument}"
        return self._at(argument)

    def relative_to(self, prefix: str) -> "StoreError":
        """Return a copy without `prefix` in its argument: `batch.0.start.id` becomes `start.id` for `batch.0`."""
        inner = self.argument and self.argument.removeprefix(prefix).removeprefix(".")
        return self._at(inner or None)

    def reworded(self, message: str) -> "StoreError":
        """Return a copy with another message."""
        copied = copy(self)
        copied.message = message
        return copied

    def _at(self, argument: str | None) -> "StoreError":
        copied = copy(self)
        copied.argument = argument
        return copied

    @property
    def details(self) -> dict[str, str]:
        """Further fields for the client, by name."""
        return {}


class BadInputError(StoreError):
    """An input breaks a rule; the message names the rule."""

    code = "BAD_USER_INPUT"


class TooComplexError(BadInputError):
    """MongoDB cannot extract a path from a payload's text; `database_query` then retries with a search in Python."""

    def __init__(self) -> None:
        super().__init__(
            "a payload is too complex to search one path in it; search the whole payload, or exclude this payload by "
            "op name, time or id",
            "query",
        )


class NotFoundError(StoreError):
    """No entity has the requested id, name or ref."""

    code = "NOT_FOUND"


class ObjectDeletedError(StoreError):
    """The requested version existed and is deleted."""

    code = "OBJECT_DELETED"
    deleted_at = ""

    @classmethod
    def since(cls, deleted_at: str, message: str) -> Self:
        """Create the error for a version deleted at `deleted_at` (ISO 8601)."""
        error = cls(message, "digest")
        error.deleted_at = deleted_at
        return error

    @property
    def details(self) -> dict[str, str]:
        """The time of deletion, as `deleted_at`."""
        return {"deleted_at": self.deleted_at}


class ErrorsAt:
    """Context manager that puts an argument before that of a `StoreError` from its block, as `StoreError.prefixed`."""

    __slots__ = ("_argument",)

    def __init__(self, argument: str) -> None:
        self._argument = argument

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, StoreError):
            raise error.prefixed(self._argument) from None


class ConflictError(StoreError):
    """Another writer changed the data first; a retry may succeed."""

    code = "CONFLICT"


class IdTakenError(ConflictError):
    """The id belongs to another entity; a retry fails again."""


class UnauthenticatedError(StoreError):
    """The credentials are missing or invalid; the message does not say which."""

    code = "UNAUTHENTICATED"


class ForbiddenError(StoreError):
    """The caller lacks permission; the message names the required role."""

    code = "FORBIDDEN"


class PayloadTooLargeError(StoreError):
    """An input is larger than one document can be; nothing was written."""

    code = "PAYLOAD_TOO_LARGE"


class RateLimitedError(StoreError):
    """The caller exceeds a limit of a setting; the message names the setting.

    `retry_after_seconds` says when to retry. It is None if that depends on the caller's other requests.
    """

    code = "RATE_LIMITED"

    def __init__(
        self,
        cause: str,
        argument: str | None = None,
        retry_after_seconds: int | None = None,
        *,
        unstored: str | None = None,
    ) -> None:
        super().__init__(cause, argument, unstored=unstored)
        self.retry_after_seconds = retry_after_seconds


class StoreTimeoutError(StoreError):
    """The query did not finish within its time limit."""

    code = "TIMEOUT"


class UnavailableError(StoreError):
    """The database is unreachable or the server is overloaded; a later retry may succeed."""

    code = "UNAVAILABLE"
    retry_after_seconds: ClassVar[int] = 1


class NewModelError(UnavailableError):
    """Calls have models that a pipeline did not list; `database_query` retries with the new names."""


def retry_after(error: StoreError) -> int | None:
    """Return the seconds to wait before a retry; None if unknown or if waiting does not help."""
    return error.retry_after_seconds if isinstance(error, UnavailableError | RateLimitedError) else None


def clear_tracebacks(error: BaseException | None) -> None:
    """Clear the tracebacks of an error and of its causes, once it is logged and translated.

    The frames reference arguments, rows and often the error itself. These cycles would stay in memory until garbage
    collection.
    """
    pending, seen = [error], set[int]()
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]
