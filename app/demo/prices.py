"""What the company pays for models: less than the list says by a contract, and where no list has a price."""

from app.demo import models, vocabulary
from app.demo.world import DAY
from stores.costs import CostsStore, NewCost
from stores.paging import PageRequest
from stores.query import Query


async def write(costs: CostsStore, project_id: str, now: int) -> None:
    """Set the prices of those models that the project has none of; what it has stays as it is."""
    wanted = _prices(now - now % DAY)
    members = [{"literal": price.llm_id} for price in wanted]
    ours = Query({"in": [{"getField": "llm_id"}, members]}, typed=True)
    page = await costs.page(project_id, PageRequest(size=1000), ["llm_id"], query=ours)
    there = {row["llm_id"] for row in page.rows}
    await costs.create(project_id, [price for price in wanted if price.llm_id not in there], vocabulary.DEVELOPERS[1])


def _prices(midnight: int) -> list[NewCost]:
    """The large model costs a fifth less since five days ago; the others have no price but these."""
    large, planner, small = models.LARGE.name, models.PLANNERS["2.4.0"].name, models.OPEN.name
    return [
        NewCost(large, 2e-06, 8e-06, effective_date=midnight - 5 * DAY, provider_id="openai"),
        NewCost(planner, 6e-08, 6e-08, effective_date=midnight - 90 * DAY, provider_id="lindqvist"),
        NewCost(small, 1e-07, 3e-07, effective_date=midnight - 365 * DAY, provider_id="mistral"),
    ]
