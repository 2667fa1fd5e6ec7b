"""Tests of metrics from all workers: responsive ones, a stuck one and a dead one."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, Metric

from app.observability import metrics
from app.observability.metrics import WorkerMetrics
from tests.waiting import TIMEOUT


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="loomql-") as folder:
        yield Path(folder)


def worker(folder: Path, name: str, count: int) -> WorkerMetrics:
    def families() -> Iterator[Metric]:
        counted = CounterMetricFamily("counted", "What was counted", labels=("endpoint",))
        counted.add_metric(("graphql",), count)
        yield counted

    siblings = WorkerMetrics(families, folder)
    siblings._own = name
    return siblings


def samples(families: list[Metric], name: str) -> dict[str, float]:
    return {each.labels["worker"]: each.value for family in families for each in family.samples if each.name == name}


async def test_metrics_sum_all_workers_and_mark_silent_ones_as_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_TIMEOUT_SECONDS", 5)
    with socket.socket(socket.AF_UNIX) as stuck, socket.socket(socket.AF_UNIX) as dead:
        stuck.bind(str(folder / "3.sock"))
        stuck.listen()  # but never answer
        dead.bind(str(folder / "4.sock"))
        dead.close()
        first, second = worker(folder, "1", 5), worker(folder, "2", 7)
        async with first.serve_peers(), second.serve_peers():
            async with asyncio.timeout(TIMEOUT):
                collected = await first.collect_all()
                again = await second.collect_all()
    left = await asyncio.to_thread(lambda: list(folder.iterdir()))

    assert samples(collected, "counted_total") == samples(again, "counted_total") == {"1": 5, "2": 7}
    assert samples(collected, "loomql_worker_up") == {"1": 1, "2": 1, "3": 0, "4": 0}
    assert samples(again, "loomql_worker_up") == {"1": 1, "2": 1, "3": 0}  # the dead worker is gone
    assert [path.name for path in left] == ["3.sock"]


async def test_invalid_worker_response_hides_no_other_worker(folder: Path) -> None:
    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"{not json")
        writer.close()

    async with await asyncio.start_unix_server(nonsense, folder / "2.sock"), worker(folder, "1", 5).serve_peers():
        collected = await worker(folder, "1", 5).collect_all()

    assert samples(collected, "counted_total") == {"1": 5}
    assert samples(collected, "loomql_worker_up") == {"1": 1, "2": 0}
