"""Runs of evaluations in the shape that Weave's client gives them: a test names only what it is about."""

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
    """The ref of an op's version."""
    return f"weave:///{PROJECT}/op/{name}:{'o' * 43}"


def row_ref(digest: str) -> str:
    """The ref of a row of a dataset, by the row's digest."""
    return f"weave:///{PROJECT}/object/Questions:{'q' * 43}/attr/rows/id/{digest}"


def digest_of(number: int) -> str:
    """A row's digest that sorts as its number does."""
    return f"{number:043d}"


def run_id(run: int = 1) -> str:
    """The id of a run's call, which begins as a variable of MongoDB's does and must not be taken for one."""
    return f"$$run{run:011d}"


def prediction_id(number: int, run: int = 1) -> str:
    """The id of a prediction's call; its model's and its scorers' follow."""
    return call_id(_RUN * run + _PREDICTION * (number + 1))


def below(number: int, place: int, run: int = 1) -> str:
    """The id of a call below a prediction: the model's at 1, scorers' after it."""
    return call_id(_RUN * run + _PREDICTION * (number + 1) + place)


@dataclass(frozen=True)
class Prediction:
    """One prediction. Without scores there is no scorer's call; `output` goes into that of its own call."""

    example: object
    output: object = "an answer"
    scores: Json = field(default_factory=dict)
    exception: str | None = None
    model_exception: str | None = None
    latency: float | None = 0.25
    own_output: object = None
    """In place of what is made of the above."""
    is_running: bool = False
    usage: Json = field(default_factory=dict)


def of_run(run: int = 1, *, runs: bool = False, **changes: Any) -> Parts:  # noqa: ANN401 -- any field of a start or end
    """The run's own call; changes of `output`, `exception` and `summary` are its end's."""
    ended = {name: changes.pop(name) for name in ("output", "exception", "summary") if name in changes}
    inputs = {"self": EVALUATION, "model": MODEL}
    begun = start(
        0, id=run_id(run), trace_id=trace_id(run), op_name=op("Evaluation.evaluate"), started_at=_at(run, 0),
        **{"inputs": inputs, **changes},
    )  # fmt: skip
    over = end(0, id=run_id(run), ended_at=_at(run, 0) + 3600 * SECOND, **{"output": {}, **ended})
    return [begun] if runs else [begun, over]


def of_prediction(number: int, prediction: Prediction, run: int = 1, model: object = MODEL) -> Parts:
    """A prediction's calls: its own, the model's, and one for each score."""
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
    """A scorer's call: the judge is an object of a class, all others are ops of the score's name."""
    is_judge = name == "helpfulness"
    inputs = {"self": JUDGE, "output": "?"} if is_judge else {"output": "?"}
    named = op("HelpfulnessScorer.score" if is_judge else name)
    return [
        start(0, id=own, parent_id=parent, op_name=named, started_at=at, inputs=inputs, **given),
        end(0, id=own, ended_at=at + 1, output=value),
    ]


def _at(run: int, number: int) -> int:
    return NOON + 100_000 * run * SECOND + number * SECOND


def whole_run(predictions: list[Prediction], run: int = 1, **changes: Any) -> Parts:  # noqa: ANN401 -- as of_run
    """A run with all its calls, and one that sums up."""
    summing = call_id(_RUN * run + _RUN - 1)
    own: Parts = [
        start(0, id=summing, parent_id=run_id(run), trace_id=trace_id(run), op_name=op("Evaluation.summarize")),
        end(0, id=summing, output={}),
    ]
    of_each = [part for number, each in enumerate(predictions) for part in of_prediction(number, each, run)]
    return [*of_run(run, **changes), *of_each, *own]


def graded(number: int, grade: float | None, *, passed: bool | None = None, **changes: Any) -> Prediction:  # noqa: ANN401 -- any field
    """A prediction about the example of a number, graded by a judge, and said to have passed or not."""
    scores: Json = {} if grade is None else {"helpfulness": {"grade": grade, "reason": "so"}}
    if passed is not None:
        scores["passed"] = passed
    return replace(Prediction(row_ref(digest_of(number)), f"answer {number}", scores), **changes)
