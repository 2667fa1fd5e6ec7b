"""Fields of costs for queries and sorting."""

from typing import Final

from stores.costs.price_timeline import RATE_FIELDS
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields

COST_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("project_id", "project_id", optional=False),
        Field("llm_id", "llm_id", optional=False),
        Field("provider_id", "provider_id", optional=False),
        Field("prompt_token_cost", "prompt_token_cost", Kind.NUMBER, optional=False),
        Field("completion_token_cost", "completion_token_cost", Kind.NUMBER, optional=False),
        Field("prompt_token_cost_unit", "prompt_token_cost_unit", optional=False),
        Field("completion_token_cost_unit", "completion_token_cost_unit", optional=False),
        *(Field(name, name, Kind.NUMBER) for name in RATE_FIELDS),
        Field("effective_date", "effective_date", Kind.TIME, optional=False),
        Field("created_at", "created_at", Kind.TIME, optional=False),
        Field("created_by", "created_by", optional=False),
    ]
)

INDEXED_COST_FIELDS: Final = IndexedFields(COST_FIELDS, "costs")
