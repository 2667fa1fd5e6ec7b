"""Inputs for creating costs, validated: the price of a model's tokens from a date on."""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Self

from stores.costs.price_timeline import RATE_FIELDS, Rates
from stores.errors import BadInputError
from stores.input_checks import check_length

MAX_NAME: Final = 1024
MAX_UNIT: Final = 64
MAX_TOKEN_COST: Final = 1_000_000.0
"""Limit on the price of one token; a higher one is an error and would dominate every sum."""

USD: Final = "USD"
DEFAULT_PROVIDER: Final = "default"


@dataclass(frozen=True, slots=True)
class NewCost:
    """The price of a model from a date on, in microseconds since the epoch.

    Args:
        rates: rates of further classes, by their names in `RATE_FIELDS`.
    """

    llm_id: str
    prompt_token_cost: float
    completion_token_cost: float
    prompt_token_cost_unit: str | None = None
    completion_token_cost_unit: str | None = None
    effective_date: int | None = None
    provider_id: str | None = None
    rates: Rates = field(default_factory=dict)

    def checked(self, now: int) -> Self:
        """Return a validated copy with defaults: US dollars, the current time, the provider `default`.

        Raises:
            BadInputError: a field is invalid; the error names it.
        """
        for name in ("llm_id", "provider_id", "prompt_token_cost_unit", "completion_token_cost_unit"):
            text, limit = getattr(self, name), MAX_UNIT if name.endswith("unit") else MAX_NAME
            if text == "":
                raise BadInputError("is empty; use at least one character", name)
            check_length(text, limit, name)
        return replace(
            self,
            prompt_token_cost=_token_cost(self.prompt_token_cost, "prompt_token_cost"),
            completion_token_cost=_token_cost(self.completion_token_cost, "completion_token_cost"),
            prompt_token_cost_unit=self.prompt_token_cost_unit or USD,
            completion_token_cost_unit=self.completion_token_cost_unit or USD,
            effective_date=now if self.effective_date is None else self.effective_date,
            provider_id=self.provider_id or DEFAULT_PROVIDER,
            rates={name: _token_cost(self.rates[name], name) for name in RATE_FIELDS if name in self.rates},
        )


def _token_cost(cost: float, argument: str) -> float:
    if not math.isfinite(cost):
        raise BadInputError("must be a finite number, the price of one token", argument)
    if cost < 0:
        raise BadInputError(f"{cost} is negative; a price is 0 or more", argument)
    if cost > MAX_TOKEN_COST:
        raise BadInputError(
            f"{cost} for one token is above the limit of {MAX_TOKEN_COST:,.0f}; divide a price per million tokens by "
            "1,000,000",
            argument,
        )
    return abs(float(cost))  # -0.0 becomes 0.0
