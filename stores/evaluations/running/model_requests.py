"""Asking models for a run: whoever has too much to do is asked again a little later, a few times."""

import asyncio
import random
from typing import Final

from stores.completions import CompletionsStore
from stores.costs import defaults
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.evaluations.running.templates import RowError
from stores.providers import JsonObject, ProviderError

ATTEMPTS: Final = 4
"""Each of which is a few requests, where a provider asks to wait only a little."""
LONGEST_WAIT_SECONDS: Final = 60.0
"""Who asks to be left alone for longer is not asked again."""

_TOO_BUSY: Final = (429, 503)
_PASSING: Final = (UnavailableError, StoreTimeoutError, ConflictError)
"""What is wrong with the database, and not with what was asked."""


async def complete_with_retry(models: CompletionsStore, project_id: str, request: JsonObject) -> JsonObject:
    """The answer to a request.

    Raises:
        RowError: there is none.
        UnavailableError, StoreTimeoutError, ConflictError: the database is away or too busy.
    """
    for attempt in range(ATTEMPTS):
        try:
            return await models.answer(project_id, request)
        except ProviderError as error:
            wait = _wait(error, attempt)
            if wait is None:
                raise RowError(error.message) from None
        except _PASSING:
            raise
        except StoreError as error:
            raise RowError(error.message) from None
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


async def billed_as(models: CompletionsStore, project_id: str, model: str) -> str:
    """The name under which a model's usage is counted: as it is asked, or the provider's own where only that is priced.

    So completions have it, too.
    """
    try:
        reached = await models.endpoints.reach(project_id, model)
    except ProviderError:
        return model
    return defaults.priced_name(model, reached.model)


def _wait(error: ProviderError, attempt: int) -> float | None:
    """How long to wait before the next attempt; None where there is none to be."""
    if error.status not in _TOO_BUSY or attempt == ATTEMPTS - 1:
        return None
    told = error.retry_after_seconds
    if told is None:
        return float(2**attempt) * random.uniform(0.5, 1)  # noqa: S311 -- no secret
    return told + random.uniform(0, 0.25) if told <= LONGEST_WAIT_SECONDS else None  # noqa: S311 -- as above
