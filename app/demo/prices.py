"""Prices that the company pays for models: a contract below list price, and prices of models without a list price."""

from app.demo import models, vocabulary
from app.demo.world import DAY
from stores.costs import CostsStore, NewCost
from stores.paging import PageRequest
from stores.query import Query


async def write(costs: CostsStore, project_id: str, now: int) -> None:
    """Set the prices of models that have none in the project; existing prices do not change."""
    wanted = _prices(now - now % DAY)
    members = [{"literal": price.llm_id} for price in wanted]
    ours = Query({"in": [{"getField": "llm_id"}, members]}, typed=True)
    page = await costs.page(project_id, PageRequest(size=1000), ["llm_id"], query=ours)
    there = {row["llm_id"] for row in page.rows}
    await costs.create(project_id, [price for price in wanted if price.llm_id not in there], vocabulary.DEVELOPERS[1])


def _prices(midnight: int) -> list[NewCost]:
    """Return the prices: the large model is a fifth cheaper since five days ago, the others have no list price."""
    large, planner, small = models.LARGE.name, models.PLANNERS["2.4.0"].name, models.OPEN.name
    return [
        NewCost(large, 2e-06, 8e-06, effective_date=midnight - 5 * DAY, provider_id="openai"),
        NewCost(planner, 6e-08, 6e-08, effective_date=midnight - 90 * DAY, provider_id="lindqvist"),
        NewCost(small, 1e-07, 3e-07, effective_date=midnight - 365 * DAY, provider_id="mistral"),
    ]
