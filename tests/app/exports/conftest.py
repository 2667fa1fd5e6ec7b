"""Fixtures for the tests of exports over HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.waiting import TIMEOUT


@pytest.fixture(scope="module")
async def client(exporting: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the server that exports."""
    async with httpx.AsyncClient(base_url=exporting, timeout=TIMEOUT) as client:
        yield client
