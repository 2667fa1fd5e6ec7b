"""Release of the memory reserved for operations whose results are streamed."""

from contextlib import aclosing

from strawberry.schema.schema import StreamResult

from stores.concurrency.request_budget import FREE_BYTES, Reservation
from stores.errors import PayloadTooLargeError


async def release_after_results(
    reservation: Reservation, results: StreamResult, *, at_first: bool = True
) -> StreamResult:
    """Yield the results of an operation, and release its reservation at the first: the client may read slowly.

    Args:
        reservation: the memory reserved for the request.
        results: the results of the operation.
        at_first: False if the operation needs its request to the end; then the reservation lasts until the results end.
    """
    try:
        async with aclosing(results):
            async for result in results:
                if at_first:
                    reservation.release()
                yield result
    finally:
        reservation.release()


def large_subscription_error() -> PayloadTooLargeError:
    """Return the error for a subscription that would count against the budget for as long as it runs."""
    return PayloadTooLargeError(
        f"The request of a subscription is larger than {FREE_BYTES:,} bytes; shorten its document or variables."
    )
