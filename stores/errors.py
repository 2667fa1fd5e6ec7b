"""What a store refuses or cannot do, told so that a caller knows what to change."""

from copy import copy
from typing import ClassVar, Self


class StoreError(Exception):
    """A failure that a caller can understand; its message is safe to show.

    `argument` names the input at fault in snake_case, as a dotted path with list positions
    (`batch.3.start.id`), or is None where no single input is.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.argument = argument

    def prefixed(self, parent: str) -> "StoreError":
        """The same failure, its argument seen from one level up: `id` under `start` is `start.id`."""
        argument = parent if self.argument is None else f"{parent}.{self.argument}"
        return self._at(argument)

    def relative_to(self, prefix: str) -> "StoreError":
        """The same failure, its argument seen from inside: `batch.0.start.id` within `batch.0` is `start.id`."""
        inner = self.argument and self.argument.removeprefix(prefix).removeprefix(".")
        return self._at(inner or None)

    def _at(self, argument: str | None) -> "StoreError":
        moved = copy(self)
        moved.argument = argument
        return moved

    @property
    def details(self) -> dict[str, str]:
        """What else there is to tell, by name."""
        return {}


class BadInputError(StoreError):
    """An input breaks a rule; the message says which."""

    code = "BAD_USER_INPUT"


class TooComplexError(BadInputError):
    """MongoDB cannot cut a part out of a payload's text; `database_query` tries again with Python's answers."""

    def __init__(self) -> None:
        super().__init__(
            "a payload has too many strings, lists and objects to search one path in it; search the whole payload, or "
            "exclude it by op name, time or id",
            "query",
        )


class NotFoundError(StoreError):
    """What is asked for by name is not there."""

    code = "NOT_FOUND"


class ObjectDeletedError(StoreError):
    """What is asked for by name was there and is deleted."""

    code = "OBJECT_DELETED"
    deleted_at = ""

    @classmethod
    def since(cls, deleted_at: str, message: str) -> Self:
        """The error of what was deleted at a time, in ISO 8601."""
        error = cls(message, "digest")
        error.deleted_at = deleted_at
        return error

    @property
    def details(self) -> dict[str, str]:
        """When it was deleted."""
        return {"deleted_at": self.deleted_at}


class ConflictError(StoreError):
    """Another writer got there first; trying again may work."""

    code = "CONFLICT"


class IdTakenError(ConflictError):
    """An id is another's, and stays so however often it is sent again."""


class UnauthenticatedError(StoreError):
    """The caller did not say who they are, or not so that it can be believed; which of the two is not told."""

    code = "UNAUTHENTICATED"


class ForbiddenError(StoreError):
    """The caller may not do this; the message says who may."""

    code = "FORBIDDEN"


class PayloadTooLargeError(StoreError):
    """An input is larger than one document can hold; nothing was written."""

    code = "PAYLOAD_TOO_LARGE"


class RateLimitedError(StoreError):
    """There is more of it under way than a setting allows; the message names the setting.

    `retry_after_seconds` is when it may be asked again, None where that depends on the caller's own doings.
    """

    code = "RATE_LIMITED"

    def __init__(self, message: str, argument: str | None = None, retry_after_seconds: int | None = None) -> None:
        super().__init__(message, argument)
        self.retry_after_seconds = retry_after_seconds


class StoreTimeoutError(StoreError):
    """The database did not finish within the time a query may take."""

    code = "TIMEOUT"


class UnavailableError(StoreError):
    """The database cannot be reached right now, or is too slow to take more; trying again later may work."""

    code = "UNAVAILABLE"
    retry_after_seconds: ClassVar[int] = 1


class NewModelError(UnavailableError):
    """Calls have models that a pipeline did not know; `database_query` tries again with those."""


def retry_after(error: StoreError) -> int | None:
    """In how many seconds what was refused may be asked again; None where waiting is of no use, or nobody knows."""
    return error.retry_after_seconds if isinstance(error, UnavailableError | RateLimitedError) else None


def clear_tracebacks(error: BaseException | None) -> None:
    """Let an error, and what led to it, go of the frames that they came through, once it is known what to tell of it.

    The frames have what was asked and found, and mostly the error itself, so that all of it would wait for the garbage
    collector.
    """
    left, seen = [error], set[int]()
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            left += [each.__cause__, each.__context__]
