"""Evaluations of the assistant on rows of the dataset, structured like those of Weave's client."""

from dataclasses import dataclass
from statistics import fmean
from typing import Final

import orjson

from app.demo import models, vocabulary
from app.demo.library import ASSISTANT, EVALUATION, JUDGE, JUDGED_BY, SAMPLE
from app.demo.span import Json, Span, StepError
from app.demo.world import World
from stores.times import SECOND

_AT_ONCE: Final = 4
_EVASIONS: Final = (
    "I'm not sure about that. Please look into the help centre.",
    "Could you tell me more about it?",
    "Our colleagues will get back to you.",
)
_GRADES: Final = ("does not help at all", "misses the question", "helps in part", "answers it", "answers it completely")


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the dataset: its ref, a question with the expected answer, and an evasive answer."""

    ref: str
    question: str
    expected: str
    evasion: str


_QUALITY: Final = {"2.3.1": 0.62, "2.4.0": 0.87}
"""Probability of a good answer by release, from 0 to 1."""


def examples(world: World) -> list[Example]:
    """Return the rows of the dataset that both evaluation runs use."""
    rows = world.rng.sample(list(zip(world.library.row_refs(), world.library.rows, strict=True)), SAMPLE)
    return [Example(ref, row["question"], row["expected"], world.rng.choice(_EVASIONS)) for ref, row in rows]


def evaluate(world: World, data: list[Example], started_at: int) -> Span:
    """Run one evaluation over all examples, four at a time; an example whose model fails has no scores."""
    trace = world.trace(started_at, "staging", "eu-central-1", "mara.lind")
    inputs = {"self": trace.ref(EVALUATION), "model": trace.ref(ASSISTANT)}
    name = f"support quality: release {trace.release}"
    with trace.root(trace.ref("Evaluation.evaluate"), inputs, started_at, name) as run:
        lanes = [run.clock] * _AT_ONCE
        results = []
        for example in data:
            lanes.sort()
            call = _predict_and_score(run, example, lanes[0])
            lanes[0] = call.clock
            results.append(call.output)
        run.output = _summarise(run, [result for result in results if isinstance(result, dict)])
    return run


def _predict_and_score(run: Span, example: Example, at: int) -> Span:
    call = run.step(run.trace.ref("Evaluation.predict_and_score"), {**run.inputs, "example": example.ref}, at)
    with call:
        answer = _predict(call, example)
        seconds = round((call.clock - call.started_at) / SECOND, 3)
        scores = {"answer_overlap": _overlap(call, example, answer), "helpfulness": _judge(call, example, answer)}
        call.output = {"output": answer, "scores": scores, "model_latency": seconds}
    return call


def _predict(parent: Span, example: Example) -> str | None:
    trace = parent.trace
    answer = example.expected if trace.rng.random() < _QUALITY[trace.release] else example.evasion
    inputs = {"self": parent.inputs["model"], "question": example.question}
    try:
        with parent.step(trace.ref("SupportAssistant.predict"), inputs) as call:
            prompt = vocabulary.SYSTEM_PROMPTS[trace.release]
            messages = [models.message("system", prompt), models.message("user", example.question)]
            call.output = models.chat(call, models.LARGE, messages, answer)
    except StepError:
        return None
    else:
        return answer


def _overlap(parent: Span, example: Example, answer: str | None) -> Json | None:
    """Score the fraction of expected words in the answer, from 0 to 1."""
    if answer is None:
        return None
    with parent.step(parent.trace.ref("answer_overlap"), {"expected": example.expected, "output": answer}) as call:
        call.work(0.0008)
        expected = set(example.expected.lower().split())
        recall = round(len(expected & set(answer.lower().split())) / len(expected), 3)
        score = {"recall": recall, "passed": recall > 1 / 2}
        call.output = score
    return score


def _judge(parent: Span, example: Example, answer: str | None) -> Json | None:
    if answer is None:
        return None
    trace = parent.trace
    grade = trace.rng.choice((4, 5, 5) if answer == example.expected else (1, 2, 2, 3))
    inputs = {"self": trace.ref(JUDGE), "question": example.question, "output": answer}
    verdict = {"grade": grade, "reason": f"The answer {_GRADES[grade - 1]}."}
    try:
        with parent.step(trace.ref("HelpfulnessScorer.score"), inputs) as call:
            asked = f"Question: {example.question}\nAnswer: {answer}"
            messages = [models.message("system", vocabulary.JUDGE_PROMPTS[JUDGED_BY]), models.message("user", asked)]
            models.chat(call, models.SMALL, messages, orjson.dumps(verdict).decode())
            call.output = verdict
    except StepError:
        return None
    else:
        return verdict


def _summarise(run: Span, results: list[Json]) -> Json:
    inputs = {"self": run.inputs["self"], "rows": len(results)}
    with run.step(run.trace.ref("Evaluation.summarize"), inputs) as call:
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
