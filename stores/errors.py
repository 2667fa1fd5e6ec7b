"""What a store refuses or cannot do, told so that a caller knows what to change."""

from typing import ClassVar


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

    def under(self, parent: str) -> "StoreError":
        """The same failure, its argument seen from one level up: `id` under `start` is `start.id`."""
        argument = parent if self.argument is None else f"{parent}.{self.argument}"
        return type(self)(self.message, argument)

    def within(self, prefix: str) -> "StoreError":
        """The same failure, its argument seen from inside: `batch.0.start.id` within `batch.0` is `start.id`."""
        inner = self.argument and self.argument.removeprefix(prefix).removeprefix(".")
        return type(self)(self.message, inner or None)


class BadInputError(StoreError):
    """An input breaks a rule; the message says which."""

    code = "BAD_USER_INPUT"


class ConflictError(StoreError):
    """Another writer got there first."""

    code = "CONFLICT"


class PayloadTooLargeError(StoreError):
    """An input is larger than one document can hold; nothing was written."""

    code = "PAYLOAD_TOO_LARGE"


class StoreTimeoutError(StoreError):
    """The database did not finish within the time a query may take."""

    code = "TIMEOUT"


class UnavailableError(StoreError):
    """The database cannot be reached right now, or is too slow to take more; trying again later may work."""

    code = "UNAVAILABLE"
    retry_after_seconds: ClassVar[int] = 1
