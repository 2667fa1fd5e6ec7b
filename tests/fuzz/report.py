"""The report of a run of the fuzzer."""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Final

from stores import THREADS
from tests.fuzz.run import Finding, Outcome
from tests.fuzz.second_caller import SUCCESSES, percentile
from tests.fuzz.watching import Seen

_SHOWN: Final = 12
_MOST_GROWTH_MIB: Final = 100
_MOST_MORE_FILES: Final = 40
_MOST_MORE_THREADS: Final = THREADS
"""Maximum growth in threads during a run: the server keeps all threads of its pool once they were in use."""
_MOST_TURNED_AWAY: Final = 0.01
"""Maximum share of requests rejected because the server is busy: ten times the share in healthy runs."""
_LEAST_TURNED_AWAY: Final = 5
_TURNING_AWAY: Final = {503, 504}
_MOST_P99_SECONDS: Final = 2.0
MOST_RATIO: Final = 1.5
"""Maximum ratio of the second caller's p99 under fuzz to their p99 at the quiet server, which gets no fuzz."""
_LONGEST_SECONDS: Final = 10.0
"""Maximum seconds of a ping: twice the longest one under a load of eight times the machine's processors."""


def report(outcome: Outcome, seed: int, logged: list[str], most_ratio: float = MOST_RATIO) -> str:
    """Return the report: counts, slowest requests, memory and findings."""
    lines = [f"seed {seed}: {outcome.requests:,} requests in {outcome.seconds:.0f} s"]
    lines += [
        f"  {endpoint:10} {count:7,}  {_counts(outcome.by_status, endpoint)}"
        for endpoint, count in outcome.by_endpoint.most_common()
    ]
    names = Counter(name for name, _ in outcome.by_caller.elements())
    lines += [f"  {name:10} {count:7,}  {_counts(outcome.by_caller, name)}" for name, count in names.most_common()]
    lines.append("errors by code: " + ", ".join(f"{code} {count:,}" for code, count in outcome.by_code.most_common()))
    lines.append("slowest:")
    lines += [f"  {seconds:6.2f} s  {what}" for seconds, what in sorted(outcome.slowest, reverse=True)]
    lines.append(
        f"healthz beside: {len(outcome.pings):,} pings, median {1e3 * statistics.median(outcome.pings):.0f} ms, "
        f"p99 {1e3 * _p99(outcome.pings):.0f} ms, longest {1e3 * max(outcome.pings):.0f} ms"
    )
    lines.append(_second_caller(outcome))
    lines.append(_process(outcome.seen))
    lines.append(f"findings: {len(outcome.findings)}, unexpected in the log: {len(logged)}")
    lines.append(f"stalls: {', '.join(f'{seconds:.1f} s' for seconds, _ in outcome.stalls) or 'none'}")
    lines.append(f"unsteady: {', '.join(unsteady(outcome, most_ratio)) or 'nothing'}")
    return "\n".join([*lines, *_findings(outcome.findings), *logged[:3]])


def unsteady(outcome: Outcome, most_ratio: float = MOST_RATIO) -> list[str]:
    """Return a sentence for each limit that the server exceeded: growth after its warm-up, slow pings, rejections."""
    first, last = outcome.seen[0], outcome.seen[-1]
    grown, p99, longest = growth(outcome.seen), _p99(outcome.pings), max(outcome.pings)
    away = turned_away(outcome)
    samples = outcome.idle + outcome.floor + outcome.fuzzed
    others = Counter(sample.result for sample in samples if sample.result not in SUCCESSES)
    slowed = ratio(outcome)
    exceeded = {
        f"turned away: {away:,} of {outcome.requests:,}": away
        > max(_LEAST_TURNED_AWAY, _MOST_TURNED_AWAY * outcome.requests),
        f"memory: {grown:.0f} MiB more": grown > _MOST_GROWTH_MIB,
        f"open files: {last.files - first.files} more": last.files - first.files > _MOST_MORE_FILES,
        f"threads: {last.threads - first.threads} more": last.threads - first.threads > _MOST_MORE_THREADS,
        f"p99 of pings: {p99:.1f} s": p99 > _MOST_P99_SECONDS,
        f"longest ping: {longest:.1f} s": longest > _LONGEST_SECONDS,
        f"p99 of the second caller: {slowed:.1f} times that at a server without fuzz": slowed > most_ratio,
        f"the second caller got {counted(others)}": bool(others),
    }
    return [sentence for sentence, is_so in exceeded.items() if is_so]


def counted(results: Mapping[str, int]) -> str:
    """Return the results with their counts as text."""
    return ", ".join(f"{count} x {result}" for result, count in sorted(results.items())) or "nothing"


def ratio(outcome: Outcome) -> float:
    """Return the second caller's p99 during the fuzz divided by the p99 at the quiet server in the same seconds."""
    return percentile(outcome.fuzzed, 0.99) / percentile(outcome.floor, 0.99)


def turned_away(outcome: Outcome) -> int:
    """Return how many requests were rejected as unavailable or timed out, by status or by GraphQL error code."""
    by_status = sum(count for (_, status), count in outcome.by_status.items() if status in _TURNING_AWAY)
    return max(by_status, outcome.by_code["UNAVAILABLE"] + outcome.by_code["TIMEOUT"])


def growth(seen: list[Seen]) -> float:
    """Return the growth in MiB from the end of the warm-up, a third into the run, to the end of the run."""
    return _memory(seen, 0.9, 1.0) - _memory(seen, 0.3, 0.4)


def _memory(seen: list[Seen], start: float, stop: float) -> float:
    part = seen[int(len(seen) * start) : int(len(seen) * stop) + 1]
    return statistics.median(look.memory for look in part)


def _p99(pings: list[float]) -> float:
    return sorted(pings)[int(len(pings) * 0.99)]


def _process(seen: list[Seen]) -> str:
    tenths = [f"{_memory(seen, n / 10, (n + 1) / 10):.0f}" for n in range(10)]
    first, last = seen[0], seen[-1]
    return (
        f"memory by tenths of the run: {' '.join(tenths)} MiB, at most {max(look.memory for look in seen):.0f}, growth "
        f"{growth(seen):.0f}; open files {first.files} -> {last.files}; threads {first.threads} -> {last.threads}"
    )


def _second_caller(outcome: Outcome) -> str:
    latencies = [
        f"{len(samples):,} {where}: "
        + " / ".join(f"{1e3 * percentile(samples, share):.0f}" for share in (0.5, 0.99, 1.0))
        for where, samples in (
            ("at the fuzzed server", outcome.fuzzed),
            ("at the quiet server meanwhile", outcome.floor),
            ("at the fuzzed server in the pauses", outcome.idle),
        )
    ]
    to_idle = percentile(outcome.fuzzed, 0.99) / percentile(outcome.idle, 0.99)
    return (
        f"second caller's queries, p50 / p99 / longest in ms: {'; '.join(latencies)}; p99 ratio {ratio(outcome):.2f} "
        f"to the quiet server, which is bounded, and {to_idle:.2f} to the pauses"
    )


def _counts(by_status: Counter[tuple[str, int]], of: str) -> str:
    """Return the counts of statuses for an endpoint or a caller."""
    counts = sorted((status, count) for (name, status), count in by_status.items() if name == of)
    return ", ".join(f"{status or 'none'}: {count:,}" for status, count in counts)


def _findings(findings: list[Finding]) -> list[str]:
    """Return one finding of each kind with its count."""
    counts = Counter((finding.endpoint, finding.problem[:60]) for finding in findings)
    lines = []
    for (endpoint, problem), count in counts.most_common(_SHOWN):
        first = next(found for found in findings if found.endpoint == endpoint and found.problem.startswith(problem))
        lines += [f"- {endpoint}, {count} times: {first.problem}", f"    #{first.number}: {first.sent[:1500]}"]
    return lines
