"""A writer that sends calls as the Weave SDK does."""

from tests.app.calls_client import running_call, whole_call
from tests.faults.client import Json
from tests.faults.writers.calls import BatchWriter


class WeaveWriter(BatchWriter):
    """Writes whole calls to the endpoint of the Weave SDK. It retries every other rejected batch unchanged."""

    async def create(self, numbers: list[int]) -> None:
        items = [item for number in numbers for item in (self._start(number), self._end(number))]
        await self.client.post("/weave/call/upsert_batch", {"batch": items})

    def _start(self, number: int) -> Json:
        node = running_call(number)
        start = {
            "project_id": self.client.project_id,
            "id": node["id"],
            "trace_id": f"{number:032d}",
            "op_name": node["opName"],
            "started_at": node["startedAt"],
            "attributes": node["attributes"],
            "inputs": node["inputs"],
        }
        return {"mode": "start", "req": {"start": start}}

    def _end(self, number: int) -> Json:
        node = whole_call(number)
        end = {
            "project_id": self.client.project_id,
            "id": node["id"],
            "ended_at": node["endedAt"],
            "output": node["output"],
            "summary": {"usage": node["usage"]},
        }
        return {"mode": "end", "req": {"end": end}}
