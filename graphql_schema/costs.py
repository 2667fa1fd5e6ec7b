"""Prices and costs: types, inputs, and the fields that read and write prices."""

from typing import Final, TypeVar

import strawberry
from strawberry.utils.str_converters import to_camel_case

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import (
    Node,
    ProjectId,
    User,
    node_ref,
    optional_input,
    plain_field,
    resolved_field,
    with_class_counts,
)
from graphql_schema.fields.connections import list_field
from graphql_schema.fields.query_input import QueryInput
from stores import costs as store
from stores.costs.price_timeline import RATE_FIELDS
from stores.costs.store import check_number
from stores.paging import Row
from stores.refs import cost_ref
from stores.usage.classes import INPUT, OUTPUT, TokenClass

_Type = TypeVar("_Type", bound=type)

_NAMES: Final = {INPUT: "prompt_token_cost", OUTPUT: "completion_token_cost"} | {
    each.name: name for name, each in RATE_FIELDS.items()
}


def _with_rate_inputs(cls: _Type) -> _Type:
    """Class decorator, applied below `strawberry.input`: add an optional field for each rate."""
    for name, each in RATE_FIELDS.items():
        cls.__annotations__[name] = float | None
        setattr(cls, name, optional_input(f"{_price(each)}, from 0 to 1,000,000; {_fallback(each)} if omitted."))
    return cls


def _with_rates(cls: _Type) -> _Type:
    """Class decorator, applied below `strawberry.type`: add a field for each rate."""
    for name, each in RATE_FIELDS.items():
        cls.__annotations__[name] = float | None
        setattr(cls, name, plain_field(f"{_price(each)}; null if none was set, then {_fallback(each)} applies."))
    return cls


def _price(each: TokenClass) -> str:
    return f"Unit price of {each.description[0].lower()}{each.description[1:]}"


def _fallback(each: TokenClass) -> str:
    return to_camel_case(_NAMES[each.like]) if each.like else "0"


@strawberry.type
@_with_rates
class CostQueryOutput(Node):
    """Price of a model's tokens from a date on, set by the project."""

    # The source is a row of `stores.costs`.

    ref: strawberry.ID = node_ref(cost_ref)
    id: strawberry.ID | None
    """Id of the price, for costPurge."""
    llm_id: str | None
    """Name of the model, as in the usage of call summaries."""
    prompt_token_cost: float | None
    """Price of one prompt token."""
    completion_token_cost: float | None
    """Price of one completion token."""
    prompt_token_cost_unit: str | None
    """Currency of promptTokenCost; USD by default."""
    completion_token_cost_unit: str | None
    """Currency of completionTokenCost; USD by default."""
    effective_date: DateTime | None
    """Time from which the price applies."""
    provider_id: str | None
    """Provider of the model; `default` by default."""


@strawberry.type
class LLMCostComponent:
    """Tokens of one class that a call used of a model, with their cost.

    Components do not overlap, and their costs add up to the cost of the model's usage.
    """

    # The source is a component of a row of `stores.costs.bill`.

    name: str
    """Class of the tokens: input, output, or a class that providers price separately, such as cache_read,
    cache_write_5m, reasoning or web_searches.
    """
    tokens: BigInt
    """Number of tokens; number of searches for web_searches."""
    rate: float
    """Price of one token, at the price tier that promptTokens reaches. The currency is that of the model's completion
    price for classes of output, and that of its prompt price for all others. Tiers are ignored for usage of several
    requests.
    """
    cost: float
    """Cost of the component: tokens times rate, in decimal arithmetic."""


@strawberry.type
@with_class_counts
class LLMCostSchema:
    """Usage of one model by a call, and its cost by the price in effect at the start of the call.

    The project's own prices take precedence over LoomQL's built-in prices, and later prices over earlier ones.
    """

    # The source is a row of `stores.costs.bill`.

    model: str
    """Name of the model."""
    prompt_tokens: BigInt | None
    """Number of prompt tokens, reported as promptTokens or else as inputTokens; 0 if not reported."""
    input_tokens: BigInt | None
    """Number of input tokens; equal to promptTokens."""
    completion_tokens: BigInt | None
    """Number of completion tokens, reported as completionTokens or else as outputTokens; 0 if not reported."""
    output_tokens: BigInt | None
    """Number of output tokens; equal to completionTokens."""
    requests: BigInt | None
    """Number of requests; 0 if not reported."""
    total_tokens: BigInt | None
    """Number of tokens in total, as the client reported it; 0 if not reported."""
    components: list[LLMCostComponent] = plain_field(size=3)
    """Costs by class of tokens, for classes with tokens; empty for a model without a price."""
    total_cost: float | None
    """Sum of the components' costs; null for a model without a price, or if prompts and completions are priced in
    different currencies.
    """
    stated_cost: float | None
    """Cost in US dollars that the client stated; null if it stated none. It is part of no sum."""
    prompt_tokens_total_cost: float | None
    """Cost of all prompt tokens, including cached ones; null for a model without a price, as are all fields below."""
    completion_tokens_total_cost: float | None
    """Cost of all completion tokens, including reasoning. Neither total includes web searches."""
    prompt_token_cost: float | None
    """Price of one prompt token that belongs to no other class."""
    completion_token_cost: float | None
    """Price of one completion token that belongs to no other class."""
    prompt_token_cost_unit: str | None
    """Currency of the prompt costs."""
    completion_token_cost_unit: str | None
    """Currency of the completion costs."""
    effective_date: DateTime | None
    """Time from which the price applies."""
    provider_id: str | None
    """Provider of the model."""
    pricing_level: str | None
    """Origin of the price: project if the project set it, default if it is built into LoomQL."""
    pricing_level_id: str | None
    """Id of the project that set the price; default for a built-in price."""
    created_at: DateTime | None
    """Time when the price was set; for a built-in price, when it was looked up."""
    created_by: str | None
    """User who set the price; system for a built-in price."""

    @resolved_field(returns=CostQueryOutput | None)
    def price(self, parent: strawberry.Parent[Row]) -> Row | None:
        """Price that was applied; null for a built-in price, and for a model without a price."""
        if not parent.get("price_id"):
            return None
        names = {"project_id": parent["pricing_level_id"], "id": parent["price_id"], "llm_id": parent["model"]}
        return parent | names


@strawberry.input
@_with_rate_inputs
class CostCreateInput:
    """Price of a model's tokens from a date on.

    The model is the field llmId, because GraphQL has no maps; in the reference API it is a key.
    """

    llm_id: str
    """Name of the model, as in the usage of call summaries: 1 to 1,024 characters."""
    prompt_token_cost: float
    """Price of one prompt token, from 0 to 1,000,000."""
    completion_token_cost: float
    """Price of one completion token, from 0 to 1,000,000."""
    prompt_token_cost_unit: str | None = None
    """Currency of promptTokenCost, at most 64 characters; USD if omitted. totalCost of calls includes only USD."""
    completion_token_cost_unit: str | None = None
    """Currency of completionTokenCost, at most 64 characters; USD if omitted."""
    effective_date: DateTime | None = None
    """Time from which the price applies; now if omitted."""
    provider_id: str | None = None
    """Provider of the model: 1 to 1,024 characters; `default` if omitted."""

    def to_store(self) -> store.NewCost:
        """Convert to the price of `stores.costs`."""
        values = vars(self)
        rates = {name: values[name] for name in RATE_FIELDS if values[name] is not None}
        return store.NewCost(**{name: values[name] for name in values if name not in RATE_FIELDS}, rates=rates)


@strawberry.type
class CostQueries:
    """Query fields that read prices."""

    costs = list_field(
        CostQueryOutput,
        lambda stores: stores.costs,
        has_query=True,
        indexed=store.CostsStore.indexed,
    )
    """Page of the prices that the project set, without LoomQL's built-in prices.

    Args:
        query: Condition on fields of the prices; all prices if omitted.
        sort_by: Sort order; the oldest first if omitted or empty.
    """


@strawberry.type
class CostCreateResId:
    """Ids of a new price.

    In the reference API it is a pair in this order.
    """

    id: strawberry.ID
    """Id of the price, for costPurge."""
    llm_id: str
    """Name of the model."""


@strawberry.type
class CostCreateRes:
    """Result of `costCreate`."""

    ids: list[CostCreateResId]
    """Ids of the prices, in the order of the request."""


@strawberry.type
class CostPurgeRes:
    """Result of `costPurge`."""

    num_purged: int
    """Number of prices deleted by this request."""


@strawberry.type
class CostMutations:
    """Mutation fields that write prices."""

    @resolved_field()
    async def cost_create(
        self, info: Info, project_id: ProjectId, costs: list[CostCreateInput], wb_user_id: User = None
    ) -> CostCreateRes:
        """Creation of prices.

        Nothing is stored if one of them is invalid. Earlier prices stay in effect for earlier calls.

        Args:
            costs: Prices to set, at most 1,000.
        """
        check_number(len(costs))
        made = await info.context.stores.costs.create(project_id, [cost.to_store() for cost in costs], wb_user_id)
        ids = zip(made, costs, strict=True)
        return CostCreateRes(ids=[CostCreateResId(id=strawberry.ID(id_), llm_id=cost.llm_id) for id_, cost in ids])

    @resolved_field()
    async def cost_purge(self, info: Info, project_id: ProjectId, query: QueryInput) -> CostPurgeRes:
        """Permanent deletion of prices by id.

        Costs of calls are then computed from the remaining prices.

        Args:
            query: Selection of the prices: `{eq: [{getField: "id"}, {literal: "<id>"}]}`, an `or` of several of these,
                or an `in` of ids. Any other query is rejected; unknown ids are ignored.
        """
        return CostPurgeRes(num_purged=await info.context.stores.costs.purge(project_id, query.to_store()))
