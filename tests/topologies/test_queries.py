"""Answers of a cluster equal those of one server, for few calls."""

import pytest

from tests.benchmarks import spans
from tests.benchmarks.spans import SPANS
from tests.chance import takes_minutes
from tests.topologies.queries import print_queries


@takes_minutes  # the servers prepare the calls
def test_queries_take_commands_of_the_shards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spans, "TEMPLATES", 5)

    print_queries(200 * SPANS)

    _, *rows = (line.strip("| \n").split(" | ") for line in capsys.readouterr().out.splitlines())
    commands = {row[0]: int(row[-1].replace(",", "")) for row in rows}
    assert len(commands) > 20
    assert all(commands.values())
    joins = {name for name, number in commands.items() if number > 60}
    assert joins <= {"calls sorted by reaction", "facet of reactions"}
