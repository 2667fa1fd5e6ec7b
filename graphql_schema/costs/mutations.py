"""Mutations that write prices."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.costs.inputs import CostCreateInput
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.fields.query_input import QueryInput
from stores.costs.store import check_number


@strawberry.type(description="Ids of a new price. In the reference API it is a pair in this order.")
class CostCreateResId:
    """Id of the price, and its model."""

    id: strawberry.ID = plain_field("Id of the price, for costPurge.")
    llm_id: str = plain_field("Name of the model.")


@strawberry.type(description="Result of `costCreate`.")
class CostCreateRes:
    """Ids of the new prices."""

    ids: list[CostCreateResId] = plain_field("Ids of the prices, in the order of the request.")


@strawberry.type(description="Result of `costPurge`.")
class CostPurgeRes:
    """Number of deleted prices."""

    num_purged: int = plain_field("Number of prices deleted by this request.")


@strawberry.type
class CostMutations:
    """Mutation fields that write prices."""

    @resolved_field(
        "Creation of prices. Nothing is stored if one of them is invalid. Earlier prices stay in effect for earlier "
        "calls."
    )
    async def cost_create(
        self,
        info: Info,
        project_id: ProjectId,
        costs: Annotated[list[CostCreateInput], strawberry.argument(description="Prices to set, at most 1,000.")],
        wb_user_id: Annotated[
            str | None, strawberry.argument(description="User who writes; the caller if omitted.")
        ] = None,
    ) -> CostCreateRes:
        """Store the prices; return their ids."""
        check_number(len(costs))
        made = await info.context.stores.costs.create(project_id, [cost.to_store() for cost in costs], wb_user_id)
        ids = zip(made, costs, strict=True)
        return CostCreateRes(ids=[CostCreateResId(id=strawberry.ID(id_), llm_id=cost.llm_id) for id_, cost in ids])

    @resolved_field("Permanent deletion of prices by id. Costs of calls are then computed from the remaining prices.")
    async def cost_purge(
        self,
        info: Info,
        project_id: ProjectId,
        query: Annotated[
            QueryInput,
            strawberry.argument(
                description='Selection of the prices: `{eq: [{getField: "id"}, {literal: "<id>"}]}`, an `or` '
                "of several of these, or an `in` of ids. Any other query is rejected; unknown ids are "
                "ignored."
            ),
        ],
    ) -> CostPurgeRes:
        """Delete prices; return their number."""
        return CostPurgeRes(num_purged=await info.context.stores.costs.purge(project_id, query.to_store()))
