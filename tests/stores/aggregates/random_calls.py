"""Random trees of calls by three kinds of writers, which report usage differently.

The first adds up its children's usage and sends status counts, as Weave's client for Python does. The second adds
up nothing, as most OpenTelemetry instrumentations do. The third adds up without status counts, as Weave's client
for TypeScript does.
"""

from collections import Counter
from random import Random
from typing import Any

from stores.calls import CallEnd, CallStart
from stores.times import parse
from tests.stores.calls.builders import PROJECT, SECOND, call_id, trace_id

Json = dict[str, Any]
Pairs = list[tuple[CallStart, CallEnd | None]]

SAYS_SO, SUMS_NOT, SAYS_NOT = "says so", "sums not", "says not"
WRITERS = (SAYS_SO, SUMS_NOT, SAYS_NOT)

MODELS = ("loom-large", "loom-small", "weft", "warp.2$")
OPS = (f"weave:///{PROJECT}/op/answer:v1", f"weave:///{PROJECT}/op/answer:v2", "search", "$op", "weave:odd")
CHANGE_OF_CLOCKS = parse("2026-03-28T20:00:00Z")


def random_trace(rng: Random, first: int, size: int, writer: str, running: float = 0.1) -> Pairs:
    """Return a trace of `size` calls: a root and calls below earlier ones; some are `running`."""
    parents = [None, *(rng.randrange(number) for number in range(1, size))]
    begins = CHANGE_OF_CLOCKS + rng.randrange(-3000, 3 * 86_400) * SECOND
    thread = rng.choice((None, "thread 1", "$thread", "th.read"))
    starts = [
        CallStart(
            PROJECT,
            rng.choice(OPS),
            begins + number * SECOND + rng.randrange(SECOND),
            {},
            {},
            id=call_id(first + number),
            trace_id=trace_id(first),
            parent_id=None if parent is None else call_id(first + parent),
            thread_id=thread,
            wb_user_id=rng.choice(("ada", "bob")),
        )
        for number, parent in enumerate(parents)
    ]
    children = [[child for child, parent in enumerate(parents) if parent == number] for number in range(size)]
    summaries: dict[int, Json] = {}
    ends: dict[int, CallEnd | None] = {}
    for number in reversed(range(size)):
        failed = rng.random() < 0.2
        below = [summaries[child] for child in children[number]]
        summaries[number] = _summary(rng, writer, below, failed=failed)
        latency = rng.choice((rng.randrange(10 * SECOND), 250_000, -1_500_000))
        summary = _sent(summaries[number])
        ended = CallEnd(PROJECT, call_id(first + number), starts[number].started_at + latency, summary)
        ended.exception = "it broke" if failed else None
        ends[number] = None if rng.random() < running and number else ended
    return [(start, ends[number]) for number, start in enumerate(starts)]


def _summary(rng: Random, writer: str, below: list[Json], *, failed: bool) -> Json:
    usage: Json = {}
    if below and writer is not SUMS_NOT:
        for child in below:
            for model, counts in child.get("usage", {}).items():
                usage[model] = dict(Counter(usage.get(model, {})) + Counter(counts))
        if writer is SAYS_NOT and rng.random() < 0.4:  # such a writer may add up totals but not every class
            for counts in usage.values():
                counts.pop(rng.choice(("cached", "reasoning")), None)
    elif not below:
        usage = {model: _counts(rng) for model in rng.sample(MODELS, rng.choice((0, 1, 1, 2)))}
    summary: Json = {"usage": usage} if usage else {}
    if writer is SAYS_SO:
        statuses = Counter({"error": failed, "success": not failed})
        for child in below:
            statuses.update(child["status_counts"])
        summary["status_counts"] = dict(statuses)
    return summary


def _counts(rng: Random) -> Json:
    counts = {"requests": 1, "prompt_tokens": rng.randrange(1, 2000), "completion_tokens": rng.randrange(1, 400)}
    if rng.random() < 0.5:
        counts["cached"] = rng.randrange(counts["prompt_tokens"] + 1)
    if rng.random() < 0.3:
        counts["reasoning"] = rng.randrange(counts["completion_tokens"] + 1)
    return counts


def _sent(summary: Json) -> Json:
    """Return the summary in the form that OpenAI's clients send."""
    usage = {}
    for model, counts in summary.get("usage", {}).items():
        usage[model] = {name: counts[name] for name in ("requests", "prompt_tokens", "completion_tokens")}
        if "cached" in counts:
            usage[model]["prompt_tokens_details"] = {"cached_tokens": counts["cached"]}
        if "reasoning" in counts:
            usage[model]["completion_tokens_details"] = {"reasoning_tokens": counts["reasoning"]}
    return summary | ({"usage": usage} if usage else {})
