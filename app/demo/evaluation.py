"""Evaluations of the assistant on rows of the dataset, structured like those of Weave's client."""

from statistics import fmean
from typing import Final

import orjson

from app.demo.company import COMPANY, Json
from app.demo.library import ASSISTANT, EVALUATION, JUDGE, JUDGE_PROMPT, PROMPT, SAMPLE
from app.demo.simulation import Span, Trace, World, chat
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
