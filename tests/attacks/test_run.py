"""Tests of the measurements of an attack and of the attacker's WebSocket client."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.app.command import ROOT
from tests.attacks.attacks import (
    NO_DEADLINE,
    NO_RESULT,
    Results,
    Target,
    dense_variables,
    hostile_dispositions,
    many_scans,
)
from tests.attacks.raw_websocket import CONTINUATION, TEXT, RawWebSocket
from tests.attacks.run import PING, SCAN, TRACES, WRITE, Memory, Row, run
from tests.fuzz.second_caller import READ, Sample

ASKED = b'{"type":"subscribe","id":"1","payload":{"query":"{__typename}","variables":{"a":"' + b"x" * 70_000 + b'"}}}'


def samples(name: str, *seconds: float, result: str = "200") -> list[Sample]:
    return [Sample(name, at, took, result) for at, took in enumerate(seconds)]


CALM = {name: samples(name, *[0.004] * 50) for name in (PING, READ, WRITE, TRACES, SCAN)}
WITHSTOOD = Row("none", 3.0, Memory(120, 180, 130), 0.5, CALM, CALM, Counter({"403": 2, "503": 1}), is_alive=True)


async def test_harmless_attack_passes(mongodb_uri: str, database_name: str, tmp_path: Path) -> None:
    async def attack(target: Target) -> Results:
        connection = await RawWebSocket.open(target.url, target.reader)
        await connection.send(ASKED)
        await connection.wait_for(3)
        await connection.send(ASKED[:40_000].replace(b'"1"', b'"2"'), TEXT, is_final=False)
        await connection.send(ASKED[40_000:], CONTINUATION)
        await connection.wait_for(5)
        await connection.send(b"{")
        await connection.wait_for(6)
        await connection.close()
        return Counter([*connection.replies, str(connection.end)])

    row = await run(attack, "harmless", mongodb_uri, database_name, ROOT, tmp_path, idle_seconds=1)

    assert row.results == {"connection_ack": 1, "next": 2, "complete": 2, "close 4400": 1}
    assert row.is_alive
    assert 50 < row.memory.before <= row.memory.peak
    assert row.cpu > 0
    for part in (row.idle, row.attacked):
        assert {sample.result for name in (PING, READ) for sample in part[name]} == {"200"}
    assert {sample.result for name in (WRITE, TRACES, SCAN) for sample in row.attacked[name]} == {"200"}
    assert row.cells()[:1] == ("harmless",)


async def test_server_survives_hostile_names_dense_variables_and_many_scans(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    async def attack(target: Target) -> Results:
        return sum([await each(target) for each in (hostile_dispositions, dense_variables, many_scans)], Results())

    row = await run(attack, "three attacks", mongodb_uri, database_name, ROOT, tmp_path, idle_seconds=1)

    assert row.results.total() == 12
    # The latency of a ping depends on the machine that runs the tests.
    assert [problem for problem in row.problems() if not problem.startswith("the longest ping")] == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (WITHSTOOD, []),
        (replace(WITHSTOOD, is_alive=False), ["the server died"]),
        (replace(WITHSTOOD, memory=Memory(120, 800, 130)), ["680 MiB more at the peak"]),
        (replace(WITHSTOOD, attacked={**CALM, PING: samples(PING, 0.1, 2.5)}), ["the longest ping took 2.5 s"]),
        (
            replace(WITHSTOOD, attacked={**CALM, WRITE: samples(WRITE, 2.0, result="503 UNAVAILABLE")}),
            ["the second caller's 6 MB write got 1 x 503 UNAVAILABLE"],
        ),
        (
            replace(WITHSTOOD, results=Counter({"500": 4, "403": 5, NO_RESULT: 1})),
            [f"the attacker got 4 x 500, 1 x {NO_RESULT}"],
        ),
        (replace(WITHSTOOD, results=Counter({NO_DEADLINE: 1})), ["the attacker got 1 x no 408"]),
        (
            replace(WITHSTOOD, results=Counter({"200": 1, "forged log lines": 1})),
            ["the attacker got 1 x forged log lines"],
        ),
    ],
)
def test_row_explains_a_failed_defence(row: Row, expected: list[str]) -> None:
    assert row.problems() == expected
