"""`GET /metrics`: what Prometheus asks for, in the form that its request prefers."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from app.observability.worker_metrics import METRICS, WorkerMetrics


class _Told:
    """Metrics that were collected before, as a registry whose only ones they are."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._families


async def metrics(request: Request) -> Response:
    """The metrics of the server."""
    siblings: WorkerMetrics = request.state[METRICS]
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    body = encode(_Told(await siblings.collect_all()))
    return Response(body, headers={"Cache-Control": "no-store", "Content-Type": media_type})
