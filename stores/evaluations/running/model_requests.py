"""Model requests of a run, retried with backoff if a provider is overloaded."""

import asyncio
import random
from typing import Final

from stores.completions import CompletionsStore
from stores.costs import defaults
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.evaluations.running.templates import RowError
from stores.providers import JsonObject, ProviderError

ATTEMPTS: Final = 4
"""Maximum attempts, each of several requests if the provider asks for a short wait."""
MAX_WAIT_SECONDS: Final = 60.0
"""Longest wait that a provider may ask for; after a longer one, the request fails."""

_TOO_BUSY: Final = (429, 503)
_DATABASE_ERRORS: Final = (UnavailableError, StoreTimeoutError, ConflictError)
"""Errors of the database, not of the request."""


async def complete_with_retry(models: CompletionsStore, project_id: str, request: JsonObject) -> JsonObject:
    """Send a completion request and return the response.

    Raises:
        RowError: the provider rejected the request or stayed overloaded.
        UnavailableError, StoreTimeoutError, ConflictError: the database is unreachable or overloaded.
    """
    for attempt in range(ATTEMPTS):
        try:
            return await models.complete(project_id, request)
        except ProviderError as error:
            wait = _wait(error, attempt)
            if wait is None:
                raise RowError(error.message) from None
        except _DATABASE_ERRORS:
            raise
        except StoreError as error:
            raise RowError(error.message) from None
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


async def billed_as(models: CompletionsStore, project_id: str, model: str) -> str:
    """Return the model name under which usage is counted: as requested, or the provider's if only that is priced.

    Completions use the same rule.
    """
    try:
        endpoint = await models.endpoints.resolve(project_id, model)
    except ProviderError:
        return model
    return defaults.priced_name(model, endpoint.model)


def _wait(error: ProviderError, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt; None if there is none."""
    if error.status not in _TOO_BUSY or attempt == ATTEMPTS - 1:
        return None
    wait_seconds = error.retry_after_seconds
    if wait_seconds is None:
        return float(2**attempt) * random.uniform(0.5, 1)  # noqa: S311 -- no secret
    return wait_seconds + random.uniform(0, 0.25) if wait_seconds <= MAX_WAIT_SECONDS else None  # noqa: S311 -- as above
