"""Writing costs."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.costs.inputs import CostCreateInput
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.fields.query_input import QueryInput
from stores.costs.store import check_number


@strawberry.type(description="A price that was set. The reference API has a pair here, in this order.")
class CostCreateResId:
    """The ids."""

    id: strawberry.ID = plain_field("The price's id, by which costPurge takes it.")
    llm_id: str = plain_field("The model that it is of.")


@strawberry.type(description="Prices that were set.")
class CostCreateRes:
    """The ids."""

    ids: list[CostCreateResId] = plain_field("The ids, in the order in which the prices were sent.")


@strawberry.type(description="A purge of prices.")
class CostPurgeRes:
    """How many."""

    num_purged: int = plain_field("How many were there and are gone.")


@strawberry.type
class CostMutations:
    """The fields of Mutation that write costs."""

    @resolved_field(
        "Set prices, all of them or none if one breaks a rule. What was set before stays, for calls before it."
    )
    async def cost_create(
        self,
        info: Info,
        project_id: ProjectId,
        costs: Annotated[list[CostCreateInput], strawberry.argument(description="The prices, at most 1,000.")],
        wb_user_id: Annotated[
            str | None, strawberry.argument(description="Who writes; the caller if left out.")
        ] = None,
    ) -> CostCreateRes:
        """Set prices."""
        check_number(len(costs))
        made = await info.context.stores.costs.create(project_id, [cost.to_store() for cost in costs], wb_user_id)
        ids = zip(made, costs, strict=True)
        return CostCreateRes(ids=[CostCreateResId(id=strawberry.ID(id_), llm_id=cost.llm_id) for id_, cost in ids])

    @resolved_field("Delete prices for good, by ids. What calls cost is told by those that are left.")
    async def cost_purge(
        self,
        info: Info,
        project_id: ProjectId,
        query: Annotated[
            QueryInput,
            strawberry.argument(
                description='What goes: `{eq: [{getField: "id"}, {literal: "<id>"}]}`, an `or` of such, or an `in` of '
                "ids, and nothing else. Unknown ids do no harm."
            ),
        ],
    ) -> CostPurgeRes:
        """Purge prices."""
        return CostPurgeRes(num_purged=await info.context.stores.costs.purge(project_id, query.to_store()))
