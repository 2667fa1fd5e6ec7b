"""Calls for benchmarks: about 2 kB of JSON each, the same every time, with values as regular as a program's data."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from stores.calls import CallEnd, CallStart
from stores.times import parse

PROJECT: Final = "acme/bench"
BEGIN: Final = parse("2026-01-01T00:00:00Z")
SECOND: Final = 1_000_000
RARE_WORD: Final = "heddle"
"""Word that occurs in the questions of about 50 in 200,000 calls, and nowhere else."""

_BATCH: Final = 500
_OPS: Final = 20
_RARE: Final = 4000
_FAILED: Final = 500
_CALLS_OF_A_CUSTOMER: Final = 40
_SYLLABLES: Final = ("wo", "ven", "thr", "ea", "sil", "ky", "lin", "en", "spo", "ol", "cot", "ton", "dy", "ed", "ta")

Parts = list[CallStart | CallEnd]


def batches(count: int) -> Iterator[Parts]:
    """Yield the starts and ends of `count` calls, one call a second, ten to a trace, in batches of 500 calls."""
    rng = Random(count)
    sentences = [sentence(rng) for _ in range(2000)]
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        yield [part for number in numbers for part in _call(number, count, sentences, rng)]


def customer(number: int, count: int) -> str:
    """Return the customer of a call; each has forty calls, spread over the whole time."""
    return f"customer {number % max(1, count // _CALLS_OF_A_CUSTOMER):05}"


def op_name(number: int) -> str:
    return f"weave:///{PROJECT}/op/step{number % _OPS}:v0"


def _call(number: int, count: int, sentences: list[str], rng: Random) -> Parts:
    started_at, call_id = BEGIN + number * SECOND, id_of(number)
    start = CallStart(
        PROJECT,
        op_name(number),
        started_at,
        {"environment": rng.choice(("live", "test")), "release": f"2026.{number // 10_000}", "seed": number},
        _inputs(number, count, sentences, rng),
        id=call_id,
        trace_id=id_of(number // 10 * 10),
        parent_id=id_of(number // 10 * 10) if number % 10 else None,
        thread_id=f"thread {number // 50}",
    )
    tokens = {"requests": 1, "prompt_tokens": rng.randrange(2000), "completion_tokens": rng.randrange(400)}
    end = CallEnd(
        PROJECT,
        call_id,
        started_at + rng.randrange(10 * SECOND),
        {"usage": {"loom-large": tokens}, "status_counts": {"success": 1, "error": 0}},
        "TimeoutError: no answer in time" if number % _FAILED == 0 else None,
        {
            "answer": text(sentences, rng),
            "score": rng.random(),
            "sources": [id_of(rng.randrange(count)) for _ in "123"],
        },
    )
    return [start, end]


def _inputs(number: int, count: int, sentences: list[str], rng: Random) -> dict[str, Any]:
    question = rng.choice(sentences)
    return {
        "customer_id": customer(number, count),
        "question": f"{question} {RARE_WORD}?" if number % _RARE == 0 else f"{question}?",
        "order": {"amount": round(rng.uniform(0, 1000), 3), "items": rng.randrange(9), "weight": f"{rng.random():.5f}"},
        "messages": [{"role": role, "content": text(sentences, rng)} for role in ("system", "user", "assistant")],
        "model": "loom-large",
        "temperature": 0.2,
    }


def id_of(number: int) -> str:
    """Return the id of a call, which is also the id of a trace that starts with it."""
    return f"00000000-0000-7000-8000-{number:012x}"


def text(sentences: list[str], rng: Random) -> str:
    """Return four of the sentences."""
    return " ".join(rng.choices(sentences, k=4))


def sentence(rng: Random) -> str:
    """Return a sentence of ten made-up words."""
    return " ".join("".join(rng.choices(_SYLLABLES, k=3)) for _ in range(10))
