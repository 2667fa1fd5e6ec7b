"""Uses each feature of weave in turn under the SDK's own Python, and prints the results as JSON."""

import asyncio
import contextlib
import json
import sys

import weave
from PIL import Image

PROJECT = sys.argv[1]

client = weave.init(PROJECT)
seen = {"version": weave.__version__}


@weave.op
def add(a: int, b: int) -> int:
    return a + b


@weave.op
def answer(question: str) -> dict:
    weave.get_current_call().summary["usage"] = {
        "my-model": {"requests": 1, "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    }
    return {"text": question.upper(), "sum": add(1, add(2, 3))}


@weave.op
def fail() -> None:
    raise RuntimeError("out of tea")


def nested_ops() -> weave.trace.call.Call:
    text = "x" * 20 + "ü🍵"
    result, call = answer.call(text)
    with contextlib.suppress(RuntimeError):
        fail()
    seen["answer"] = {"id": call.id, "trace_id": call.trace_id, "result": result, "question": text}
    with weave.thread("no thread has so long a name " * 50):
        add(0, 0)
    return call


def threads() -> None:
    with weave.thread("tea time"):
        answer("one")
        answer("two")


def published() -> None:
    config = weave.publish({"a": 1, "nested": {"b": [1, 2.5, None]}}, name="config")
    again = weave.publish({"a": 2}, name="config")
    got = config.get()
    rows = [{"question": f"q{number}", "wide": 2**40 + number} for number in range(250)]
    dataset = weave.publish(weave.Dataset(name="questions", rows=rows)).get()
    picture = weave.publish(Image.new("RGB", (3, 2), (255, 0, 128)), name="picture")
    seen["published"] = {
        "config": [config.uri(), again.uri()],
        "got": {"a": got["a"], "nested": {"b": list(got["nested"]["b"])}},
        "latest": weave.ref("config:latest").get()["a"],
        "rows": [len(dataset.rows), sum(1 for _ in dataset.rows), dict(dataset.rows[249])],
        "picture": [list(picture.get().size), list(picture.get().getpixel((1, 1)))],
    }


def shared_name() -> None:
    """Publish an op and an object with the same name."""
    op = weave.publish(add)
    weave.publish({"a": 1}, name="add")
    got = weave.ref(op.uri()).get()
    seen["shared"] = [op.name, got.resolve_fn(20, 3), weave.ref("add:latest").get()["a"]]


class Tripler(weave.Model):
    factor: int

    @weave.op
    def predict(self, number: int) -> int:
        return number * self.factor


@weave.op
def is_triple(number: int, output: int) -> dict:
    return {"right": output == 3 * number}


def evaluated() -> None:
    model = weave.publish(Tripler(factor=3), name="tripler")
    seen["model"] = [model.get().factor, model.get().predict(5)]
    evaluation = weave.Evaluation(name="triples", dataset=[{"number": 1}, {"number": 2}], scorers=[is_triple])
    summary = asyncio.run(evaluation.evaluate(Tripler(factor=3)))
    seen["evaluation"] = summary["is_triple"]
    client.flush()
    seen["scored"] = {
        "by_name": [call.output for call in client.get_calls(scored_by="is_triple")],
        "by_ref": len(client.get_calls(scored_by=[is_triple.ref.uri(), "is_triple"])),
        "by_none": len(client.get_calls(scored_by="nobody")),
    }


def judged(call: weave.trace.call.Call) -> None:
    call.feedback.add_reaction("👍")
    call.feedback.add_note("well said")
    feedback_id = call.feedback.add("stars", {"stars": 5})
    client.flush()
    seen["feedback"] = [[each.feedback_type, dict(each.payload)] for each in call.feedback]
    call.feedback.purge(feedback_id)
    seen["feedback_left"] = [each.feedback_type for each in call.feedback.refresh()]


def priced(call: weave.trace.call.Call) -> None:
    client.add_cost(llm_id="my-model", prompt_token_cost=0.5, completion_token_cost=2)
    costs = client.query_costs(llm_ids=["my-model"])
    [read] = client.get_calls(filter={"call_ids": [call.id]}, include_costs=True, include_feedback=True)
    computed = read.summary["weave"]
    seen["costs"] = {
        "prices": [[cost.llm_id, cost.prompt_token_cost, cost.completion_token_cost] for cost in costs],
        "of_call": computed["costs"]["my-model"]["prompt_tokens_total_cost"],
        "feedback_on_call": [each["feedback_type"] for each in computed["feedback"]],
    }
    client.purge_costs([cost.id for cost in costs])
    seen["costs"]["left"] = len(client.query_costs(llm_ids=["my-model"]))


def read_back(call: weave.trace.call.Call) -> None:
    read = client.get_call(call.id)
    calls = list(client.get_calls())
    seen["read"] = {
        "question": read.inputs["question"],
        "output": {"text": read.output["text"], "sum": read.output["sum"]},
        "count": [len(calls), len(client.get_calls())],
        "page": [each.id for each in client.get_calls(limit=3, offset=2)] == [each.id for each in calls[2:5]],
        "errors": [json.loads(each.exception)["message"] for each in calls if each.exception],
        "found": [
            each.output
            for each in client.get_calls(
                query={"$expr": {"$gt": [{"$getField": "inputs.b"}, {"$literal": 4}]}},
                sort_by=[{"field": "started_at", "direction": "desc"}],
            )
        ],
    }
    call.set_display_name("renamed")
    client.flush()
    seen["renamed"] = client.get_call(call.id).display_name
    call.delete()
    client.flush()
    seen["left"] = len(list(client.get_calls()))


answered = nested_ops()
threads()
client.flush()
published()
shared_name()
evaluated()
client.flush()
judged(answered)
priced(answered)
read_back(answered)
client.finish()
sys.stdout.write(json.dumps(seen))
