"""Shares of what there is little of at once: one caller who is known may have half of it, or the one that there is."""

from collections.abc import Collection

from stores.errors import RateLimitedError, UnavailableError


def check_share(what: str, setting: str, most: int, callers: Collection[str | None], caller: str | None) -> None:
    """See that there is room for one more of what is under way for some callers, who may be nobody known.

    Raises:
        RateLimitedError: the caller has as many as one may have.
        UnavailableError: there are as many as there may be.
    """
    most_each = max(1, most // 2)
    if caller and sum(each == caller for each in callers) >= most_each:
        raise RateLimitedError(
            f"{most_each} of your {what} are under way, as many as one caller has of {setting}; try again when one is "
            "done",
            retry_after_seconds=1,
        )
    if len(callers) >= most:
        raise UnavailableError(
            f"{most} {what} are under way, as many as one process of the server runs at once ({setting}); try again "
            "when one is done"
        )
