"""Builders of prices with defaults: a test names only the fields that it checks."""

from dataclasses import replace
from typing import Any

from stores.costs.price_timeline import USD, Price

PROJECT = "acme/chat"


def price(**changes: Any) -> Price:
    """Return a project's own price of the model `m`, in effect from the epoch on."""
    plain = Price(
        llm_id="m",
        provider_id="default",
        prompt_token_cost=1e-6,
        completion_token_cost=2e-6,
        prompt_token_cost_unit=USD,
        completion_token_cost_unit=USD,
        effective_date=0,
        created_at=0,
        created_by="local",
        level="project",
        level_id=PROJECT,
    )
    return replace(plain, **changes)
