"""The report of a run of mixed load."""

from typing import Final

from tests.fuzz.watching import Seen
from tests.load.run import Outcome
from tests.load.state import leaks

_THIRDS: Final = 3
_MOST_GROWTH_MIB: Final = 32
_MOST_SLOWER: Final = 1.5


def report(outcome: Outcome) -> str:
    """Return the report: rates and times by thirds of the run, memory, leaks and errors."""
    total = sum(map(len, outcome.steps.values()))
    lines = [
        f"{total:,} steps in {outcome.seconds:.0f} s, {total / outcome.seconds:.0f} a second; p50, p99 in ms by third"
    ]
    lines += [f"  {name:14} {len(taken):7,}  {_times(taken, outcome.seconds)}" for name, taken in outcome.steps.items()]
    every = [step for taken in outcome.steps.values() for step in taken]
    lines.append(f"  {'all':14} {total:7,}  {_times(every, outcome.seconds)}")
    memory = " ".join(f"{third:.0f}" for third in memory_by_third(outcome.seen))
    lines.append(f"memory by third: {memory} MiB, at most {max(look.memory for look in outcome.seen):.0f}")
    lines += [f"before: {outcome.before}", f"after:  {outcome.after}"]
    lines.append(f"leaks: {leaks(outcome.before, outcome.after) or 'none'}; events of each watcher: {outcome.events:,}")
    return "\n".join([*lines, f"errors: {len(outcome.errors)}", *filter(None, outcome.errors)])


def memory_by_third(seen: list[Seen]) -> list[float]:
    """Return the median of the memory in each third, in MiB."""
    size = len(seen) / _THIRDS
    thirds = [sorted(look.memory for look in seen[int(n * size) : int((n + 1) * size)]) for n in range(_THIRDS)]
    return [third[len(third) // 2] for third in thirds]


def unsteady(outcome: Outcome) -> list[str]:
    """Return a sentence if memory grew between the first and the last third, and one if the p99 grew."""
    first, _, last = memory_by_third(outcome.seen)
    every = [step for taken in outcome.steps.values() for step in taken]
    quick, _, slow = (_percentile(third, 0.99) for third in _by_third(every, outcome.seconds))
    problems = [f"memory: {first:.0f} MiB, then {last:.0f}"] if last > first + _MOST_GROWTH_MIB else []
    return problems + ([f"p99: {1e3 * quick:.0f} ms, then {1e3 * slow:.0f}"] if slow > _MOST_SLOWER * quick else [])


def _by_third(taken: list[tuple[float, float]], seconds: float) -> list[list[float]]:
    """Return the sorted durations of the steps that started in each third."""
    ends = [(third + 1) * seconds / _THIRDS for third in range(_THIRDS)]
    begins = [0.0, *ends]
    return [sorted(took for at, took in taken if begin <= at < end) for begin, end in zip(begins, ends, strict=False)]


def _percentile(times: list[float], share: float) -> float:
    return times[int(len(times) * share)] if times else 0.0


def _times(taken: list[tuple[float, float]], seconds: float) -> str:
    return " | ".join(
        f"{1e3 * _percentile(third, 0.5):5.0f} {1e3 * _percentile(third, 0.99):6.0f}" if third else "    -      -"
        for third in _by_third(taken, seconds)
    )
