"""A writer that sets prices and purges some."""

from collections.abc import AsyncIterator

from tests.faults.client import FaultsClient
from tests.faults.writers.writer import Writer

CREATE = """
mutation ($projectId: ID!, $costs: [CostCreateInput!]!) {
  costCreate(projectId: $projectId, costs: $costs) { ids { id llmId } }
}
"""
PURGE = """
mutation ($projectId: ID!, $query: QueryInput!) { costPurge(projectId: $projectId, query: $query) { numPurged } }
"""
READ = "query ($projectId: ID!) { costs(projectId: $projectId, first: 10000) { nodes { id llmId promptTokenCost } } }"


class CostsWriter(Writer):
    """Sets the prices of two models in one request, and purges the second price.

    It does not retry: the server assigns the id of a price, so a retry would store a second price.
    """

    def __init__(self, client: FaultsClient) -> None:
        super().__init__(client)
        self._count = 0
        self.kept: dict[str, float] = {}
        self.sent_to_purge: set[str] = set()
        self.purged: set[str] = set()

    async def step(self) -> None:
        self._count += 1
        prices = {f"model-{self._count}-{at}": self._count / 2**20 for at in range(2)}
        self.sent_things |= {("cost", model) for model in prices}
        costs = [{"llmId": model, "promptTokenCost": cost, "completionTokenCost": 1} for model, cost in prices.items()]
        kept, taken_back = (await self.client.ask(CREATE, costs=costs))["costCreate"]["ids"]
        self.kept[kept["llmId"]] = prices[kept["llmId"]]
        self.sent_to_purge.add(taken_back["llmId"])
        query = {"expr": {"eq": [{"getField": "id"}, {"literal": taken_back["id"]}]}}
        await self.client.ask(PURGE, query=query)
        self.purged.add(taken_back["llmId"])

    async def lost(self) -> AsyncIterator[str]:
        nodes = (await self.client.ask(READ))["costs"]["nodes"]
        there = {node["llmId"]: node["promptTokenCost"] for node in nodes}
        for model, cost in self.kept.items():
            if there.get(model) != cost:
                yield f"the price of {model} is {there.get(model)}"
        for model in self.purged & there.keys():
            yield f"the price of {model} was purged and is there"
        for model in there.keys() - self.sent_to_purge:
            if f"{model[:-1]}{1 - int(model[-1])}" not in there.keys() | self.sent_to_purge:
                yield f"of two prices that were sent at once there is only that of {model}"
