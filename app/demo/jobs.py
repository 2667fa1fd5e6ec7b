"""Traces of jobs: evaluations of the assistant, and a nightly summary of the day's tickets for the morning meeting.

The evaluations use rows of the dataset, and have the structure of those of Weave's client.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import orjson

from app.demo.library import (
    ASSISTANT,
    COMPANY,
    EVALUATION,
    JUDGE,
    JUDGE_PROMPT,
    PROMPT,
    SAMPLE,
    TOPICS,
    Json,
    draw_case,
)
from app.demo.simulation import HOUR, Span, Trace, World, chat
from stores.files import NewFile
from stores.files.weave_content import METADATA_NAME, value_of
from stores.times import SECOND

_AT_ONCE: Final = 4


def examples(world: World) -> list[Json]:
    """Return the rows of the dataset that both evaluation runs use, each with its ref and an evasive answer."""
    rows = world.rng.sample(list(zip(world.library.row_refs(), world.library.rows, strict=True)), SAMPLE)
    evasions = COMPANY["evaluation"]["evasions"]
    return [{**row, "ref": ref, "evasion": world.rng.choice(evasions)} for ref, row in rows]


def evaluate(world: World, data: list[Json], started_at: int) -> Span:
    """Run one evaluation over all examples, four at a time; an example whose model fails has no scores."""
    trace = Trace(world, started_at, "staging", "eu-central-1", {"wb_user_id": "mara.lind"})
    inputs = {"self": trace.ref(EVALUATION), "model": trace.ref(ASSISTANT)}
    with Span(trace, "Evaluation.evaluate", inputs, started_at) as run:
        run.display_name = f"support quality: release {trace.release['name']}"
        lanes = [run.clock] * _AT_ONCE
        for example in data:
            lanes.sort()
            lanes[0] = _predict_and_score(run, example, lanes[0])
        run.output = _summarise(run, [call.output for call in run.children])
    return run


def _predict_and_score(run: Span, example: Json, at: int) -> int:
    """Return the time of the end."""
    with run.step("Evaluation.predict_and_score", {**run.inputs, "example": example["ref"]}, at) as call:
        answer = _predict(call, example)
        seconds = round((call.clock - call.started_at) / SECOND, 3)
        scores = {
            "answer_overlap": answer and _overlap(call, example["expected"], answer),
            "helpfulness": answer and _judge(call, example, answer),
        }
        call.output = {"output": answer, "scores": scores, "model_latency": seconds}
    return call.clock


def _predict(parent: Span, example: Json) -> str | None:
    trace, question = parent.trace, example["question"]
    answer: str = example["expected" if parent.rng.random() < trace.release["good_answers"] else "evasion"]
    inputs = {"self": parent.inputs["model"], "question": question}
    with parent.step("SupportAssistant.predict", inputs, optional=True) as call:
        call.output = chat(call, "large", trace.prompt(PROMPT), question, answer)
    return None if call.exception else answer


def _overlap(parent: Span, expected: str, answer: str) -> Json:
    """Score the fraction of expected words in the answer, from 0 to 1."""
    with parent.step("answer_overlap", {"expected": expected, "output": answer}) as call:
        call.work(0.0008)
        words = set(expected.lower().split())
        recall = round(len(words & set(answer.lower().split())) / len(words), 3)
        score = {"recall": recall, "passed": recall > 1 / 2}
        call.output = score
    return score


def _judge(parent: Span, example: Json, answer: str) -> Json | None:
    grade = parent.rng.choice((4, 5, 5) if answer == example["expected"] else (1, 2, 2, 3))
    verdict = {"grade": grade, "reason": f"The answer {COMPANY['evaluation']['grades'][grade - 1]}."}
    inputs = {"self": parent.trace.ref(JUDGE), "question": example["question"], "output": answer}
    with parent.step("HelpfulnessScorer.score", inputs, optional=True) as call:
        asked = f"Question: {example['question']}\nAnswer: {answer}"
        chat(call, "small", parent.trace.prompt(JUDGE_PROMPT), asked, orjson.dumps(verdict).decode())
        call.output = verdict
    return None if call.exception else verdict


def _summarise(run: Span, results: list[Json]) -> Json:
    with run.step("Evaluation.summarize", {"self": run.inputs["self"], "rows": len(results)}) as call:
        call.work(0.004)
        overlaps = [overlap for result in results if (overlap := result["scores"]["answer_overlap"])]
        grades = [verdict["grade"] for result in results if (verdict := result["scores"]["helpfulness"])]
        passed = sum(overlap["passed"] for overlap in overlaps)
        means = {
            "answer_overlap": {
                "recall": {"mean": fmean(overlap["recall"] for overlap in overlaps)},
                "passed": {"true_count": passed, "true_fraction": passed / len(overlaps)},
            },
            "helpfulness": {"grade": {"mean": fmean(grades)}},
            "model_latency": {"mean": fmean(result["model_latency"] for result in results)},
        }
        call.output = means
    return means


_WIDTH, _HEIGHT, _BAR, _GAP = 320, 120, 24, 12
_COLOURS: Final = bytes.fromhex("ffffff 6b4eff 00a38d f2a541 e4572e 3d5a80 9c89b8 7a9e7e b56576 4f6d7a")
"""RGB colours of the background, then of the bars in order."""
_BAR_COLOURS: Final = len(_COLOURS) // 3 - 1


def night(world: World, days_ago: int) -> Span:
    """Record the run of one night, at 02:00 UTC."""
    rng = world.rng
    started_at = world.timestamp(days_ago, 2 * HOUR + rng.randrange(HOUR // 60))
    run_id = f"{world.library.project_id}/nightly-{rng.getrandbits(32):08x}"
    ids = {"wb_user_id": "nightly-jobs", "wb_run_id": run_id}
    trace = Trace(world, started_at, "production", "eu-central-1", ids)
    topics = rng.choices(TOPICS, k=rng.randint(9, 17))
    with Span(trace, "tickets.summarise_night", {"queue": "support", "tickets": len(topics)}, started_at) as batch:
        lines = [_summarise_ticket(batch, topic) for topic in topics]
        areas = Counter(sorted(topic["area"] for topic in topics))
        batch.output = {
            "summaries": [line for line in lines if line],
            "failed": lines.count(None),
            "areas": dict(areas),
            "chart": _chart(world, areas),
        }
    return batch


def _summarise_ticket(batch: Span, topic: Json) -> Json | None:
    """Return one line for the meeting; None if the summary fails, so that the ticket waits for the next night."""
    rng = batch.rng
    case = draw_case(rng)
    ticket = rng.choice(topic["exchanges"])[0].format_map(case)
    opening = "{first_name} ({city}): {product}.".format_map(case)
    line = f"{opening} {topic['area']}, priority {rng.randint(1, 3)}, {rng.choice(COMPANY['moods'])}"
    summary = {"ticket_id": case["case_number"], "summary": line}
    with batch.step("summarise_ticket", {"ticket_id": case["case_number"], "text": ticket}, optional=True) as call:
        chat(call, "open", COMPANY["prompts"]["summary"], ticket, line)
        call.output = summary
    return None if call.exception else summary


def _chart(world: World, areas: Counter[str]) -> Json:
    """Return a bar chart of the areas as Weave's client represents a picture, and add its files to the library."""
    picture = NewFile.of(bar_chart(list(areas.values())), "tickets-by-area.png")
    known = {
        "id": world.new_id(),
        "size": picture.size_bytes,
        "mimetype": "image/png",
        "digest": picture.digest,
        "filename": picture.name,
        "content_type": "bytes",
        "input_type": "bytes",
        "encoding": "utf-8",
        "metadata": None,
        "extension": ".png",
    }
    metadata = NewFile.of(orjson.dumps(known), METADATA_NAME)
    world.library.files += [picture, metadata]
    return value_of(picture, metadata)


def bar_chart(counts: Sequence[int]) -> bytes:
    """Return a PNG with one bar for each count; the highest bar has the height of the picture."""
    tops = [_HEIGHT - (_HEIGHT - _GAP) * count // max([*counts, 1]) for count in counts]
    lines = b""
    for y in range(_HEIGHT):
        line = b""
        for number, top in enumerate(tops):
            colour = 1 + number % _BAR_COLOURS if y >= top else 0
            line += bytes(_GAP) + bytes([colour]) * _BAR
        lines += b"\0" + line.ljust(_WIDTH, b"\0")[:_WIDTH]  # the first byte of a line says that it is unfiltered
    return _png(lines)


def _png(lines: bytes) -> bytes:
    """Encode lines of pixels as a PNG; each byte is an index into the colours."""
    png = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">2I5B", _WIDTH, _HEIGHT, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": _COLOURS, b"IDAT": zlib.compress(lines, 9), b"IEND": b""}
    for kind, data in chunks.items():
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png
