"""GraphQL inputs that set prices."""

import strawberry

from graphql_schema.costs.types import with_rate_inputs
from graphql_schema.fields import optional_input, plain_field
from graphql_schema.scalars import DateTime
from stores import costs as store
from stores.costs.price_timeline import RATE_FIELDS


@strawberry.input(
    description="Price of a model's tokens from a date on. The model is the field llmId, because GraphQL has no "
    "maps; in the reference API it is a key."
)
@with_rate_inputs
class CostCreateInput:
    """A price to set; rate fields are added by `with_rate_inputs`."""

    llm_id: str = plain_field("Name of the model, as in the usage of call summaries: 1 to 1,024 characters.")
    prompt_token_cost: float = plain_field("Price of one prompt token, from 0 to 1,000,000.")
    completion_token_cost: float = plain_field("Price of one completion token, from 0 to 1,000,000.")
    prompt_token_cost_unit: str | None = optional_input(
        "Currency of promptTokenCost, at most 64 characters; USD if omitted. totalCost of calls includes only USD."
    )
    completion_token_cost_unit: str | None = optional_input(
        "Currency of completionTokenCost, at most 64 characters; USD if omitted."
    )
    effective_date: DateTime | None = optional_input("Time from which the price applies; now if omitted.")
    provider_id: str | None = optional_input("Provider of the model: 1 to 1,024 characters; `default` if omitted.")

    def to_store(self) -> store.NewCost:
        """Convert to the price of `stores.costs`."""
        values = vars(self)
        rates = {name: values[name] for name in RATE_FIELDS if values[name] is not None}
        return store.NewCost(**{name: values[name] for name in values if name not in RATE_FIELDS}, rates=rates)
