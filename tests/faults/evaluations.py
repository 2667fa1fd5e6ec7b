"""Evaluation runs that clients start while something fails; each acknowledged run must complete."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.providers import EnvironmentProviders
from graphql_schema.context import Stores
from stores.database import Database
from stores.evaluations.logged_runs import Complete
from tests.faults.client import FaultsClient
from tests.faults.writers import Writer
from tests.stand_in_provider import KEY, StandIn
from tests.stores.evaluations.running import orders
from tests.waiting import TIMEOUT

EVALUATE = f"""
mutation ($evaluation: String!, $model: String!) {{
  evaluateModel(projectId: "{orders.PROJECT}", evaluationRef: $evaluation, modelRef: $model) {{ callId }}
}}
"""
_BETWEEN_SECONDS = 0.5
_POLL_SECONDS = 0.2


class Evaluations:
    """Evaluation runs that servers on one MongoDB acknowledged. The stores are read directly, without a server."""

    def __init__(self, stores: Stores, database: Database) -> None:
        self.project_id = orders.PROJECT
        self.acknowledged: list[str] = []
        self._stores = stores
        self._database = database
        self._evaluation = self._model = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, uri: str, stand_in: StandIn) -> AsyncIterator["Evaluations"]:
        """Create an evaluation with three rows, a model and a slow judge; yield the instance that can start runs."""
        providers = EnvironmentProviders(environment(stand_in))
        database = Database.open(uri, "loomql", timeout_seconds=30)
        self = cls(Stores(database, providers), database)
        judge = await orders.judge(self._stores, "slow-0.05")
        self._evaluation = await orders.evaluation(self._stores, [judge])
        self._model = await orders.model(self._stores)
        yield self
        database.close()
        await providers.close()

    async def order(self, client: FaultsClient) -> None:
        """Start a run through the server and record its acknowledged id."""
        made = await client.ask(EVALUATE, evaluation=self._evaluation, model=self._model)
        self.acknowledged.append(made["evaluateModel"]["callId"])

    async def lost(self) -> list[str]:
        """Return a sentence for each acknowledged run that did not complete, and one if calls are still running."""
        async with asyncio.timeout(TIMEOUT):
            while await self._database.evaluation_runs.find_one():  # noqa: ASYNC110 -- a server's work elsewhere
                await asyncio.sleep(_POLL_SECONDS)
        ended = {one: await self._stores.evaluations.status(orders.PROJECT, one) for one in self.acknowledged}
        lost = [f"the run {one} is {status}" for one, status in ended.items() if not isinstance(status, Complete)]
        running = await self._database.calls.count_documents({"project_id": orders.PROJECT, "status": "running"})
        return [*lost, *([f"{running} calls of runs that are over still run"] if running else [])]


class EvaluationsWriter(Writer):
    """Starts one run after the other."""

    def __init__(self, client: FaultsClient, evaluations: Evaluations) -> None:
        super().__init__(client)
        self._evaluations = evaluations

    async def step(self) -> None:
        await self._evaluations.order(self.client)
        await asyncio.sleep(_BETWEEN_SECONDS)


def environment(stand_in: StandIn) -> dict[str, str]:
    """Return the settings of servers that send model requests to the stand-in."""
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": stand_in.base_url, "LOOMQL_EVALUATION_ROWS": "2"}
