"""`GET /metrics` for Prometheus, in the format that the request prefers."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from app.observability.worker_metrics import METRICS, WorkerMetrics


class _CollectedMetrics:
    """A registry that contains already collected metrics."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self._families


async def metrics(request: Request) -> Response:
    """Return the metrics of all worker processes."""
    worker_metrics: WorkerMetrics = request.state[METRICS]
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    body = encode(_CollectedMetrics(await worker_metrics.collect_all()))
    return Response(body, headers={"Cache-Control": "no-store", "Content-Type": media_type})
