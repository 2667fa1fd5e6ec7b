"""An evaluation of the assistant over forty questions, in the shape that Weave's client gives evaluations."""

from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Final

import orjson

from app.demo import models, vocabulary
from app.demo.cases import Case
from app.demo.span import SECOND, Json, Span, StepError
from app.demo.topics import TOPICS
from app.demo.world import World

EXAMPLES: Final = 40
_AT_ONCE: Final = 4
_EVASIONS: Final = (
    "I'm not sure about that. Please look into the help centre.",
    "Could you tell me more about your {product}?",
    "Our colleagues will get back to you about {order}.",
)
_GRADES: Final = ("does not help at all", "misses the question", "helps in part", "answers it", "answers it completely")


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the answer that is hoped for, and an evasive one."""

    question: str
    expected: str
    evasion: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model under evaluation: its name, and how often its answers are good, from 0 to 1."""

    name: str
    quality: float


BASELINE: Final = Candidate("support-long-prompt", 0.62)
IMPROVED: Final = Candidate("support-short-prompt", 0.87)


def examples(rng: Random) -> list[Example]:
    """The data set: questions of all areas in turn."""
    drawn = []
    for number in range(EXAMPLES):
        case, topic = Case.draw(rng), TOPICS[number % len(TOPICS)]
        question, expected = rng.choice(topic.exchanges)
        drawn.append(Example(case.tell(question), case.tell(expected), case.tell(rng.choice(_EVASIONS))))
    return drawn


def evaluate(world: World, candidate: Candidate, data: list[Example], started_at: int) -> Span:
    """One run over all examples, four at a time; an example whose model fails has no scores."""
    trace = world.trace(started_at, "staging", "eu-central-1", "mara.lind")
    inputs = {"self": trace.ref("object", "support-quality"), "model": trace.ref("object", candidate.name)}
    name = f"support quality: {candidate.name}"
    with trace.root(trace.ref("op", "Evaluation.evaluate"), inputs, started_at, name) as run:
        lanes = [run.clock] * _AT_ONCE
        results = []
        for example in data:
            lanes.sort()
            call = _predict_and_score(run, candidate, example, lanes[0])
            lanes[0] = call.clock
            results.append(call.output)
        run.output = _summarise(run, [result for result in results if isinstance(result, dict)])
    return run


def _predict_and_score(run: Span, candidate: Candidate, example: Example, at: int) -> Span:
    model = run.trace.ref("object", candidate.name)
    inputs = {"self": run.inputs["self"], "model": model, "example": {"question": example.question}}
    call = run.step(run.trace.ref("op", "Evaluation.predict_and_score"), inputs, at)
    with call:
        answer = _predict(call, model, candidate, example)
        seconds = round((call.clock - call.started_at) / SECOND, 3)
        scores = {"answer_overlap": _overlap(call, example, answer), "helpfulness": _judge(call, example, answer)}
        call.output = {"output": answer, "scores": scores, "model_latency": seconds}
    return call


def _predict(parent: Span, model: str, candidate: Candidate, example: Example) -> str | None:
    rng = parent.trace.rng
    answer = example.expected if rng.random() < candidate.quality else example.evasion
    try:
        with parent.step(f"{candidate.name}.predict", {"self": model, "question": example.question}) as call:
            prompt = vocabulary.SYSTEM_PROMPTS["2.4.0" if candidate is IMPROVED else "2.3.1"]
            messages = [models.message("system", prompt), models.message("user", example.question)]
            call.output = models.chat(call, models.LARGE, messages, answer)
    except StepError:
        return None
    else:
        return answer


def _overlap(parent: Span, example: Example, answer: str | None) -> Json | None:
    """How many of the expected words are in the answer, from 0 to 1."""
    if answer is None:
        return None
    with parent.step("answer_overlap", {"expected": example.expected, "output": answer}) as call:
        call.work(0.0008)
        expected = set(example.expected.lower().split())
        recall = round(len(expected & set(answer.lower().split())) / len(expected), 3)
        score = {"recall": recall, "passed": recall > 1 / 2}
        call.output = score
    return score


def _judge(parent: Span, example: Example, answer: str | None) -> Json | None:
    if answer is None:
        return None
    grade = parent.trace.rng.choice((4, 5, 5) if answer == example.expected else (1, 2, 2, 3))
    verdict = {"grade": grade, "reason": f"The answer {_GRADES[grade - 1]}."}
    try:
        with parent.step("helpfulness", {"question": example.question, "output": answer}) as call:
            asked = f"Question: {example.question}\nAnswer: {answer}"
            messages = [models.message("system", vocabulary.JUDGE_PROMPT), models.message("user", asked)]
            models.chat(call, models.SMALL, messages, orjson.dumps(verdict).decode())
            call.output = verdict
    except StepError:
        return None
    else:
        return verdict


def _summarise(run: Span, results: list[Json]) -> Json:
    with run.step(
        run.trace.ref("op", "Evaluation.summarize"), {"self": run.inputs["self"], "rows": len(results)}
    ) as call:
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
