"""What operations whose results are streamed hold of the intake, and for how long."""

from contextlib import aclosing

from strawberry.schema.schema import StreamResult

from stores.concurrency.request_budget import FREE_BYTES, Reservation
from stores.errors import PayloadTooLargeError


async def release_after_results(share: Reservation, results: StreamResult, *, at_first: bool = True) -> StreamResult:
    """The results of an operation, at the first of which its share is closed: the client may take long to read them.

    Not so at the first where the operation keeps what it was asked with; then the share is closed when they end.
    """
    try:
        async with aclosing(results):
            async for result in results:
                if at_first:
                    share.release()
                yield result
    finally:
        share.release()


def large_subscription() -> PayloadTooLargeError:
    """Why a subscription is refused that would count in the intake for as long as it runs."""
    return PayloadTooLargeError(f"The request of a subscription is larger than {FREE_BYTES:,} bytes; write it shorter.")
