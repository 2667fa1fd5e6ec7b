"""The linked page equals the hand-written one; a difference is reported."""

from pathlib import Path

import pytest

from tests.benchmarks import floor, graph
from tests.benchmarks.bench import Bench
from tests.benchmarks.graph import MUST, NAME, check, linked_page, load_graph, measure_graph, slim_page
from tests.benchmarks.servers import server


def test_linked_page_is_compared_with_the_slim_page(
    mongodb_uri: str, database_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "CALLS", 500)
    load_graph(mongodb_uri, database_name)
    floor.make_nested(mongodb_uri, database_name)
    with (
        server(tmp_path, mongodb_uri, database_name) as started,
        floor.opened(mongodb_uri, database_name) as (runner, nested),
    ):
        bench = Bench(started, started, runner, nested, rounds=1)

        section = measure_graph(bench)

        assert list(section) == [NAME]
        assert section[NAME].must == str(MUST)
        assert section[NAME].seen
        with pytest.raises(AssertionError, match="differ"):
            check(bench, slim_page())
        check(bench, linked_page())
