"""What clients send about costs."""

import strawberry

from graphql_schema.costs.rates import with_rate_inputs
from graphql_schema.fields import optional_input, plain_field
from graphql_schema.scalars import DateTime
from stores import costs as store
from stores.costs.price_timeline import RATE_FIELDS


@strawberry.input(
    description="The price of a model's tokens from a date on. GraphQL has no maps, so the model that the price is of "
    "stands in it, as llmId, where the reference API has it as the key."
)
@with_rate_inputs
class CostCreateInput:
    """A price to set."""

    llm_id: str = plain_field("The model, as usage in summaries of calls names it: 1 to 1,024 characters.")
    prompt_token_cost: float = plain_field("What one token of a prompt costs, from 0 to 1,000,000.")
    completion_token_cost: float = plain_field("What one token of a completion costs, from 0 to 1,000,000.")
    prompt_token_cost_unit: str | None = optional_input(
        "The currency of promptTokenCost, of at most 64 characters; USD if left out. Only USD is in totalCost of calls."
    )
    completion_token_cost_unit: str | None = optional_input(
        "The currency of completionTokenCost, of at most 64 characters; USD if left out."
    )
    effective_date: DateTime | None = optional_input("From when on it holds; from now on if left out.")
    provider_id: str | None = optional_input("Who provides the model: 1 to 1,024 characters; `default` if left out.")

    def to_store(self) -> store.NewCost:
        """The price as the store takes it."""
        given = vars(self)
        rates = {name: given[name] for name in RATE_FIELDS if given[name] is not None}
        return store.NewCost(**{name: given[name] for name in given if name not in RATE_FIELDS}, rates=rates)
