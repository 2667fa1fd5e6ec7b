"""Builders of evaluation runs as Weave's client logs them: a test names only the fields that it checks."""

from dataclasses import dataclass, field, replace
from typing import Any

from stores.calls import CallEnd, CallStart
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

Json = dict[str, Any]
Parts = list[CallStart | CallEnd]

EVALUATION = f"weave:///{PROJECT}/object/quality:{'e' * 43}"
MODEL = f"weave:///{PROJECT}/object/assistant:{'m' * 43}"
JUDGE = f"weave:///{PROJECT}/object/helpfulness:{'j' * 43}"
_RUN = 10_000_000
_PREDICTION = 10


def op(name: str) -> str:
    """Return the ref of an op's version."""
    return f"weave:///{PROJECT}/op/{name}:{'o' * 43}"


def row_ref(digest: str) -> str:
    """Return the ref of the dataset row with this digest."""
    return f"weave:///{PROJECT}/object/Questions:{'q' * 43}/attr/rows/id/{digest}"


def digest_of(number: int) -> str:
    """Return a row digest; digests sort as their numbers do."""
    return f"{number:043d}"


def run_id(run: int = 1) -> str:
    """Return the id of a run's call. It begins as a MongoDB variable does, and no query may treat it as one."""
    return f"$$run{run:011d}"


def prediction_id(number: int, run: int = 1) -> str:
    """Return the id of a prediction's call; the ids of its model's and scorers' calls follow it."""
    return call_id(_RUN * run + _PREDICTION * (number + 1))


def below(number: int, place: int, run: int = 1) -> str:
    """Return the id of a call below a prediction: place 1 is the model's, and the scorers' follow."""
    return call_id(_RUN * run + _PREDICTION * (number + 1) + place)


@dataclass(frozen=True)
class Prediction:
    """A prediction to log. Each score has a scorer's call, and `output` is part of the prediction's own output."""

    example: object
    output: object = "an answer"
    scores: Json = field(default_factory=dict)
    exception: str | None = None
    model_exception: str | None = None
    latency: float | None = 0.25
    own_output: object = None
    """Output of the prediction's own call; if None, it is built from the fields above."""
    is_running: bool = False
    usage: Json = field(default_factory=dict)


def of_run(run: int = 1, *, runs: bool = False, **changes: Any) -> Parts:
    """Return the parts of the run's own call; `output`, `exception` and `summary` change its end."""
    ended = {name: changes.pop(name) for name in ("output", "exception", "summary") if name in changes}
    inputs = {"self": EVALUATION, "model": MODEL}
    started = start(
        0, id=run_id(run), trace_id=trace_id(run), op_name=op("Evaluation.evaluate"), started_at=_at(run, 0),
        **{"inputs": inputs, **changes},
    )  # fmt: skip
    over = end(0, id=run_id(run), ended_at=_at(run, 0) + 3600 * SECOND, **{"output": {}, **ended})
    return [started] if runs else [started, over]


def of_prediction(number: int, prediction: Prediction, run: int = 1, model: object = MODEL) -> Parts:
    """Return the parts of a prediction's calls: its own, the model's, and one for each score."""
    given = {"trace_id": trace_id(run)}
    at, own = _at(run, number), prediction_id(number, run)
    inputs = {"self": EVALUATION, "model": model, "example": prediction.example}
    parts: Parts = [
        start(0, id=own, parent_id=run_id(run), op_name=op("Evaluation.predict_and_score"), started_at=at,
              inputs=inputs, **given),
        start(0, id=below(number, 1, run), parent_id=own, op_name=op("Assistant.predict"), started_at=at + 1,
              inputs={"self": model, "question": "?"}, **given),
        end(0, id=below(number, 1, run), ended_at=at + SECOND // 4, output=prediction.output,
            exception=prediction.model_exception, summary={"usage": prediction.usage} if prediction.usage else {}),
    ]  # fmt: skip
    for place, (name, value) in enumerate(prediction.scores.items(), 2):
        parts += _of_scorer(below(number, place, run), own, name, value, at + place, given)
    if not prediction.is_running:
        made = {"output": prediction.output, "scores": prediction.scores, "model_latency": prediction.latency}
        output = prediction.own_output if prediction.own_output is not None else made
        parts.append(end(0, id=own, ended_at=at + SECOND // 2, output=output, exception=prediction.exception))
    return parts


def _of_scorer(own: str, parent: str, name: str, value: object, at: int, given: Json) -> Parts:
    """Return a scorer's call; the judge is an object of a class, and every other scorer is an op named as its score."""
    is_judge = name == "helpfulness"
    inputs = {"self": JUDGE, "output": "?"} if is_judge else {"output": "?"}
    named = op("HelpfulnessScorer.score" if is_judge else name)
    return [
        start(0, id=own, parent_id=parent, op_name=named, started_at=at, inputs=inputs, **given),
        end(0, id=own, ended_at=at + 1, output=value),
    ]


def _at(run: int, number: int) -> int:
    return NOON + 100_000 * run * SECOND + number * SECOND


def whole_run(predictions: list[Prediction], run: int = 1, **changes: Any) -> Parts:
    """Return a run with all its calls, including the call that summarizes it."""
    summing = call_id(_RUN * run + _RUN - 1)
    own: Parts = [
        start(0, id=summing, parent_id=run_id(run), trace_id=trace_id(run), op_name=op("Evaluation.summarize")),
        end(0, id=summing, output={}),
    ]
    of_each = [part for number, each in enumerate(predictions) for part in of_prediction(number, each, run)]
    return [*of_run(run, **changes), *of_each, *own]


def graded(number: int, grade: float | None, *, passed: bool | None = None, **changes: Any) -> Prediction:
    """Return a prediction about the example with this number, with a judge's grade and perhaps a `passed` score."""
    scores: Json = {} if grade is None else {"helpfulness": {"grade": grade, "reason": "so"}}
    if passed is not None:
        scores["passed"] = passed
    return replace(Prediction(row_ref(digest_of(number)), f"answer {number}", scores), **changes)
