"""The tables about the size of a deployment, for few calls."""

import pytest

from tests.benchmarks import deployment, spans
from tests.benchmarks.deployment import OrderedTraces, print_pages, print_processes
from tests.benchmarks.spans import SPANS, Traces


def test_index_pages_are_counted_by_the_order_of_ids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spans, "TEMPLATES", 5)
    monkeypatch.setattr(deployment, "_ROUNDS", 2)
    monkeypatch.setattr(deployment, "_CHECKPOINT", 500)

    print_pages(40 * SPANS)

    head, *rows = (cells(line) for line in capsys.readouterr().out.splitlines())
    random, ordered, by_start, by_day = (
        {name: number(row[head.index(name)]) for name in ("_id", "unique id")} for row in rows
    )
    assert random["_id"] > 2 * ordered["_id"] > 0
    assert by_start["unique id"] > 2 * by_start["_id"] > 0
    assert random["_id"] > 2 * by_day["_id"] > 0
    assert random["unique id"] == by_day["unique id"] == 0


def test_processes_are_measured_together(capsys: pytest.CaptureFixture[str]) -> None:
    print_processes((1,), 4, 0.2)

    head, row = (cells(line) for line in capsys.readouterr().out.splitlines())
    measured = dict(zip(head, row, strict=True))
    assert measured["Processes"] == "1"
    assert all(number(measured[name]) > 0 for name in ("Calls/s", "Memory of each", "Connections"))
    assert [measured[name].partition("%")[2] for name in head[-2:]] == [" of a core"] * 2


def test_ordered_ids_have_the_form_of_random_ones() -> None:
    assert [*map(len, OrderedTraces.ids(7))] == [*map(len, Traces.ids(7))]
    every = [name for trace in range(300) for name in OrderedTraces.ids(trace)[1:]]
    assert every == sorted(set(every))


def cells(line: str) -> list[str]:
    """Return the cells of a row."""
    return line.strip("| ").split(" | ")


def number(cell: str) -> int:
    """Return the first number of a cell."""
    return int(cell.partition(" ")[0].replace(",", ""))
