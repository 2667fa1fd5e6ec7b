"""Runs evaluations with weave under the SDK's own Python, and prints the results as JSON."""

import asyncio
import json
import sys

import weave
from weave import EvaluationLogger

client = weave.init(sys.argv[1])

ROWS = [
    {"question": "one", "expected": "ONE"},
    {"question": "two", "expected": "too"},
    {"question": "three", "expected": "THREE"},
]


class Upper(weave.Model):
    marks: str

    @weave.op
    def predict(self, question: str) -> dict:
        if question == "three" and self.marks == "!":
            raise RuntimeError("out of tea")
        weave.get_current_call().summary["usage"] = {
            "gpt-4o": {"requests": 1, "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        }
        return {"text": question.upper() + self.marks}


class CloseEnough(weave.Scorer):
    @weave.op
    def score(self, output: dict, expected: str) -> dict:
        same = sum(a == b for a, b in zip(output["text"], expected, strict=False))
        return {"share": same / len(expected), "long": len(output["text"]) > 4}


@weave.op
def exact(output: dict, expected: str) -> bool:
    return output["text"] == expected


evaluation = weave.Evaluation(name="shouting", dataset=ROWS, scorers=[CloseEnough(), exact], trials=2)
for marks in ("", "!"):
    asyncio.run(evaluation.evaluate(Upper(marks=marks)))

logger = EvaluationLogger(model="by-hand", dataset="some-rows", name="logged by hand")
for number, row in enumerate(ROWS[:2]):
    prediction = logger.log_prediction(inputs=row, output={"text": row["question"]})
    prediction.log_score("exactness", number / 2)
    prediction.log_score("polite", score=True)
    prediction.finish()
logger.log_summary({"by": "hand"})

client.finish()
sys.stdout.write(json.dumps({"version": weave.__version__}))
