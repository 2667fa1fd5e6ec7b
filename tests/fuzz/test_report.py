"""Tests of the limits within which a run of the fuzzer counts as steady."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.fuzz.report import ratio, report, unsteady
from tests.fuzz.run import Outcome
from tests.fuzz.second_caller import READ, Sample
from tests.fuzz.watching import Seen

HEALTHY = (185, 200, 222, 238, 254, 256, 260, 255, 259, 275)
"""Memory in MiB during each tenth of a run of 50,000 requests on 26 November 2026."""

QUICK = [0.004] * 985 + [0.063] * 14 + [0.9]


def outcome(tenths: Sequence[float], pings: list[float]) -> Outcome:
    seen = [Seen(at, tenths[at // 100], 20, 8) for at in range(1000)]
    return Outcome(
        seen=seen,
        pings=pings,
        idle=samples(*[0.003] * 99, 0.005),
        floor=samples(*[0.004] * 99, 0.010),
        fuzzed=samples(*[0.006] * 99, 0.015),
    )


def samples(*seconds: float, result: str = "200") -> list[Sample]:
    return [Sample(READ, at / 10, took, result) for at, took in enumerate(seconds)]


def test_healthy_run_is_steady_on_a_busy_machine() -> None:
    assert unsteady(outcome(HEALTHY, QUICK)) == []
    assert unsteady(outcome(HEALTHY, [*[0.046] * 980, *[1.13] * 19, 5.9])) == []


def test_leak_of_four_kib_per_request_is_reported() -> None:
    leaking = [memory + 50_000 * tenth / 10 * 4 / 1024 for tenth, memory in enumerate(HEALTHY)]

    assert unsteady(outcome(leaking, QUICK)) == ["memory: 154 MiB more"]


def test_server_that_refuses_many_requests_is_reported() -> None:
    def run(requests: int, *, of_503: int, of_504: int = 0) -> Outcome:
        told = Counter({("graphql", 200): requests, ("otlp", 503): of_503, ("graphql", 504): of_504})
        run = outcome(HEALTHY, QUICK)
        run.requests, run.by_status = requests, told
        return run

    assert unsteady(run(200_000, of_503=200)) == []
    assert unsteady(run(700, of_503=5)) == []
    assert unsteady(run(700, of_503=5, of_504=3)) == ["turned away: 8 of 700"]
    told = run(700, of_503=0)
    told.by_code.update({"UNAVAILABLE": 7, "TIMEOUT": 1})
    assert unsteady(told) == ["turned away: 8 of 700"]
    assert unsteady(run(200_000, of_503=2_001)) == ["turned away: 2,001 of 200,000"]


def test_leaked_files_and_threads_are_reported() -> None:
    first, last = Seen(0, 250, 27, 16), Seen(1, 250, 31, 23)
    leaking = Seen(1, 250, 77, 316)

    steady = outcome(HEALTHY, QUICK)
    assert unsteady(replace(steady, seen=[first] * 99 + [last])) == []
    assert unsteady(replace(steady, seen=[first] * 99 + [leaking])) == ["open files: 50 more", "threads: 300 more"]


def test_second_caller_slower_than_on_a_quiet_server_is_reported() -> None:
    healthy = outcome(HEALTHY, QUICK)

    assert ratio(healthy) == pytest.approx(1.5)
    healthy.fuzzed += samples(0.016, 0.016)
    assert unsteady(healthy) == ["p99 of the second caller: 1.6 times that at a server without fuzz"]
    assert unsteady(healthy, most_ratio=1.7) == []
    assert (
        "102 at the fuzzed server: 6 / 16 / 16; 100 at the quiet server meanwhile: 4 / 10 / 10; "
        "100 at the fuzzed server in the pauses: 3 / 5 / 5; p99 ratio 1.60 to the quiet server, which is bounded, "
        "and 3.20 to the pauses"
    ) in report(healthy, 1, [])


def test_second_caller_that_is_refused_is_reported() -> None:
    refused = outcome(HEALTHY, QUICK)
    refused.fuzzed += samples(0.004, 0.004, result="503 UNAVAILABLE")

    assert unsteady(refused) == ["the second caller got 2 x 503 UNAVAILABLE"]


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([11.2], ["longest ping: 11.2 s"]),
        ([2.5] * 20, ["p99 of pings: 2.5 s"]),
        ([11.2] * 20, ["p99 of pings: 11.2 s", "longest ping: 11.2 s"]),
    ],
)
def test_long_or_repeated_stall_is_reported(waits: list[float], expected: list[str]) -> None:
    assert unsteady(outcome(HEALTHY, [*waits, *QUICK])) == expected
