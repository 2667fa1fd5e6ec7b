"""What costs look like: prices that a project sets, and what calls cost by them."""

import strawberry

from graphql_schema.costs.rates import with_rates
from graphql_schema.fields import plain_field, resolved_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.token_counts import with_class_counts
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import Row
from stores.refs import cost_ref


@strawberry.type(description="The price of a model's tokens from a date on, as the project set it.")
@with_rates
class CostQueryOutput(Node):
    """A price; its source is a row of `stores.costs`."""

    ref: strawberry.ID = node_ref(cost_ref)
    id: strawberry.ID | None = plain_field("Its id, by which costPurge takes it.")
    llm_id: str | None = plain_field("The model, as usage in summaries of calls names it.")
    prompt_token_cost: float | None = plain_field("What one token of a prompt costs.")
    completion_token_cost: float | None = plain_field("What one token of a completion costs.")
    prompt_token_cost_unit: str | None = plain_field("The currency of promptTokenCost; USD unless another was sent.")
    completion_token_cost_unit: str | None = plain_field(
        "The currency of completionTokenCost; USD unless another was sent."
    )
    effective_date: DateTime | None = plain_field("From when on it holds.")
    provider_id: str | None = plain_field("Who provides the model; `default` unless it was sent.")


@strawberry.type(
    description="Tokens of one class that a call used of a model, and their cost. The counts of components do not "
    "overlap, and their costs add up to the cost of the model's usage."
)
class LLMCostComponent:
    """A component; its source is one of a row of `stores.costs.bill`."""

    name: str = plain_field(
        "Class of the tokens: input, output, or one that providers price apart, such as cache_read, cache_write_5m, "
        "reasoning or web_searches."
    )
    tokens: BigInt = plain_field("Number of tokens; for web_searches that of searches.")
    rate: float = plain_field(
        "Price of one of them, at the tier of prices that promptTokens reach, in the currency of the model's output "
        "for classes of output, and in that of its prompt for all others. No tier applies to several requests together."
    )
    cost: float = plain_field("Cost of all of them: tokens times rate, as a decimal number.")


@strawberry.type(
    description="What a call used of one model, and what that costs by the price that holds for the call: one in "
    "effect when it started rather than one of the future, the project's own rather than one that LoomQL ships, the "
    "latest."
)
@with_class_counts
class LLMCostSchema:
    """Counts and costs of a model; its source is a row of `stores.costs.bill`."""

    model: str = plain_field("The model's name.")
    prompt_tokens: BigInt | None = plain_field(
        "Tokens of the prompt, under either name of theirs (promptTokens first); 0 if they were not counted."
    )
    input_tokens: BigInt | None = plain_field("The same as promptTokens, as some providers call them.")
    completion_tokens: BigInt | None = plain_field(
        "Tokens of the completion, under either name of theirs (completionTokens first); 0 if they were not counted."
    )
    output_tokens: BigInt | None = plain_field("The same as completionTokens, as some providers call them.")
    requests: BigInt | None = plain_field("Requests made; 0 if they were not counted.")
    total_tokens: BigInt | None = plain_field("Tokens in all, as the writer counted them; 0 if they were not counted.")
    components: list[LLMCostComponent] = plain_field(
        "Costs by class of tokens, for classes that have any; empty for a model without a price.", size=3
    )
    total_cost: float | None = plain_field(
        "Sum of the components; null for a model without a price, and where prompts and completions are priced in two "
        "currencies."
    )
    stated_cost: float | None = plain_field(
        "Cost in US dollars that the writer stated itself; null if it stated none. No sum counts it."
    )
    prompt_tokens_total_cost: float | None = plain_field(
        "Cost of all tokens of the prompt, cached ones included; null, as all below, for a model without a price."
    )
    completion_tokens_total_cost: float | None = plain_field(
        "Cost of all tokens of the completion, reasoning included. Web searches are in neither of the two."
    )
    prompt_token_cost: float | None = plain_field("Price of one token of the prompt that is of no other class.")
    completion_token_cost: float | None = plain_field("Price of one token of the completion that is of no other class.")
    prompt_token_cost_unit: str | None = plain_field("The currency of the prompt's costs.")
    completion_token_cost_unit: str | None = plain_field("The currency of the completion's costs.")
    effective_date: DateTime | None = plain_field("From when on the price holds.")
    provider_id: str | None = plain_field("Who provides the model.")
    pricing_level: str | None = plain_field(
        "project for a price of the project's own, default for one that LoomQL ships."
    )
    pricing_level_id: str | None = plain_field("The project whose price it is; default for one that LoomQL ships.")
    created_at: DateTime | None = plain_field(
        "When the price was set; for one that LoomQL ships when it was looked up."
    )
    created_by: str | None = plain_field("The user who set the price; system for one that LoomQL ships.")

    @resolved_field(
        "The price, if the project set it; null for one that LoomQL ships, and without one.",
        returns=CostQueryOutput | None,
    )
    def price(self, parent: strawberry.Parent[Row]) -> Row | None:
        """The price."""
        if not parent.get("price_id"):
            return None
        names = {"project_id": parent["pricing_level_id"], "id": parent["price_id"], "llm_id": parent["model"]}
        return parent | names
